"""One constitution that extends another: the parent's parts with the child's overrides, by id.

    derived_from: {constitution: civic@1.0.0, drop: {principles: [no-flattery]}}
    principles:
      - {id: concise, weight: 3.0}            a part of the parent: only the fields that change; null takes one away
      - {id: plain-words, text: Use words that everybody knows.}        any other id: an addition

`principles`, `propositions`, `rules` and `cases` are overridden by id, `scopes` and `combine` by key; `classes` and
`few_shot` are taken from one document whole, since their order is their meaning. What names the document itself (id,
title, version, status, summary) is always the child's own. The result is an ordinary document: hashes and labels see
nothing else.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from constitution.digest import content_hash
from constitution.problems import FieldPath
from constitution.schema import PARENT, Constitution
from solon.errors import InvalidInput

Parents = Callable[[str], Constitution]
"""The constitution that a reference names; raises NotFound or InvalidInput."""

_OWN: Final = ("format", "id", "title", "version", "status", "summary", "changelog", "derived_from")
_BY_ID: Final = ("principles", "propositions", "rules", "cases")
_BY_KEY: Final = ("scopes", "combine")


@dataclass(frozen=True)
class Document:
    """The data of a whole document, and where its parts stand in the file that it was read from."""

    data: dict[str, Any]
    parent: str | None = None
    """What it extends."""
    origins: dict[str, list[int | None]] = field(default_factory=dict[str, list[int | None]])
    """By list: index in the file of each item, None for one that is the parent's alone."""
    added: frozenset[tuple[str, int]] = frozenset()
    """List and index in the document of the items whose id the parent does not have."""

    def locate(self, path: FieldPath) -> FieldPath:
        """The place in the file of a place in the document; `derived_from` for what the file does not hold."""
        name, index = (path[0], path[1]) if len(path) > 1 else (None, None)
        if not isinstance(name, str) or not isinstance(index, int) or name not in self.origins:
            return path
        origin = self.origins[name][index]
        return ("derived_from",) if origin is None else (name, origin, *path[2:])

    def hint(self, path: FieldPath) -> str | None:
        """What to do about a field that is missing from an addition, which may be an override with a wrong id."""
        if len(path) > 1 and (path[0], path[1]) in self.added:
            return f"add it, or correct the id: {self.parent} has no such part to override"
        return None


def composed(data: dict[str, Any], parents: Parents) -> Document:
    """The document that a file's data stand for: themselves, or laid over the document they are derived from.

    Raises:
        NotFound, InvalidInput: the parent cannot be had or moves, is another text than the file says, or lacks what is
            dropped.
    """
    derived = data.get("derived_from")
    ref = derived.get("constitution") if isinstance(derived, dict) else None
    if not isinstance(derived, dict) or not isinstance(ref, str):
        return Document(data)  # plain, or wrong in a way that the schema will say
    if re.fullmatch(PARENT, ref) is None:  # a label moves, and with it the text of what was published
        raise InvalidInput(
            "not a constitution to derive from",
            field="constitution",
            remedy="write id@version, as in civic@1.0.0, or the path of a YAML file",
        )
    base = parents(ref)
    _check_pin(derived.get("content_hash"), base)
    inherited = {k: v for k, v in base.model_dump(exclude_unset=True).items() if k not in _OWN}
    _drop(inherited, derived.get("drop") or {}, ref)
    whole: dict[str, Any] = {**inherited, **data}
    origins: dict[str, list[int | None]] = {}
    added: set[tuple[str, int]] = set()
    for name in _BY_KEY:
        if isinstance(data.get(name), dict) and name in inherited:
            whole[name] = _over(inherited[name], data[name])
    for name in _BY_ID:
        own = data.get(name, ())
        if isinstance(own, tuple):
            whole[name], origins[name] = _by_id(inherited.get(name, ()), own)
            added |= {(name, index) for index in range(len(inherited.get(name, ())), len(whole[name]))}
    return Document(whole, ref, origins, frozenset(added))


def _check_pin(pin: Any, base: Constitution) -> None:
    if isinstance(pin, str) and pin != content_hash(base):
        raise InvalidInput(
            f"{base.id} {base.version} is not the text with this hash, but {content_hash(base)}",
            field="content_hash",
            remedy="read what changed, then give the new hash, or leave it out",
        )


def _drop(inherited: dict[str, Any], drop: Any, ref: str) -> None:
    """Take what is dropped out of the inherited parts; a case decided by dropped principles alone goes with them."""
    for name in _BY_ID:
        ids, known = _named(drop, name), {part["id"] for part in inherited.get(name, ())}
        for missing in (each for each in ids if each not in known):
            raise InvalidInput(
                f"{ref} has no {name} {missing!r}",
                field=f"drop.{name}",
                remedy=f"known: {', '.join(sorted(known)) or 'none'}",
            )
        if ids:
            inherited[name] = tuple(part for part in inherited[name] if part["id"] not in ids)
    dropped = _named(drop, "principles")
    cases: list[dict[str, Any]] = []
    for case in inherited.get("cases", ()):
        because = tuple(name for name in case.get("because", ()) if name not in dropped)
        if because or not case.get("because"):
            cases.append({**case, "because": because} if case.get("because") else case)
    if "cases" in inherited:
        inherited["cases"] = tuple(cases)


def _named(drop: Any, name: str) -> tuple[str, ...]:
    """The ids under a name; what is no list of texts is left to the schema."""
    ids = drop.get(name) if isinstance(drop, Mapping) else None
    return tuple(each for each in ids if isinstance(each, str)) if isinstance(ids, tuple) else ()


def _by_id(base: tuple[Any, ...], own: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[int | None]]:
    """The base's items with overrides laid over them, then the additions; and the index in `own` of each."""
    items, origins = list(base), list[int | None]([None] * len(base))
    places = {part["id"]: place for place, part in enumerate(base)}
    for index, part in enumerate(own):
        place = places.get(part.get("id")) if isinstance(part, dict) and isinstance(part.get("id"), str) else None
        if place is None or origins[place] is not None:  # an addition, or an id given twice, which is refused later
            items.append(part if place is None else _over(base[place], part))
            origins.append(index)
        else:
            items[place], origins[place] = _over(items[place], part), index
    return tuple(items), origins


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7396) of one part: null takes a field away, so that its default holds again."""
    merged = dict(base)
    for key, value in own.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), Mapping):
            merged[key] = _over(merged[key], value)
        else:
            merged[key] = value
    return merged
