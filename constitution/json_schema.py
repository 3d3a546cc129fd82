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
_BY_KEY: Final = ("scopes", "combine")
"""Mappings whose values may be null there: the parent's key is taken away."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema that `constitution.schema` and `constitution.composition` come to."""
    schema = Constitution.model_json_schema()
    whole = {name: schema["properties"][name] for name in _OVERRIDDEN}
    whole |= {name: schema["properties"][name] for name in _BY_KEY}
    fragments = {name: _fragments(schema["$defs"], model) for name, model in _OVERRIDDEN.items()}
    fragments["scopes"] = _with_nulls(whole["scopes"], "patternProperties")
    fragments["combine"] = _with_nulls(schema["$defs"]["Combine"], "properties")
    schema["properties"] |= {name: {"type": "array"} for name in _OVERRIDDEN} | {
        name: {"type": "object"} for name in _BY_KEY
    }
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
    fields = _with_nulls(definitions[model.__name__], "properties")["properties"]
    fields["id"] = definitions[model.__name__]["properties"]["id"]
    items = {"type": "object", "required": ["id"], "properties": fields, "additionalProperties": False}
    return {"type": "array", "items": items}


def _with_nulls(mapping: dict[str, Any], fields: str) -> dict[str, Any]:
    """The schema of a mapping each of whose `fields` may be null too."""
    return mapping | {fields: {name: {"anyOf": [field, {"type": "null"}]} for name, field in mapping[fields].items()}}
