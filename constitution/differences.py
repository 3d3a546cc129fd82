"""What differs between two constitutions: in words that say what it means, and line by line."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from constitution.digest import content_hash, principle_hash
from constitution.schema import Constitution, Part, Principle
from solon.records import Record

Kind = Literal["added", "removed", "reworded", "reweighted", "changed", "moved"]

_WORDS = frozenset({"text", "compare", "critique", "revise"})
_LISTS = {
    "principles": "principle",
    "propositions": "proposition",
    "classes": "class",
    "rules": "rule",
    "cases": "case",
    "few_shot": "example",
}
"""Lists of parts with ids, and what one part is called."""
_ORDERED = frozenset({"classes"})
"""Lists whose order is their meaning."""
_PEOPLE = frozenset({"changelog"})
"""Not shown: every version has a new line there."""


class Change(Record):
    """One difference."""

    kind: Kind
    part: str
    """`principle`, `proposition`, `class`, `rule`, `case`, `example`, `scope`, or `document`."""
    id: str | None = None
    """Of the part; None for the document itself."""
    field: str | None = None
    """What of it; None where the whole part came, went or moved."""
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        sign = {"added": "+", "removed": "-"}.get(self.kind, "~")
        name = f"{self.part} {self.id}" if self.id is not None else self.part
        if self.field is None:
            return f"{sign} {name}" + (" moved" if self.kind == "moved" else "")
        return f"{sign} {name}: {self.field} {self.kind}: {_short(self.before)} -> {_short(self.after)}"


class Difference(Record):
    """All differences between two texts."""

    changes: tuple[Change, ...]
    labels_may_change: bool
    """Whether the content hashes differ."""
    principles_to_judge: tuple[str, ...]
    """Ids of principles whose wording is new or changed; labels by the others need no new judgement."""


class Comparison(Record):
    """Two texts side by side."""

    object: Literal["constitution.diff"] = "constitution.diff"
    before: str
    after: str
    """What the texts are called."""
    difference: Difference | None
    """None where one of the texts is not a valid constitution."""
    text: str
    """A unified diff; empty where the texts are the same."""


@dataclass(frozen=True)
class Side:
    """One of two texts that are compared."""

    name: str
    raw: bytes
    constitution: Constitution | None
    """None where the text is not a valid constitution."""


def compared(before: Side, after: Side) -> Comparison:
    """Both differences of two texts."""
    both = (before.constitution, after.constitution)
    return Comparison(
        before=before.name,
        after=after.name,
        difference=difference(both[0], both[1]) if both[0] is not None and both[1] is not None else None,
        text=text_difference(before.raw, after.raw, (before.name, after.name)),
    )


def difference(before: Constitution, after: Constitution) -> Difference:
    """What is different in `after`, in the order of the document."""
    known = {principle_hash(principle) for principle in before.principles}
    return Difference(
        changes=tuple(_changes(before, after)),
        labels_may_change=content_hash(before) != content_hash(after),
        principles_to_judge=tuple(
            principle.id for principle in after.principles if principle_hash(principle) not in known
        ),
    )


def text_difference(before: bytes, after: bytes, names: tuple[str, str]) -> str:
    """A unified diff of two texts; empty where they are the same."""
    old, new = (raw.decode("utf-8", errors="replace").splitlines() for raw in (before, after))
    return "".join(f"{line}\n" for line in difflib.unified_diff(old, new, *names, lineterm=""))


def _changes(before: Constitution, after: Constitution) -> Iterable[Change]:
    for name in Constitution.model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if name in _LISTS:
            yield from _parts(_LISTS[name], _by_id(old), _by_id(new), ordered=name in _ORDERED)
        elif name == "scopes":
            yield from _parts("scope", old, new)
        elif name == "combine":
            yield from _fields("document", None, old, new, prefix="combine.")
        elif name not in _PEOPLE and old != new:
            yield Change(kind="changed", part="document", field=name, before=_plain(old), after=_plain(new))


def _by_id(parts: Iterable[Any]) -> dict[str, Part]:
    """Parts by id; classes of different scopes may share one, and are then told apart by their scopes."""
    found: dict[str, Part] = {}
    for part in parts:
        name = part.id if part.id not in found else f"{part.id} ({', '.join(part.scopes)})"
        found[name] = part
    return found


def _parts(name: str, old: Mapping[str, Part], new: Mapping[str, Part], *, ordered: bool = False) -> Iterable[Change]:
    for key, part in old.items():
        if key not in new:
            yield Change(kind="removed", part=name, id=key, before=_plain(part))
    for key, part in new.items():
        if key not in old:
            yield Change(kind="added", part=name, id=key, after=_plain(part))
        elif type(part) is not type(old[key]):
            yield Change(kind="changed", part=name, id=key, field="kind", before=_plain(old[key]), after=_plain(part))
        else:
            yield from _fields(name, key, old[key], part)
    if ordered:
        yield from _moves(name, [key for key in old if key in new], [key for key in new if key in old])


def _moves(name: str, old: list[str], new: list[str]) -> Iterable[Change]:
    """The fewest parts whose moving explains the new order."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    stay = {key for block in matcher.get_matching_blocks() for key in old[block.a : block.a + block.size]}
    for key in new:
        if key not in stay:
            yield Change(kind="moved", part=name, id=key, before=old.index(key), after=new.index(key))


def _fields(part: str, identity: str | None, old: Part, new: Part, prefix: str = "") -> Iterable[Change]:
    for field in type(new).model_fields:
        before, after = getattr(old, field), getattr(new, field)
        if before == after:
            continue
        kind: Kind = "changed"
        if isinstance(new, Principle):
            kind = "reworded" if field in _WORDS else "reweighted" if field in ("weight", "veto") else "changed"
        yield Change(
            kind=kind, part=part, id=identity, field=prefix + field, before=_plain(before), after=_plain(after)
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return value.model_dump(mode="json", exclude_defaults=True)
    return list(value) if isinstance(value, tuple) else value


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
