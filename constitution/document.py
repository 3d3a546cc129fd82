"""The constitution: what a good completion is, as people write it in `published/*.yaml`.

    load("civic")   load("civic@1.0.0")   load("my/draft.yaml")

Reading is strict: unknown and duplicate keys, wrong types, dangling references, expressions that do not type-check,
patterns that are not RE2 and classes that do not partition are `InvalidInput` with file, line, column, field and
remedy.
What is only unwise is a warning of `constitution.lints`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from constitution.composition import Document, Parents, composed
from constitution.expressions import nearest
from constitution.logic import Logic
from constitution.problems import FieldPath, Problem, Severity, SourceError, dotted, path_of
from constitution.schema import (
    Case,
    Combine,
    ComparisonExample,
    CompletionClass,
    Constitution,
    CritiqueExample,
    DerivedProposition,
    JudgeProposition,
    MeasureProposition,
    Principle,
    Proposition,
    RegexProposition,
    Rule,
    Scope,
)
from constitution.source import MAX_BYTES, Source, read
from constitution.wording import explain
from solon.errors import InvalidInput, NotFound, UsageError

__all__ = [
    "Case",
    "Combine",
    "ComparisonExample",
    "CompletionClass",
    "Constitution",
    "CritiqueExample",
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

Finding = tuple[FieldPath, str, str]
"""Path in the whole document, message and remedy."""

_PUBLISHED = Path(__file__).with_name("published")
_REFERENCE = re.compile(r"([a-z][a-z0-9-]{0,62})(?:@\d+\.\d+\.\d+)?")


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
    published: Parents = load_published

    def __call__(self, ref: str) -> Constitution:
        if not _looks_like_a_path(ref):
            return self.published(ref)
        if self.folder is None:
            raise InvalidInput(
                "files cannot be named here", remedy="give a published id and version, as in civic@1.0.0"
            )
        path = (self.folder / ref).resolve()
        if path in self.line:
            raise InvalidInput("the file is derived from itself", remedy="break the circle")
        return parse(read_bytes(path), str(path), parents=_Library(path.parent, (*self.line, path), self.published))


def parents_for(ref: str | Path, published: Parents = load_published) -> Parents:
    """What finds the parents of a constitution that a published id or a path names; `published` finds those by id."""
    if isinstance(ref, str) and not _looks_like_a_path(ref):
        return published
    path = Path(ref).resolve()
    return _Library(path.parent, (path,), published)


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


def check(
    raw: bytes, *, parents: Parents | None = None, advise: Callable[[Constitution], Iterable[Finding]] | None = None
) -> tuple[Constitution | None, tuple[Problem, ...]]:
    """The constitution in `raw`, None when it cannot be built, and everything that is wrong with it.

    Args:
        parents: finds the constitution that this one is derived from; None: among the published ones.
        advise: what it says of a constitution without errors becomes warnings (`constitution.lints`).
    """
    try:
        source = read(raw)
    except SourceError as error:
        return None, (error.problem,)
    try:
        document = composed(source.data(), parents or _Library())
    except UsageError as error:
        place = ("derived_from", *path_of(error.field or "constitution"))
        return None, _placed(source, Document({}), [(place, error.message, error.remedy)])
    try:
        constitution = Constitution.model_validate(document.data)
    except ValidationError as error:
        found = [_explained(document, detail) for detail in error.errors(include_url=False)]
        return None, _placed(source, document, found)
    errors = [*_dangling(constitution)] or [*_illogical(constitution)]
    if errors or advise is None:
        return constitution, _placed(source, document, errors)
    return constitution, _placed(source, document, advise(constitution), "warning")


def _published_file(ref: str) -> Path:
    match = _REFERENCE.fullmatch(ref)
    if match is None or match[1] not in published():
        raise NotFound(f"unknown constitution {ref!r}", remedy=f"known: {', '.join(published())}")
    return _PUBLISHED / f"{match[1]}.yaml"


def _looks_like_a_path(ref: str) -> bool:
    return ref.endswith((".yaml", ".yml")) or "/" in ref or "\\" in ref


def _explained(document: Document, detail: Any) -> Finding:
    path, message, hint = explain(detail)
    return path, message, (document.hint(path) if detail["type"] == "missing" else None) or hint


def _placed(
    source: Source, document: Document, findings: Iterable[Finding], severity: Severity = "error"
) -> tuple[Problem, ...]:
    """The findings as problems with their places, in the order of the file."""
    problems: list[Problem] = []
    for path, message, hint in findings:
        place = document.locate(path)
        line, column = source.position(place)
        problems.append(Problem(message, hint, dotted(place) or None, line, column, severity))
    return tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))


def _illogical(constitution: Constitution) -> Iterable[Finding]:
    """What is wrong with expressions, patterns and classes."""
    for error in Logic(constitution).errors:
        yield path_of(error.field or ""), error.message, error.remedy


def _dangling(constitution: Constitution) -> Iterable[Finding]:
    """Ids used twice and references to what is not there."""
    for name in ("principles", "few_shot", "propositions", "rules", "cases"):
        yield from _repeated(name, [part.id for part in getattr(constitution, name)])
    yield from dict.fromkeys(
        finding
        for scope in constitution.scopes
        for finding in _repeated("classes", [part.id if part.applies(scope) else None for part in constitution.classes])
    )
    known = [principle.id for principle in constitution.principles]
    for name in ("principles", "classes", "rules"):
        for index, part in enumerate(getattr(constitution, name)):
            yield from _unknown((name, index, "scopes"), part.scopes, constitution.scopes)
    for index, example in enumerate(constitution.few_shot):
        if example.principle is not None:
            yield from _undefined(("few_shot", index, "principle"), example.principle, known)
    for index, case in enumerate(constitution.cases):
        yield from _undefined(("cases", index, "scope"), case.scope, constitution.scopes)
        yield from _unknown(("cases", index, "because"), case.because, known)


def _repeated(name: str, ids: Sequence[str | None]) -> Iterable[Finding]:
    for index, part in enumerate(ids):
        if part is not None and part in ids[:index]:
            yield (name, index, "id"), f"the id {part!r} is used twice", "give each its own id"


def _unknown(path: FieldPath, used: Iterable[str], known: Iterable[str]) -> Iterable[Finding]:
    for index, name in enumerate(used):
        yield from _undefined((*path, index), name, known)


def _undefined(path: FieldPath, name: str, known: Iterable[str]) -> Iterable[Finding]:
    names = sorted(known)
    if name not in names:
        yield path, f"{name!r} is not defined", nearest(name, names) + f"known: {', '.join(names) or 'none'}"
