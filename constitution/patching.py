"""JSON merge patches on constitution files (RFC 7396): only the lines that change are touched.

    patched(raw, {"principles": {"respectful": {"weight": 2}}})

One thing is added to the RFC. Where the document holds a list of parts with ids, an object in the patch names them by
id: a member changes or adds the part, null removes it. By the RFC it would replace the list, which is never valid here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from constitution.plainness import MAX_DEPTH
from constitution.problems import SourceError
from constitution.rewriting import rewritten, same
from constitution.source import MAX_BYTES, read
from solon.errors import Conflict, InvalidInput

_LISTS = frozenset({"principles", "propositions", "classes", "rules", "cases", "few_shot"})
"""Fields of a constitution whose parts a patch may name by id even where the document does not have the field yet."""
_BOM = b"\xef\xbb\xbf"


def parse_patch(body: bytes) -> dict[str, Any]:
    """The merge patch in a JSON text; raises InvalidInput where it is none or is nested too deeply."""
    try:
        patch: Any = json.loads(body, parse_constant=_refuse)
        text = json.dumps(patch, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the patch is not JSON", remedy='send an object, such as {"title": "..."}') from error
    if not isinstance(patch, dict):
        raise InvalidInput("the patch is not a JSON object", remedy='send an object, such as {"title": "..."}')
    if _depth(patch) > MAX_DEPTH or len(text) > MAX_BYTES:
        raise InvalidInput("the patch is too large or nested too deeply", remedy="send the whole file instead")
    return cast(dict[str, Any], patch)


def patched(raw: bytes, patch: Mapping[str, Any]) -> bytes:
    """The file after the patch; every comment and every line of what the patch does not change is kept.

    Raises:
        InvalidInput: the file is not readable YAML, or the patch names a part that cannot be told from another.
        Conflict: the file is laid out in a way that cannot be edited in place.
    """
    present = _data(raw)
    target = merged(present, patch)
    if same(present, target):
        return raw
    text = raw.removeprefix(_BOM).decode("utf-8")
    changed = (_BOM if raw.startswith(_BOM) else b"") + rewritten(text, present, target).encode()
    if not _reads_as(changed, target):
        raise Conflict("the file's layout does not allow editing in place", remedy="send the whole file instead")
    return changed


def merged(document: Any, patch: Any) -> Any:
    """The value after a merge patch; neither argument is changed."""
    if not isinstance(patch, dict):
        return patch
    if isinstance(document, list | tuple):
        return _merged_parts(cast(Sequence[Any], document), cast(dict[str, Any], patch))
    result: dict[str, Any] = dict(cast(dict[str, Any], document)) if isinstance(document, dict) else {}
    for key, value in cast(dict[str, Any], patch).items():
        if value is None:
            result.pop(key, None)
        else:
            absent = () if key in _LISTS and key not in result else None
            result[key] = merged(result.get(key, absent), value)
    return result


def _merged_parts(parts: Sequence[Any], patch: Mapping[str, Any]) -> list[Any]:
    result = list(parts)
    for name, change in patch.items():
        places = [place for place, part in enumerate(result) if _id(part) == name]
        if len(places) > 1:
            raise InvalidInput("the patch names a part whose id is used twice", remedy="send the whole list instead")
        if change is None:
            result = [part for place, part in enumerate(result) if place not in places]
        elif places:
            result[places[0]] = merged(result[places[0]], change)
        else:
            result.append(merged({"id": name}, change))
    return result


def _id(part: Any) -> Any:
    return cast(dict[str, Any], part).get("id") if isinstance(part, dict) else None


def _data(raw: bytes) -> dict[str, Any]:
    try:
        return read(raw).data()
    except SourceError as error:
        raise InvalidInput(
            f"line {error.problem.line}, column {error.problem.column}: {error.problem.message}",
            remedy="send the whole file, corrected",
        ) from error


def _reads_as(raw: bytes, target: Mapping[str, Any]) -> bool:
    try:
        return same(read(raw).data(), dict(target))
    except SourceError:
        return False


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _depth(value: Any) -> int:
    """Levels of nesting; 1 for a mapping of scalars."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        parts = [cast(dict[str, Any], one).values() if isinstance(one, dict) else one for one in level]
        level = [part for inner in parts for part in inner if isinstance(part, dict | list)]
    return deepest
