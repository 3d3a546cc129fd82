"""The constitution: what a good completion is, as people write it in `published/*.yaml`.

    load("civic")   load("civic@1.0.0")   load("my/draft.yaml")

Reading is strict: unknown and duplicate keys, wrong types and dangling references are `InvalidInput` with file, line,
column, field and remedy. Whether the rules' expressions type-check is the critic's business (`critic.rules`).
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from constitution.composition import Document, Parents, composed
from constitution.schema import (
    Case,
    Combine,
    CompletionClass,
    Constitution,
    DerivedProposition,
    JudgeProposition,
    MeasureProposition,
    Principle,
    Proposition,
    RegexProposition,
    Rule,
    Scope,
)
from constitution.source import MAX_BYTES, FieldPath, Problem, Source, SourceError, path_of, read
from solon.errors import InvalidInput, NotFound, UsageError

__all__ = [
    "Case",
    "Combine",
    "CompletionClass",
    "Constitution",
    "DerivedProposition",
    "JudgeProposition",
    "MeasureProposition",
    "Principle",
    "Proposition",
    "RegexProposition",
    "Rule",
    "Scope",
    "check",
    "load",
    "load_published",
    "parents_for",
    "parse",
    "published",
    "read_bytes",
]

_PUBLISHED = Path(__file__).with_name("published")
_REFERENCE = re.compile(r"([a-z][a-z0-9-]{0,62})(?:@\d+\.\d+\.\d+)?")
_WORDING = {
    "extra_forbidden": ("unknown key", "remove it, or correct its spelling"),
    "missing": ("this field is missing", "add it"),
    "string_type": ("must be text", "quote what looks like a number, a date or true/false"),
    "bool_type": ("must be true or false", ""),
    "float_type": ("must be a number", ""),
    "tuple_type": ("must be a list", "write `- item` lines or [item, item]"),
    "dict_type": ("must be a mapping", "write `key: value` lines"),
    "model_type": ("must be a mapping", "write `key: value` lines"),
    "union_tag_invalid": ("unknown kind of proposition", "kinds are judge, regex, measure, derived"),
    "union_tag_not_found": ("this field is missing: kind", "kinds are judge, regex, measure, derived"),
    "string_pattern_mismatch": (None, "see the form in docs/constitutions.md"),
}
"""Message and remedy by kind of schema error; a message of None keeps the validator's own."""


def load(ref: str | Path) -> Constitution:
    """The constitution a published id (`civic`, `civic@1.0.0`) or the path of a YAML file names.

    Raises:
        NotFound: no such id, version or file.
        InvalidInput: the file is not a valid constitution.
    """
    if isinstance(ref, str) and not _looks_like_a_path(ref):
        return load_published(ref)
    return parse(read_bytes(ref), str(ref), parents=parents_for(ref))


def load_published(ref: str) -> Constitution:
    """The published constitution `ref` names, by id alone; a path is never read (safe for requests)."""
    path = _published_file(ref)
    constitution = parse(path.read_bytes(), str(path))
    version = ref.partition("@")[2]
    if version not in ("", constitution.version):
        known = f"{constitution.id}@{constitution.version}"
        raise NotFound(f"unknown constitution {ref!r}", remedy=f"known: {known}")
    return constitution


def read_bytes(ref: str | Path) -> bytes:
    """The bytes of the file that a published id or a path names, cut off after one more than is allowed."""
    path = _published_file(ref) if isinstance(ref, str) and not _looks_like_a_path(ref) else Path(ref)
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NotFound(
            f"cannot read the constitution file {path}: {error.strerror}",
            remedy=f"give the path of a YAML file, or one of: {', '.join(published())}",
        ) from error


def published() -> tuple[str, ...]:
    """Ids of the constitutions that ship with Solon, sorted."""
    return tuple(sorted(path.stem for path in _PUBLISHED.glob("*.yaml")))


@dataclass(frozen=True)
class _Library:
    """Finds what a file is derived from: published versions and, for a local file, other files."""

    folder: Path | None = None
    """Of the file; None for a published one, which may name published versions only."""
    line: tuple[Path, ...] = ()
    """The file and all that are derived from it on the way here."""

    def __call__(self, ref: str) -> Constitution:
        if not _looks_like_a_path(ref):
            return load_published(ref)
        if self.folder is None:
            raise InvalidInput(
                "files cannot be named here", remedy="give a published id and version, as in civic@1.0.0"
            )
        path = (self.folder / ref).resolve()
        if path in self.line:
            raise InvalidInput("the file is derived from itself", remedy="break the circle")
        return parse(read_bytes(path), str(path), parents=_Library(path.parent, (*self.line, path)))


