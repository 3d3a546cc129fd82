"""A file's text changed to say something else, with every line left alone that need not change.

The text is not written anew from the data, which would reflow it. Each part whose data differs is replaced where it
stands, so that comments, quotes, spacing and the order of keys survive, and one changed field is one changed line.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from constitution.yaml_text import (
    WIDTH,
    block_value,
    entry,
    flow_entry,
    flow_value,
    fold_header,
    folded,
    is_one_paragraph,
    item,
)


class Edit(NamedTuple):
    """Characters `start` to `end` of a text, and what comes in their place."""

    start: int
    end: int
    text: str


def rewritten(text: str, present: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    """The YAML `text`, whose data is `present`, with the fewest changes that make its data `target`.

    Args:
        text: one YAML mapping without anchors, aliases and tags.
    """
    if "\r\n" in text:
        return rewritten(text.replace("\r\n", "\n"), present, target).replace("\n", "\r\n")
    whole = text if text.endswith("\n") else text + "\n"
    root = YAML(typ="safe", pure=True).compose(whole)
    edits = _Text(whole).mapping(root, present, target)
    if edits is None:
        edits = [Edit(0, len(whole), "".join(entry(key, value, 0) for key, value in target.items()))]
    return _applied(whole, edits)


def same(present: Any, target: Any) -> bool:
    """Whether two values are the same JSON value; true is not 1, but 2.0 is 2."""
    if isinstance(present, dict) and isinstance(target, dict):
        one, other = cast(dict[str, Any], present), cast(dict[str, Any], target)
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(present, list | tuple) and isinstance(target, list | tuple):
        left, right = cast(Sequence[Any], present), cast(Sequence[Any], target)
        return len(left) == len(right) and all(map(same, left, right))
    return isinstance(present, bool) == isinstance(target, bool) and present == target


@dataclass(frozen=True)
class _Place:
    """Where a value stands: after the colon or dash at `after`, under a key or dash at column `indent`."""

    after: int
    indent: int
    flow: bool


@dataclass(frozen=True)
class _Text:
    """Edits of one text. A method that returns None cannot keep the part; it is then written anew as a whole."""

    text: str

    def value(self, node: Node, present: Any, target: Any, place: _Place) -> list[Edit]:
        """Edits that turn the value at `node` into `target`."""
        if same(present, target):
            return []
        edits: list[Edit] | None = None
        if isinstance(node, MappingNode) and isinstance(target, dict):
            edits = self.mapping(node, present, cast(dict[str, Any], target))
        elif isinstance(node, SequenceNode) and isinstance(target, list | tuple):
            edits = self.sequence(node, present, cast(Sequence[Any], target), place)
        elif isinstance(node, ScalarNode) and not isinstance(target, dict | list | tuple):
            edits = self.scalar(node, target, place)
        if edits is not None:
            return edits
        end = place.after if _is_unwritten(node) else self.end(node)
        new = " " + flow_value(target) if place.flow else block_value(target, place.indent)
        return [Edit(place.after, end, new)]

    def scalar(self, node: ScalarNode, target: Any, place: _Place) -> list[Edit] | None:
        """One scalar in place of another, in the same style where that can hold it."""
        if _is_unwritten(node):
            return None
        start, end = _start(node), self.end(node)
        style = node.style if isinstance(node.style, str) else None
        if place.flow:
            return [Edit(start, end, flow_value(target, style))]
        if style == ">" and isinstance(target, str) and is_one_paragraph(target) and target.isprintable():
            return [Edit(place.after, end, self._refolded(start, end, target, place.indent))]
        if style is None and isinstance(target, str) and place.indent + len(target) > WIDTH:
            long_already = "\n" not in self.text[start:end] and place.indent + end - start > WIDTH
            style = "plain" if long_already else None
        new = block_value(target, place.indent, style)
        return [Edit(start, end, new[1:])] if "\n" not in new else [Edit(place.after, end, new)]

    def _refolded(self, start: int, end: int, target: str, indent: int) -> str:
        _, *lines = self.text[start:end].splitlines()
        depth = min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), default=indent + 2)
        body = folded(lines, target, WIDTH - depth)
        return fold_header(target) + "".join(f"\n{' ' * depth}{line}" for line in body)

    def mapping(self, node: MappingNode, present: Mapping[str, Any], target: Mapping[str, Any]) -> list[Edit] | None:
        """Edits of a mapping some of whose keys stay."""
        kept = [index for index, key in enumerate(present) if key in target]
        if not kept:
            return None
        pairs: list[tuple[Node, Node]] = node.value
        flow = bool(node.flow_style)
        inner: dict[int, list[Edit]] = {}
        for index, (key, value) in enumerate(present.items()):
            if key in target:
                place = _Place(self._colon(pairs[index][0]), pairs[index][0].start_mark.column, flow)
                inner[index] = self.value(pairs[index][1], value, target[key], place)
        added = [key for key in target if key not in present]
        if not added and len(kept) == len(present):
            return [edit for edits in inner.values() for edit in edits]
        if flow:
            spans = {index: (_start(pairs[index][0]), self._entry_end(*pairs[index])) for index in kept}
            texts = [self._cut(*spans[index], inner[index]) for index in kept]
            texts += [flow_entry(key, target[key]) for key in added]
            return [Edit(_start(node), _end(node), "{" + ", ".join(texts) + "}")]
        starts = self._starts([_start(key) for key, _ in pairs], [self._entry_end(*pair) for pair in pairs])
        edits = self._removed(starts, kept, _start(pairs[kept[0]][0]))
        edits += [edit for index in kept for edit in inner[index]]
        column = pairs[0][0].start_mark.column
        return edits + [Edit(starts[-1], starts[-1], entry(key, target[key], column)) for key in added]

    def _removed(self, starts: Sequence[int], kept: Sequence[int], first_kept: int) -> list[Edit]:
        """Edits that take out the entries that are not kept."""
        edits: list[Edit] = []
        if kept[0] > 0:  # the first kept key moves up behind a dash, or to the start of the line
            at_line_start = self.text[starts[0] - 1 : starts[0]] in ("", "\n")
            edits.append(Edit(starts[0], starts[kept[0]] if at_line_start else first_kept, ""))
        gone = (index for index in range(kept[0], len(starts) - 1) if index not in kept)
        return edits + [Edit(starts[index], starts[index + 1], "") for index in gone]

    def sequence(
        self, node: SequenceNode, present: Sequence[Any], target: Sequence[Any], place: _Place
    ) -> list[Edit] | None:
        """Edits of a list; items with an id are the same item wherever they stand."""
        if not present or not target:
            return None
        nodes: list[Node] = node.value
        flow = bool(node.flow_style)
        dashes = [_start(child) - 1 for child in nodes] if flow else self._dashes(node)
        if dashes is None:
            return None
        dash = node.start_mark.column
        sources = _matched(present, target)
        inner = {
            source: self.value(nodes[source], present[source], value, _Place(dashes[source] + 1, dash, flow))
            for source, value in zip(sources, target, strict=True)
            if source is not None
        }
        if sources == list(range(len(present))):
            return [edit for edits in inner.values() for edit in edits]
        if flow:
            texts = [
                flow_value(value)
                if source is None
                else self._cut(_start(nodes[source]), self.end(nodes[source]), inner[source])
                for source, value in zip(sources, target, strict=True)
            ]
            return [Edit(_start(node), _end(node), "[" + ", ".join(texts) + "]")]
        return self._rearranged(nodes, dashes, sources, target, inner, place)

    def _rearranged(
        self,
        nodes: Sequence[Node],
        dashes: Sequence[int],
        sources: Sequence[int | None],
        target: Sequence[Any],
        inner: Mapping[int, list[Edit]],
        place: _Place,
    ) -> list[Edit] | None:
        """One edit that puts the items' own lines, comments above them included, into their new order."""
        starts = self._starts(dashes, [self.end(child) for child in nodes], floor=place.after)
        if self.text[starts[0] - 1] != "\n":
            return None
        dash = dashes[0] - (self.text.rfind("\n", 0, dashes[0]) + 1)
        columns = [child.start_mark.column for child in nodes if isinstance(child, MappingNode)]
        column = columns[0] if columns else dash + 2
        last = len(nodes) - 1
        gap = "\n" if last and self.text[starts[0] : starts[1]].endswith("\n\n") else ""
        lines: list[str] = []
        for source, value in zip(sources, target, strict=True):
            if source is None:
                lines.append(item(value, dash, column, flow=_in_braces(nodes[-1])) + gap)
            else:
                own = self._cut(starts[source], starts[source + 1], inner[source])
                lines.append(own + gap if source == last else own)
        return [Edit(starts[0], starts[-1], "".join(lines).rstrip("\n") + "\n")]

    def _starts(self, firsts: Sequence[int], ends: Sequence[int], floor: int | None = None) -> list[int]:
        """Where each of some parts of a block begins, comments directly above it included, and where the last ends.

        Args:
            firsts: index of each part's key or dash.
            ends: index behind each part's last character.
            floor: what stands before it does not belong to the first part; None: nor do comments above it.
        """
        starts: list[int] = []
        for index, first in enumerate(firsts):
            line = self.text.rfind("\n", 0, first) + 1
            lowest = ends[index - 1] if index else floor
            if self.text[line:first].strip():
                starts.append(first)  # behind a dash
                continue
            while lowest is not None and line - 1 > lowest:
                above = self.text.rfind("\n", 0, line - 1) + 1
                if above <= lowest or not self.text[above:line].lstrip().startswith("#"):
                    break
                line = above
            starts.append(line)
        return [*starts, self.text.find("\n", ends[-1]) + 1]

    def _dashes(self, node: SequenceNode) -> list[int] | None:
        """Index of each item's dash; None where one is not found in the list's column."""
        column, found = node.start_mark.column, [_start(node)]
        for before, child in zip(node.value, node.value[1:], strict=False):
            line = self.text.find("\n", self.end(before)) + 1
            while 0 < line <= _start(child) and not self.text[line:].startswith(" " * column + "-"):
                line = self.text.find("\n", line) + 1
            if not 0 < line <= _start(child):
                return None
            found.append(line + column)
        return found

    def _colon(self, key: Node) -> int:
        return self.text.index(":", _end(key)) + 1

    def _entry_end(self, key: Node, value: Node) -> int:
        return self._colon(key) if _is_unwritten(value) else self.end(value)

    def _cut(self, start: int, end: int, edits: Iterable[Edit]) -> str:
        return _applied(self.text[start:end], (Edit(one - start, other - start, new) for one, other, new in edits))

    def end(self, node: Node) -> int:
        """Index behind the last character of a value, without the comments and blank lines that follow it."""
        if isinstance(node, ScalarNode):
            end = _end(node)
            return _start(node) + len(self.text[_start(node) : end].rstrip()) if node.style in ("|", ">") else end
        if not isinstance(node, MappingNode | SequenceNode) or node.flow_style or not node.value:
            return _end(node)
        return self._entry_end(*node.value[-1]) if isinstance(node, MappingNode) else self.end(node.value[-1])


