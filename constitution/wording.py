"""Schema errors in plain words: pydantic's findings with a message and a remedy for people who write YAML."""

from functools import cache
from typing import Any

from constitution.expressions import nearest
from constitution.problems import FieldPath
from constitution.schema import DATE, HASH, ID, LANGUAGE, NAME, TAG, VARIABLE, VERSION, Constitution

_WORDING = {
    "missing": ("this field is missing", "add it"),
    "string_type": ("must be text", "quote what looks like a number, null or true/false"),
    "bool_type": ("must be true or false", "write true or false, without quotes"),
    "float_type": ("must be a number", "write a number, without quotes"),
    "finite_number": ("must be a finite number", "write an ordinary number"),
    "tuple_type": ("must be a list", "write `- item` lines or [item, item]"),
    "dict_type": ("must be a mapping", "write `key: value` lines"),
    "model_type": ("must be a mapping", "write `key: value` lines"),
    "invalid_key": ("a key must be text", "quote it"),
    "string_too_short": ("must not be empty", "write something, or leave the field out where that is allowed"),
    "string_unicode": ("holds half a character", "write the character itself"),
}
"""Message and remedy by the type of pydantic's error."""
_BY_PATTERN = {
    ID: ("not an id", "small letters, digits and -, beginning with a letter, at most 63; never a path"),
    NAME: ("not a name", "small letters, digits, - and _, beginning with a letter, at most 63"),
    VARIABLE: ("not a name that CEL can use", "small letters, digits and _, beginning with a letter, at most 63"),
    TAG: ("not a tag", "small letters, digits, - and _; parts joined by : or /"),
    VERSION: ("not a version", "write three numbers, as in 3.1.0"),
    LANGUAGE: ("not a language tag", "write it as en or pt-BR"),
    DATE: ("not a date", "write it as 2026-03-01"),
    HASH: ("not a content hash", "copy it from `solon constitution show`"),
}


def explain(detail: Any) -> tuple[FieldPath, str, str]:
    """Place, message and remedy for one entry of `ValidationError.errors()`."""
    path, context = plain_path(detail["loc"]), detail.get("ctx", {})
    match detail["type"]:
        case "refused":
            return (*path, *filter(None, [context["field"]])), context["message"], context["hint"]
        case "union_tag_not_found":
            return (*path, "kind"), *_WORDING["missing"]
        case "extra_forbidden":
            known = keys_at(detail["loc"][:-1])
            hint = nearest(str(path[-1]), known).rstrip()
            return path, "unknown key", hint or f"remove it; known: {', '.join(known)}"
        case "string_type" if path == ("version",):
            return path, "a number is not a version", "write three numbers, as in 3.1.0"
        case kind:
            return path, *_explained(kind, context, detail["msg"])


def _explained(kind: str, context: dict[str, Any], message: str) -> tuple[str, str]:
    """Message and remedy for errors that do not depend on where they are."""
    match kind:
        case "string_pattern_mismatch":
            return _BY_PATTERN[context["pattern"]]
        case "literal_error":
            return "not one of the possible values", f"write {context['expected']}"
        case "union_tag_invalid":
            return f"unknown kind {context['tag']!r}", f"kinds are {context['expected_tags']}"
        case "string_too_long":
            return f"longer than {context['max_length']} characters", "shorten it, or split it in two"
        case "too_long":
            return f"more than {context['max_length']} items", "leave some out"
        case _:
            plain = message.replace("Input should be", "must be")
            return _WORDING.get(kind, (plain[0].lower() + plain[1:], "see docs/constitutions.md"))


def plain_path(path: FieldPath) -> FieldPath:
    """`path` as it is in the file: without the kinds of unions and other marks that pydantic puts in between."""
    node = _schema()
    kept: list[str | int] = []
    for key in path:
        if key == "[key]":
            break
        if "discriminator" not in node:
            kept.append(key)
        node = _child(node, key)
    return tuple(kept)


def keys_at(path: FieldPath) -> tuple[str, ...]:
    """The keys that the schema knows in the mapping at `path` (an error's path, kinds of unions included)."""
    node = _schema()
    for key in path:
        node = _child(node, key)
    return tuple(node["properties"])


@cache
def _schema() -> dict[str, Any]:
    return Constitution.model_json_schema()


def _child(node: dict[str, Any], key: str | int) -> dict[str, Any]:
    """The schema of the part `key` of what `node` describes; empty where it describes nothing."""
    if isinstance(key, int):
        child = node.get("items", {})
    elif "discriminator" in node:
        child = {"$ref": node["discriminator"]["mapping"][key]}
    else:
        (other,) = node.get("patternProperties", {"": {}}).values()
        child = node.get("properties", {}).get(key, other)
    child = child.get("anyOf", [child])[0]  # of an optional field: what it is when it is there
    name = str(child.get("$ref", "")).rpartition("/")[2]
    return _schema()["$defs"][name] if name else child