def parents_for(ref: str | Path) -> Parents:
    """What finds the parents of a constitution that a published id or a path names."""
    if isinstance(ref, str) and not _looks_like_a_path(ref):
        return _Library()
    path = Path(ref).resolve()
    return _Library(path.parent, (path,))


def parse(raw: bytes, name: str, *, parents: Parents | None = None) -> Constitution:
    """The constitution in `raw`; `name` is what error messages call the file, `parents` finds what it is derived from.

    Raises:
        InvalidInput: with the first problem's position, field and remedy, and how many more there are.
    """
    constitution, problems = check(raw, parents=parents)
    if constitution is None or problems:
        first = problems[0]
        more = f"; {len(problems) - 1} more, see `solon constitution lint`" if len(problems) > 1 else ""
        raise InvalidInput(
            f"{name}, line {first.line}, column {first.column}: {first.message}",
            remedy=first.hint + more,
            field=first.field,
        )
    return constitution


def check(raw: bytes, *, parents: Parents | None = None) -> tuple[Constitution | None, tuple[Problem, ...]]:
    """The constitution in `raw`, None when it cannot be built, and every problem found.

    Args:
        parents: finds the constitution that this one is derived from; None: among the published ones.
    """
    try:
        source = read(raw)
    except SourceError as error:
        return None, (error.problem,)
    try:
        document = composed(source.data(), parents or _Library())
    except UsageError as error:
        place = ("derived_from", *path_of(error.field or "constitution"))
        return None, (_problem(source, place, error.message, error.remedy),)
    try:
        constitution = Constitution.model_validate(document.data)
    except ValidationError as error:
        return None, tuple(_schema_problem(source, document, detail) for detail in error.errors(include_url=False))
    findings = (
        _problem(source, document.locate(path), message, hint) for path, message, hint in _dangling(constitution)
    )
    return constitution, tuple(findings)


def _published_file(ref: str) -> Path:
    match = _REFERENCE.fullmatch(ref)
    if match is None or match[1] not in published():
        raise NotFound(f"unknown constitution {ref!r}", remedy=f"known: {', '.join(published())}")
    return _PUBLISHED / f"{match[1]}.yaml"


def _looks_like_a_path(ref: str) -> bool:
    return ref.endswith((".yaml", ".yml")) or "/" in ref or "\\" in ref


def _schema_problem(source: Source, document: Document, detail: Any) -> Problem:
    own = str(detail["msg"]).removeprefix("Value error, ")
    message, hint = _WORDING.get(detail["type"], (None, ""))
    if detail["type"] == "missing":
        hint = document.hint(detail["loc"]) or hint
    return _problem(source, document.locate(detail["loc"]), message or own[0].lower() + own[1:], hint)


def _problem(source: Source, path: FieldPath, message: str, hint: str) -> Problem:
    line, column = source.position(path)
    return Problem(message, hint, field=source.field(path) or None, line=line, column=column)


def _dangling(constitution: Constitution) -> Iterable[tuple[FieldPath, str, str]]:
    """Path, message and remedy of ids used twice and of references to what is not there."""
    for name in ("principles", "propositions", "rules", "cases"):
        yield from _repeated(name, [part.id for part in getattr(constitution, name)])
    for name in ("principles", "classes", "rules"):
        for index, part in enumerate(getattr(constitution, name)):
            yield from _unknown((name, index, "scopes"), part.scopes, constitution.scopes)
    known = {principle.id for principle in constitution.principles}
    for index, case in enumerate(constitution.cases):
        yield from _unknown(("cases", index, "because"), case.because, known)


def _repeated(name: str, ids: list[str]) -> Iterable[tuple[FieldPath, str, str]]:
    counts = Counter(ids)
    for index, part in enumerate(ids):
        if counts[part] > 1 and part in ids[:index]:
            yield (name, index, "id"), f"the id {part!r} is used twice", "give each its own id"


def _unknown(path: FieldPath, used: Iterable[str], known: Iterable[str]) -> Iterable[tuple[FieldPath, str, str]]:
    for index, name in enumerate(used):
        if name not in known:
            yield (*path, index), f"{name!r} is not defined", f"known: {', '.join(sorted(known)) or 'none'}"
