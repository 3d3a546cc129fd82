"""Constitution files as plain data with positions: YAML 1.2, one document, nothing that hides meaning.

Anchors, aliases, tags, directives, duplicate keys, a second document, invalid UTF-8 and more than 1 MiB are refused:
what a reader sees in the file is what the program reads.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    NodeEvent,
)

MAX_BYTES = 1 << 20
MAX_DEPTH = 16

FieldPath = tuple[str | int, ...]
"""Keys and list indices from the root of the document."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a constitution file, with where and what to do; lines and columns count from 1."""

    message: str
    hint: str = ""
    field: str | None = None
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}: "
        field = f"{self.field}: " if self.field else ""
        return where + field + self.message + (f" ({self.hint})" if self.hint else "")


class SourceError(Exception):
    """The text cannot be read as plain YAML data; carries the one `Problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


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
            if isinstance(node, CommentedMap) and key in node:
                line, column = node.lc.key(key)
            elif isinstance(node, CommentedSeq) and isinstance(key, int) and key < len(node):
                line, column = node.lc.item(key)
            else:
                continue  # such as the kind that a validator adds to a path
            node = node[key]
        return line + 1, column + 1

    def field(self, path: FieldPath) -> str:
        """`path` as people write it, such as `principles[0].weight`."""
        node: Any = self.root
        written = ""
        for place, key in enumerate(path):
            last = place == len(path) - 1
            if isinstance(key, int):
                written += f"[{key}]"
            elif last or (isinstance(node, CommentedMap) and key in node):
                written += f".{key}" if written else key
            else:
                continue
            known = isinstance(key, int) and isinstance(node, CommentedSeq) and key < len(node)
            if known or (isinstance(node, CommentedMap) and key in node):
                node = node[key]
        return written


def path_of(field: str) -> FieldPath:
    """The path that `Source.field` writes as `field`."""
    return tuple(int(part) if part.isdecimal() else part for part in re.findall(r"[^.\[\]]+", field))


def read(raw: bytes) -> Source:
    """The YAML mapping in `raw`; raises `SourceError` at the first thing that is not plain data."""
    if len(raw) > MAX_BYTES:
        raise SourceError(Problem(f"the file has {len(raw)} bytes, more than {MAX_BYTES}", "split it"))
    text = _decode(raw)
    try:
        _refuse_hidden_meaning(YAML(typ="rt", pure=True).parse(text))
        root = YAML(typ="rt", pure=True).load(text)
    except DuplicateKeyError as error:
        raise SourceError(_marked(error, "remove or rename one of the two", "a key is given twice")) from error
    except MarkedYAMLError as error:
        raise SourceError(_marked(error, "check indentation, quotes and colons")) from error
    except (YAMLError, ValueError) as error:
        hint = "constitution files are plain text; quote dates and odd numbers"
        raise SourceError(Problem(_one_line(error), hint)) from error
    if not isinstance(root, CommentedMap):
        raise SourceError(Problem("the document is not a mapping", "begin with `format: constitution/v1`"))
    return Source(root)


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


def _refuse_hidden_meaning(events: Iterator[Event]) -> None:
    documents = depth = 0
    for event in events:
        if isinstance(event, CollectionStartEvent):
            depth += 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        documents += isinstance(event, DocumentStartEvent)
        finding = _hidden_meaning(event)
        if depth > MAX_DEPTH:
            finding = (f"nested deeper than {MAX_DEPTH} levels", "no field needs that")
        elif documents > 1:
            finding = ("a second document begins here", "one file holds one constitution; remove `---`")
        if finding is not None:
            mark: Any = event.start_mark
            raise SourceError(Problem(*finding, line=mark.line + 1, column=mark.column + 1))


def _hidden_meaning(event: Event) -> tuple[str, str] | None:
    """What is wrong with one parser event and the remedy, or None."""
    if isinstance(event, AliasEvent):
        return "aliases (*name) are not allowed", "write the value out"
    if isinstance(event, NodeEvent) and event.anchor is not None:
        return "anchors (&name) are not allowed", "remove the anchor"
    if isinstance(event, NodeEvent) and getattr(event, "tag", None) is not None:
        return "tags (!name) are not allowed", "remove the tag"
    if isinstance(event, DocumentStartEvent) and (event.version is not None or event.tags):
        return "directives (%YAML, %TAG) are not allowed", "remove the line"
    return None


def _marked(error: MarkedYAMLError, hint: str, message: str | None = None) -> Problem:
    mark: Any = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    return Problem(message or error.problem or _one_line(error), hint, line=line, column=column)


def _one_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


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