def _applied(text: str, edits: Iterable[Edit]) -> str:
    """The text after edits that do not overlap; those of one place in the order given."""
    pieces: list[str] = []
    at = 0
    for start, end, new in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        pieces += [text[at:start], new]
        at = end
    return "".join([*pieces, text[at:]])


def _matched(present: Sequence[Any], target: Sequence[Any]) -> list[int | None]:
    """For each item of `target` the index of the item of `present` that it was, or None where it is new."""
    left = list(range(len(present)))
    matched: list[int | None] = []
    for value in target:
        found = next((index for index in left if _is_one(present[index], value)), None)
        if found is not None:
            left.remove(found)
        matched.append(found)
    for place, value in enumerate(target):  # renamed, or a plain value in the place of another
        if (
            matched[place] is None
            and (found := next((one for one in left if _is_like(present[one], value)), None)) is not None
        ):
            left.remove(found)
            matched[place] = found
    return matched


def _is_one(present: Any, target: Any) -> bool:
    if isinstance(present, dict) and isinstance(target, dict):
        one, other = cast(dict[str, Any], present), cast(dict[str, Any], target)
        if "id" in one and "id" in other:
            return one["id"] == other["id"]
    return same(present, target)


def _is_like(present: Any, target: Any) -> bool:
    if isinstance(present, dict) and isinstance(target, dict):
        one, other = cast(dict[str, Any], present), cast(dict[str, Any], target)
        return any(same(one[key], other[key]) for key in one.keys() & other.keys())
    return not isinstance(present, dict | list | tuple) and not isinstance(target, dict | list | tuple)


def _is_unwritten(node: Node) -> bool:
    """Whether it is a null of which nothing is written; its marks may stand behind the comments that follow."""
    return isinstance(node, ScalarNode) and node.style is None and _start(node) == _end(node)


def _in_braces(node: Node) -> bool:
    return isinstance(node, MappingNode) and bool(node.flow_style)


def _start(node: Node) -> int:
    return cast(int, node.start_mark.index)


def _end(node: Node) -> int:
    return cast(int, node.end_mark.index)
