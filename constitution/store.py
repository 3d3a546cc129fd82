"""Where constitutions that people edit are kept: drafts change, published versions never do, labels move.

A store keeps bytes and what happened to them; what the bytes say is the business of `constitution.library` and
`constitution.editing`. Every change names a precondition, checked and applied as one step: of two editors who start
from the same text one succeeds and the other is told.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import Field

from solon.errors import InvalidInput, NotFound, PreconditionFailed, PreconditionRequired
from solon.records import Record

ID_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
VERSION_PATTERN = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$"

_ETAG = re.compile(r'\s*(W/)?"([^"]*)"\s*')
_AUTHOR = re.compile(r"[^<>\x00-\x1f\x7f]{1,100}(<[^<>\s\x00-\x1f\x7f]{0,100}>)?")
_MESSAGE = re.compile(r"[^\x00-\x1f\x7f]{1,500}")


def is_id(text: str) -> bool:
    """Whether a constitution, a draft or a label may be called so."""
    return re.fullmatch(ID_PATTERN, text) is not None


def etag_of(raw: bytes) -> str:
    """The entity tag of stored bytes, without the quotes that HTTP puts around it."""
    return hashlib.sha256(raw).hexdigest()


class Draft(Record):
    """A text that is being worked on."""

    object: Literal["constitution.draft"] = "constitution.draft"
    constitution: str
    name: str
    etag: str
    """Of the text; the next change must name it."""
    author: str
    """Who changed it last."""
    updated_at: float
    """Unix time in seconds, as all times here."""
    raw: bytes = Field(default=b"", exclude=True, repr=False)
    """The text; answers do not show it, so it is empty in what a client reads."""


class Version(Record):
    """A published text; nothing about it changes any more."""

    object: Literal["constitution.version"] = "constitution.version"
    constitution: str
    version: str
    etag: str
    content_hash: str | None = None
    """Of everything that can change a label."""
    author: str
    message: str
    """Its line in the changelog."""
    published_at: float | None = None
    """None for a version that ships with Solon."""
    parent: str | None = None
    """The version published before it."""


class Label(Record):
    """A name that moves from version to version, such as `production`."""

    object: Literal["constitution.label"] = "constitution.label"
    constitution: str
    label: str
    version: str
    etag: str


Action = Literal["draft_saved", "draft_removed", "published", "label_moved"]


class Happening(Record):
    """One line of a constitution's history."""

    object: Literal["constitution.event"] = "constitution.event"
    id: str
    """A commit in a git directory, a number in a database."""
    action: Action
    name: str
    """Of the draft, the version or the label."""
    author: str
    message: str
    at: float


@dataclass(frozen=True)
class Note:
    """Who makes a change and why.

    Raises InvalidInput where either is not one line of text.
    """

    author: str
    """A name, with or without `<mail@address>` behind it."""
    message: str

    def __post_init__(self) -> None:
        if _AUTHOR.fullmatch(self.author) is None or not self.author.partition("<")[0].strip():
            raise InvalidInput(
                "not a name", field="author", remedy="give one line, such as `Ada Example <ada@example.org>`"
            )
        if _MESSAGE.fullmatch(self.message) is None or not self.message.strip():
            raise InvalidInput("the message must be one line of text", field="message", remedy="say what changes")


@dataclass(frozen=True)
class Precondition:
    """What must hold of the stored text for a change to be made, as HTTP's If-Match and If-None-Match say it."""

    if_match: str | None = None
    """Entity tags, of which one must be that of the stored text; `*`: any text is stored."""
    if_none_match: str | None = None
    """Only `*`: nothing is stored yet."""

    def __post_init__(self) -> None:
        if self.if_match is None and self.if_none_match is None:
            raise PreconditionRequired(
                "a change must say which text it was made from",
                remedy="send If-Match with the ETag, or If-None-Match: *",
            )
        if self.if_none_match not in (None, "*"):
            raise InvalidInput("If-None-Match takes only * here", field="If-None-Match", remedy="send If-None-Match: *")

    def check(self, current: str | None) -> None:
        """Raises PreconditionFailed where the tag of the stored text, None for no text, does not meet it."""
        if self.if_none_match is not None and current is not None:
            raise PreconditionFailed("there is one already", remedy="read it, and send If-Match with its ETag")
        if self.if_match is None:
            return
        if current is None:
            raise PreconditionFailed("there is none (any more)", remedy="send If-None-Match: * to create it")
        if self.if_match.strip() != "*" and current not in self._tags(self.if_match):
            raise PreconditionFailed(
                "it was changed after you read it", remedy="read it again, redo the change, and send its new ETag"
            )

    @staticmethod
    def _tags(header: str) -> list[str]:
        """The strong tags of a header; a bare tag counts, a weak one never matches."""
        if '"' not in header:
            return [tag.strip() for tag in header.split(",")]
        return [match[2] for match in _ETAG.finditer(header) if match[1] is None]


@dataclass(frozen=True)
class Text:
    """What is published: a text, its version and its content hash."""

    version: str
    raw: bytes
    content_hash: str


class Store(Protocol):
    """Keeps drafts, versions and labels. Methods block; ids, names and versions have their patterns already.

    Those that change something raise PreconditionFailed, and leave everything as it was.
    """

    def ids(self) -> tuple[str, ...]:
        """Constitutions with a draft or a version, sorted."""
        ...

    def drafts(self, constitution: str) -> tuple[Draft, ...]:
        """All drafts by name."""
        ...

    def draft(self, constitution: str, name: str) -> Draft:
        """The draft; raises NotFound."""
        ...

    def save_draft(self, constitution: str, name: str, raw: bytes, precondition: Precondition, note: Note) -> Draft:
        """The draft with its new text; the same text again is no event."""
        ...

    def remove_draft(self, constitution: str, name: str, precondition: Precondition, note: Note) -> None:
        """The draft is gone; its text stays in the history of a git directory only."""
        ...

    def versions(self, constitution: str) -> tuple[Version, ...]:
        """Published versions in the order in which they were published."""
        ...

    def version_bytes(self, constitution: str, version: str) -> bytes:
        """The published text; raises NotFound."""
        ...

    def publish(self, draft: Draft, text: Text, note: Note) -> Version:
        """The draft, if it is still the one given, becomes a version; raises Conflict where there is such a version."""
        ...

    def labels(self, constitution: str) -> tuple[Label, ...]:
        """All labels by name."""
        ...

    def move_label(self, constitution: str, label: str, version: str, precondition: Precondition, note: Note) -> Label:
        """The label, created where the precondition allows that, now names the version."""
        ...

    def history(self, constitution: str) -> tuple[Happening, ...]:
        """Everything that happened, newest first."""
        ...


def no_draft() -> NotFound:
    """What a store raises where there is no such draft."""
    return NotFound("there is no such draft", field="draft", remedy="list the drafts")


def no_version() -> NotFound:
    """What a store raises where there is no such version."""
    return NotFound("there is no such version", field="version", remedy="list the versions")
