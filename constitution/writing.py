"""Constitutions as YAML text, for what a program makes and a person goes on editing.

Comments and layout belong to files that people wrote: those are edited in place, never written anew from here.
"""

from typing import Any, Final, cast

from constitution.schema import Constitution
from constitution.yaml_text import entry, item

_ONE_LINE: Final = frozenset({"propositions", "classes", "rules"})
"""Lists whose items stand in braces where they fit on a line."""


def dump(constitution: Constitution) -> str:
    """YAML text that `constitution.document.parse` reads back as an equal constitution; defaults are left out."""
    fields: dict[str, Any] = constitution.model_dump(mode="json", exclude_defaults=True)
    return "".join(_field(name, value) for name, value in fields.items())


def _field(name: str, value: Any) -> str:
    if not isinstance(value, list):
        return entry(name, value, 0)
    items = (_id_first(cast(dict[str, Any], part)) for part in cast(list[Any], value))
    return f"\n{name}:\n" + "".join(item(part, 2, 4, flow=name in _ONE_LINE) for part in items)


def _id_first(part: dict[str, Any]) -> dict[str, Any]:
    return {key: part[key] for key in sorted(part, key=lambda key: key != "id")}
