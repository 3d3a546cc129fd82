"""Constitution files as plain data with positions: YAML 1.2, one document, nothing that hides meaning.

Besides what `constitution.plainness` refuses: invalid UTF-8, characters that YAML does not print, and more than 1 MiB.
A date is text, as in the core schema of YAML 1.2.
"""

from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from constitution.plainness import Walk
from constitution.problems import FieldPath, Problem, SourceError

MAX_BYTES = 1 << 20

_SYNTAX_HINTS = {
    "'\\t'": "indent with spaces, not tabs",
    "mapping values are not allowed": "quote text that contains a colon and a space",
    "unexpected end of stream": "close the quote",
    "cannot start any token": "quote text that begins with this character",
    "expected ',' or": "close the bracket, or quote text that contains a comma or a bracket",
    "could not find expected ':'": "write `key: value`; go on with a longer text on an indented line",
    "expected <block end>, but found '<scalar>'": "double a quote inside quotes, or use the other kind",
    "block": "check the indentation of this line",
    "escape": r"write a backslash in single quotes, or twice",
}
"""Remedy by a part of the parser's message."""


@dataclass(frozen=True)
class Source:
    """The data of one file and where each part of it stands."""

    root: CommentedMap

    def data(self) -> dict[str, Any]:
        """Plain dicts, tuples and scalars."""
        plain: dict[str, Any] = _plain(self.root)
        return plain

    def position(self, path: FieldPath) -> tuple[int, int]:
        """Line and column of the deepest part of `path` that the file holds, from 1."""
        node: Any = self.root
        line, column = 0, 0
        for key in path:
            if not _has(node, key):
                break  # a field that is missing
            line, column = node.lc.key(key) if isinstance(node, CommentedMap) else node.lc.item(key)
            node = node[key]
        return line + 1, column + 1


def read(raw: bytes) -> Source:
    """The YAML mapping in `raw`; raises `SourceError` at the first thing that is not plain data."""
    if len(raw) > MAX_BYTES:
        raise SourceError(Problem(f"the file has more than {MAX_BYTES} bytes", "split the constitution"))
    text = _decode(raw)
    walk = Walk()
    try:
        walk.check(YAML(typ="rt", pure=True).parse(text))
        root = _yaml().load(text)
    except ReaderError as error:
        raise SourceError(_unprintable(text, error)) from error
    except DuplicateKeyError as error:  # such as 1 and 0x1, which the walk takes for two words
        raise SourceError(_marked(error, walk, "a key is given twice")) from error
    except MarkedYAMLError as error:
        raise SourceError(_marked(error, walk)) from error
    if not isinstance(root, CommentedMap):
        raise SourceError(Problem("the document is not a mapping", "begin with `format: constitution/v1`"))
    return Source(root)


class _Constructor(RoundTripConstructor):
    """Leaves dates as text, and says where a value stands that cannot be read."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, OverflowError) as error:
            raise ConstructorError(None, None, "the value cannot be read", node.start_mark) from error


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.construct_yaml_str)


def _yaml() -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.Constructor = _Constructor
    return yaml


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2]) + 1
        raise SourceError(
            Problem("the file is not valid UTF-8", "save it as UTF-8", line=line, column=column)
        ) from error


def _unprintable(text: str, error: ReaderError) -> Problem:
    character: Any = error.character
    code = ord(character) if isinstance(character, str) else character
    place = text.find(chr(code))
    before = text[: max(place, 0)]
    return Problem(
        f"the character U+{code:04X} cannot be printed",
        "remove it",
        line=before.count("\n") + 1,
        column=len(before.rpartition("\n")[2]) + 1,
    )


def _marked(error: MarkedYAMLError, walk: Walk, message: str | None = None) -> Problem:
    mark: Any = error.problem_mark or error.context_mark
    begun: Any = error.context_mark
    message = message or str(error.problem or "not YAML").partition("\n")[0]
    hint = next((hint for part, hint in _SYNTAX_HINTS.items() if part in message), "check indentation and quotes")
    if begun is not None and mark is not None and begun.line != mark.line:
        message += f", {str(error.context).partition(chr(10))[0]} begun on line {begun.line + 1}"
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    field = walk.field or walk.fields.get((line, column))
    return Problem(message, hint, field=field, line=line + 1, column=column + 1)


def _has(node: Any, key: str | int) -> bool:
    """Whether the file's `node` has a part `key`."""
    if isinstance(node, CommentedSeq):
        return isinstance(key, int) and key < len(node)
    return isinstance(node, CommentedMap) and key in node


def _plain(node: Any) -> Any:
    if isinstance(node, CommentedMap):
        return {_plain(key): _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return tuple(_plain(value) for value in node)
    if isinstance(node, bool) or node is None:
        return node
    for scalar in (int, float, str):
        if isinstance(node, scalar):
            return scalar(node)  # drops the round-trip subclasses
    return node
