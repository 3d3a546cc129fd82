"""Changing constitutions: drafts are saved and patched, a draft is published as a version, labels move.

The command line and the REST API are thin shells around `Editor`, so that they do the same things by the same rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from constitution.digest import content_hash
from constitution.document import check, parse
from constitution.library import Library, Reference
from constitution.patching import patched
from constitution.problems import Problem
from constitution.schema import Constitution
from constitution.source import MAX_BYTES, read
from constitution.store import Draft, Label, Note, Precondition, Store, Text, Version, is_id, no_draft
from solon.errors import Conflict, InvalidInput


@dataclass(frozen=True)
class Checked:
    """A draft's text under the strict eyes of the loader."""

    etag: str
    problems: tuple[Problem, ...]
    content_hash: str | None
    """None where the text is not a constitution."""


@dataclass(frozen=True)
class Prepared:
    """A draft that could be published as it is here."""

    draft: Draft
    raw: bytes
    """The text to publish."""
    constitution: Constitution
    note: Note


class Editor:
    """Changes a store. Methods block; those that change something take a precondition and a note."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.library = Library(store)

    def draft(self, constitution: str, name: str) -> Draft:
        """The draft; raises NotFound."""
        if not is_id(constitution) or not is_id(name):
            raise no_draft()
        return self.store.draft(constitution, name)

    def save_draft(self, constitution: str, name: str, raw: bytes, precondition: Precondition, note: Note) -> Draft:
        """The draft with its new text, which may be unfinished or wrong; `check_draft` says what is wrong.

        Raises:
            InvalidInput: it is no text, or longer than a constitution may be.
            PreconditionFailed: somebody else was quicker.
        """
        _check_names(constitution=constitution, draft=name)
        if len(raw) > MAX_BYTES:
            raise InvalidInput(f"the text has more than {MAX_BYTES} bytes", remedy="split it")
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput("the text is not valid UTF-8", remedy="save it as UTF-8") from error
        return self.store.save_draft(constitution, name, raw, precondition, note)

    def patch_draft(
        self, constitution: str, name: str, patch: Mapping[str, Any], precondition: Precondition, note: Note
    ) -> Draft:
        """The draft after a merge patch, see `constitution.patching`."""
        draft = self.draft(constitution, name)
        precondition.check(draft.etag)
        return self.save_draft(constitution, name, patched(draft.raw, patch), Precondition(draft.etag), note)

    def remove_draft(self, constitution: str, name: str, precondition: Precondition, note: Note) -> None:
        """The draft is gone."""
        _check_names(constitution=constitution, draft=name)
        self.store.remove_draft(constitution, name, precondition, note)

    def check_draft(self, constitution: str, name: str) -> Checked:
        """Everything that stands in the way of publishing the draft's text."""
        draft = self.draft(constitution, name)
        found, problems = check(draft.raw, parents=self.library.load)
        if found is not None and found.id != constitution:
            problems = (*problems, Problem(f"the id is not {constitution}", "it must be that of the draft", field="id"))
        return Checked(draft.etag, problems, content_hash(found) if found is not None and not problems else None)

    def prepare(
        self,
        constitution: str,
        name: str,
        precondition: Precondition,
        *,
        author: str,
        message: str | None = None,
        version: str | None = None,
    ) -> Prepared:
        """The draft as it would be published; nothing is changed yet, so that there is time to try it out.

        The text gets `status: published`, and the message in its changelog unless that has a line for the version.

        Args:
            message: None takes the changelog's line for the version.
            version: replaces the one in the text.

        Raises:
            InvalidInput: the text is no constitution of this id, or there is no line for the changelog.
            Conflict: the version is published already.
        """
        draft = self.draft(constitution, name)
        precondition.check(draft.etag)
        raw = patched(draft.raw, {"status": "published"} | ({"version": version} if version is not None else {}))
        found = self._parsed(raw, draft)
        if found.version in {known.version for known in self.library.versions(constitution)}:
            raise Conflict(
                f"version {found.version} is published already", field="version", remedy="give the draft a new version"
            )
        raw, note = _with_changelog(raw, found, author, message)
        return Prepared(draft, raw, self._parsed(raw, draft), note)

    def publish(self, prepared: Prepared) -> Version:
        """The version that the draft becomes; the draft is gone.

        Raises:
            PreconditionFailed: the draft was changed since it was prepared.
            Conflict: the version was published since.
        """
        found = prepared.constitution
        text = Text(found.version, prepared.raw, content_hash(found))
        version = self.store.publish(prepared.draft, text, prepared.note)
        return next(known for known in self.library.versions(found.id) if known.version == version.version)

    def move_label(
        self, constitution: str, label: str, version: str, precondition: Precondition, author: str, message: str | None
    ) -> Label:
        """The label after it was moved to, or made for, a published version; raises NotFound for any other."""
        _check_names(constitution=constitution, label=label)
        self.library.find(Reference(constitution, "version", version))
        note = Note(author, message or f"Move {label} to {version}")
        return self.store.move_label(constitution, label, version, precondition, note)

    def _parsed(self, raw: bytes, draft: Draft) -> Constitution:
        found = parse(raw, f"draft {draft.name}", parents=self.library.load)
        if found.id != draft.constitution:
            raise InvalidInput(
                f"the text's id is not {draft.constitution}", field="id", remedy="publish it under its own id"
            )
        return found


def _check_names(**names: str) -> None:
    for field, name in names.items():
        if not is_id(name):
            raise InvalidInput(
                "not a name that is possible here",
                field=field,
                remedy="small letters, digits and hyphens, as in my-draft",
            )


def _with_changelog(raw: bytes, found: Constitution, author: str, message: str | None) -> tuple[bytes, Note]:
    """The text with a line for its version in its changelog, and the note of the publication."""
    line = next((change.note for change in found.changelog if change.version == found.version), None)
    if message is None and line is None:
        raise InvalidInput(
            "publishing needs a line for the changelog", field="message", remedy="say what changed and why"
        )
    note = Note(author, message if message is not None else " ".join((line or "").split())[:500])
    if line is not None:
        return raw, note
    today = datetime.now(UTC).date().isoformat()
    newest = {"version": found.version, "date": today, "note": note.message}
    older = read(raw).data().get("changelog") or ()
    return patched(raw, {"changelog": [newest, *older]}), note
