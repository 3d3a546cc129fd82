"""The schema of constitution files as JSON Schema (draft 2020-12), for editors and for programs in other languages.

Published as `constitution/constitution.schema.json`; `solon constitution schema` prints it. What a JSON Schema cannot
say (references between parts, expressions, patterns, classes) only `solon constitution lint` checks.
"""

import json
from pathlib import Path
from typing import Any, Final

from constitution.schema import Case, Constitution, Part, Principle, Rule

PUBLISHED_AT: Final = Path(__file__).with_name("constitution.schema.json")
_OVERRIDDEN: Final[dict[str, type[Part] | None]] = {
    "principles": Principle,
    "propositions": None,
    "rules": Rule,
    "cases": Case,
}
"""Lists whose items may be fragments in a file that is derived from another; None: of several kinds."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema that `constitution.schema` and `constitution.composition` come to."""
    schema = Constitution.model_json_schema()
    whole = {name: schema["properties"][name] for name in _OVERRIDDEN}
    fragments = {name: _fragments(schema["$defs"], model) for name, model in _OVERRIDDEN.items()}
    schema["properties"] |= {name: {"type": "array"} for name in _OVERRIDDEN}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Written by `solon constitution schema`; change constitution/schema.py instead.",
        **schema,
        "title": "constitution/v1",
        "if": {"required": ["derived_from"]},
        "then": {"properties": fragments},
        "else": {"properties": whole},
    }


def as_text() -> str:
    """The JSON Schema as it is published."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _fragments(definitions: dict[str, Any], model: type[Part] | None) -> dict[str, Any]:
    """The schema of a list of overrides by id: any of a part's fields, or null to take one away."""
    if model is None:
        return {"type": "array", "items": {"type": "object", "required": ["id"]}}
    fields = definitions[model.__name__]["properties"]
    optional = {name: field if name == "id" else {"anyOf": [field, {"type": "null"}]} for name, field in fields.items()}
    items = {"type": "object", "required": ["id"], "properties": optional, "additionalProperties": False}
    return {"type": "array", "items": items}
