"""Settings and recipe files: YAML 1.2 read as plain data, overridden by `a.b=c`, checked against a pydantic model.

Everything wrong with them becomes `InvalidInput` that names the field by its dotted path (`steps.1.beta`).
"""

from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from solon.errors import InvalidInput, NotFound

MAX_BYTES = 1 << 20

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", remedy="check the path") from error
    except OSError as error:
        raise InvalidInput(
            f"cannot read {path}: {error.strerror}", remedy="check the path and its permissions"
        ) from error
    if len(raw) > MAX_BYTES:
        raise InvalidInput(f"{path} has more than {MAX_BYTES} bytes", remedy="give a settings or recipe file")
    data = _parse(raw.decode("utf-8", errors="replace"), str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InvalidInput(f"{path} does not hold a mapping", remedy="write `key: value` lines")
    return cast(dict[str, Any], data)


def write_yaml(data: Any) -> str:
    """Plain data as YAML text, keys in their own order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue] - untyped in ruamel
    stream = StringIO()
    cast(Any, yaml).dump(data, stream)
    return stream.getvalue()


def parse_value(text: str, source: str) -> Any:
    """The value written as YAML in an override, such as `0.2`, `null`, `[a, b]` or plain text."""
    return _parse(text, source)


def _parse(text: str, source: str) -> Any:
    try:
        return cast(Any, YAML(typ="safe", pure=True)).load(text)
    except MarkedYAMLError as error:
        detail = cast(Any, error)  # untyped in ruamel
        mark = detail.problem_mark or detail.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = str(detail.problem or "not YAML").splitlines()[0]
        raise InvalidInput(f"{source}{where}: {problem}", remedy="check indentation, quotes and colons") from error
    except (YAMLError, ValueError) as error:
        raise InvalidInput(f"{source} is not YAML", remedy="check indentation, quotes and colons") from error


def override(document: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """The document with each `a.b.0=value` applied; list indices must exist, mapping keys are created."""
    changed = cast(dict[str, Any], _copy(document))
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals or not all(path.split(".")):
            raise InvalidInput(f"cannot read the override {assignment!r}", remedy="write it as a.b=value")
        assign(changed, path.split("."), parse_value(value, f"--set {path}"))
    return changed


def assign(document: dict[str, Any], path: list[str], value: Any) -> None:
    """Put `value` at `path` in place; missing mappings on the way are created."""
    node: Any = document
    for depth, key in enumerate(path[:-1]):
        node = _child(node, key, ".".join(path[: depth + 1]))
    last, field = path[-1], ".".join(path)
    if isinstance(node, list):
        items = cast(list[Any], node)
        items[_index(items, last, field)] = value
    else:
        node[last] = value


def _child(node: Any, key: str, field: str) -> Any:
    if isinstance(node, list):
        items = cast(list[Any], node)
        found: Any = items[_index(items, key, field)]
    else:
        mapping = cast(dict[str, Any], node)
        if mapping.get(key) is None:
            mapping[key] = {}
        found = mapping[key]
    if not isinstance(found, dict | list):
        raise InvalidInput("is a single value and has no parts", field=field, remedy=f"set {field} itself")
    return cast(Any, found)


def _index(items: list[Any], key: str, field: str) -> int:
    if not key.isdecimal() or int(key) >= len(items):
        raise InvalidInput("no such list item", field=field, remedy=f"give an index from 0 to {len(items) - 1}")
    return int(key)


def _copy(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copy(value) for key, value in cast(dict[str, Any], node).items()}
    if isinstance(node, list):
        return [_copy(value) for value in cast(list[Any], node)]
    return node


def validated(model: type[Model], data: Any, source: str) -> Model:
    """The data as a `model`; the first thing wrong is raised with its dotted path."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        message = problem["msg"].removeprefix("Value error, ")
        remedy = _REMEDIES.get(problem["type"], "see `solon config show --resolved` and the example recipes")
        field = dotted(place(problem["loc"], data, absent=problem["type"] == "missing"))
        raise InvalidInput(f"{message} [{source}]", field=field, remedy=remedy) from error


_REMEDIES = {
    "extra_forbidden": "remove it, or check its spelling",
    "missing": "add it",
    "value_error": "correct it",
}


def place(path: tuple[str | int, ...], data: Any, *, absent: bool = False) -> tuple[str | int, ...]:
    """The part of an error's path that the data has; pydantic puts the tags of unions in between.

    Args:
        absent: the last key is kept although the data lacks it.
    """
    kept: list[str | int] = []
    node = data
    for depth, key in enumerate(path):
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            if not (absent and depth == len(path) - 1):
                continue
        kept.append(key)
    return tuple(kept)


def dotted(path: tuple[str | int, ...]) -> str | None:
    """A path as people write it in an override: `steps.1.beta`; None for the document itself."""
    return ".".join(str(part) for part in path) or None
