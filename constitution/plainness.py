"""Nothing in a constitution file hides its meaning: what a reader sees is what the program reads.

One pass over the events of the YAML parser, before any data is built. Anchors, aliases, tags, directives, merge keys,
keys given twice, keys that are not plain words and a second document are refused where they stand; so are depth and
size that no constitution needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from constitution.problems import FieldPath, Problem, SourceError, dotted

MAX_DEPTH = 16
MAX_NODES = 10_000
"""Keys, values and items of one file; reading that many takes seconds."""

Finding = tuple[str, str]
"""Message and hint."""


@dataclass
class _Open:
    """A mapping or list that has begun."""

    is_mapping: bool
    key: str | int | None = None
    """The key or index that was read last; None before the first and after a value in a mapping."""
    expects_value: bool = False
    lines: dict[str, int] = field(default_factory=dict[str, int])
    """Keys seen, and the line of each."""


class Walk:
    """The way through one file; `field` says where it has come to, also after a parser error."""

    def __init__(self) -> None:
        self.fields: dict[tuple[int, int], str] = {}
        """The field of each scalar, by line and column from 0."""
        self._open: list[_Open] = []
        self._nodes = 0
        self._documents = 0

    @property
    def field(self) -> str | None:
        """The field that was being read; None at the root."""
        return dotted(self.path) or None

    @property
    def path(self) -> FieldPath:
        """Keys and indices of `field`."""
        return tuple(each.key for each in self._open if each.key is not None)

    def check(self, events: Iterator[Event]) -> None:
        """Follow all events; raises `SourceError` at the first that is not plain."""
        for event in events:
            finding = self._enter(event) or _hidden_meaning(event) or self._too_much(event)
            mark: Any = event.start_mark
            if finding is not None:
                raise SourceError(Problem(*finding, field=self.field, line=mark.line + 1, column=mark.column + 1))
            if isinstance(event, ScalarEvent) and self._open:
                self.fields[mark.line, mark.column] = dotted(self.path)
            self._leave(event)

    def _enter(self, event: Event) -> Finding | None:
        """Take the place of the node that begins; what is wrong with it as a key, or None."""
        if isinstance(event, DocumentStartEvent):
            self._documents += 1
        if not isinstance(event, NodeEvent):
            return None
        self._nodes += 1
        inside = self._open[-1] if self._open else None
        if inside is None:
            return None
        if not inside.is_mapping:
            inside.key = inside.key + 1 if isinstance(inside.key, int) else 0
            return None
        return None if inside.expects_value else _enter_key(inside, event)

    def _leave(self, event: Event) -> None:
        """Open what begins, close what ends, and wait for the next key after a value."""
        if isinstance(event, CollectionStartEvent):
            self._open.append(_Open(isinstance(event, MappingStartEvent)))
            return
        if isinstance(event, CollectionEndEvent):
            self._open.pop()
        elif not isinstance(event, NodeEvent):
            return
        inside = self._open[-1] if self._open else None
        if inside is not None and inside.is_mapping:
            inside.key = None if inside.expects_value else inside.key
            inside.expects_value = not inside.expects_value

    def _too_much(self, event: Event) -> Finding | None:
        if isinstance(event, CollectionStartEvent) and len(self._open) >= MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels", "no field needs that"
        if self._nodes > MAX_NODES:
            return f"more than {MAX_NODES} keys and values", "split the constitution"
        if self._documents > 1:
            return "a second document begins here", "one file holds one constitution; remove `---`"
        return None


def _enter_key(inside: _Open, event: NodeEvent) -> Finding | None:
    if not isinstance(event, ScalarEvent):
        return None if isinstance(event, AliasEvent) else ("a key must be one word", "write `key: value`")
    name = str(event.value)
    inside.key = name
    if name == "<<":
        return "merge keys (<<) are not allowed", "write the keys out"
    if name in inside.lines:
        return "a key is given twice", f"remove or rename it; the first one is on line {inside.lines[name]}"
    mark: Any = event.start_mark
    inside.lines[name] = mark.line + 1
    return None


def _hidden_meaning(event: Event) -> Finding | None:
    """What is wrong with one parser event and the remedy, or None."""
    if isinstance(event, AliasEvent):
        return "aliases (*name) are not allowed", "write the value out, or quote text that begins with *"
    if isinstance(event, NodeEvent) and event.anchor is not None:
        return "anchors (&name) are not allowed", "remove the anchor, or quote text that begins with &"
    if isinstance(event, NodeEvent) and getattr(event, "tag", None) is not None:
        return "tags (!name) are not allowed", "remove the tag, or quote text that begins with !"
    if isinstance(event, DocumentStartEvent) and (event.version is not None or event.tags):
        return "directives (%YAML, %TAG) are not allowed", "remove the line"
    return None
