"""Constitutions as YAML text, for what a program makes and a person goes on editing.

Comments and layout belong to files that people wrote: those are edited in place, never written anew from here.
"""

from io import StringIO
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from constitution.schema import Constitution

_WIDTH = 120


def dump(constitution: Constitution) -> str:
    """YAML text that `constitution.document.parse` reads back as an equal constitution; defaults are left out."""
    yaml = YAML(typ="rt", pure=True)
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    cast(Any, yaml).dump(_readable(constitution.model_dump(mode="json", exclude_defaults=True)), stream)
    return stream.getvalue()


def _readable(value: Any) -> Any:
    """`value` with text of several lines as block scalars, where that keeps every character."""
    if isinstance(value, dict):
        return {key: _readable(part) for key, part in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_readable(part) for part in cast(list[Any], value)]
    if isinstance(value, str) and "\n" in value and all(line.isprintable() for line in value.split("\n")):
        return LiteralScalarString(value)
    return value
