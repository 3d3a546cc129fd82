"""Values as YAML text, fit to stand at a given place of a file that people write by hand."""

import textwrap
from collections.abc import Sequence
from difflib import SequenceMatcher
from io import StringIO
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.emitter import RoundTripEmitter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString, SingleQuotedScalarString

WIDTH = 120
"""Columns; prose that we write is folded there, what stands in a file already is left as it is."""
_QUOTED = {"'": SingleQuotedScalarString, '"': DoubleQuotedScalarString}


def block_value(value: Any, indent: int, style: str | None = None) -> str:
    """What follows `key:` or `-` in block style, with its leading space or line break and no final line break.

    Args:
        indent: column of the key or dash.
        style: of the value that stood there: a quote is kept, `|` and `>` stay blocks.
    """
    if isinstance(value, str) and _folds(value, indent, style):
        body = folded((), value, WIDTH - indent - 2)
        return fold_header(value) + "".join(f"\n{' ' * (indent + 2)}{line}" for line in body)
    dumped = _dump({"k": _styled(value, indent, style)}, flow=False).removeprefix("k:").rstrip("\n")
    return indented(dumped, indent)


def flow_value(value: Any, style: str | None = None) -> str:
    """The value on one line, as it stands inside brackets or braces."""
    return flow_entry("k", value, style).removeprefix("k:").strip()


def flow_entry(key: str, value: Any, style: str | None = None) -> str:
    """`key: value` on one line, as it stands inside braces."""
    quoted = _QUOTED[style](value) if isinstance(value, str) and style in _QUOTED else value
    return _dump({key: quoted}, flow=True).strip()[1:-1]


def entry(key: str, value: Any, indent: int) -> str:
    """The lines of one `key: value` in block style at column `indent`, with the final line break."""
    written = _dump({key: None}, flow=False).strip()  # the key is quoted where it must be
    return " " * indent + written + block_value(value, indent) + "\n"


def item(value: Any, dash: int, column: int, *, flow: bool) -> str:
    """The lines of one list item whose dash stands at `dash` and whose mapping keys stand at `column`.

    Args:
        flow: write it in braces where that fits on one line.
    """
    lead = " " * dash + "-" + " " * (column - dash - 1)
    if isinstance(value, dict) and value:
        parts = cast(dict[str, Any], value)
        inline = lead + flow_value(parts) + "\n"
        if flow and len(inline) <= WIDTH + 1:
            return inline
        written = "".join(entry(key, part, column) for key, part in parts.items())
        return lead + written[column:]
    return " " * dash + "-" + block_value(value, dash) + "\n"


def is_one_paragraph(text: str) -> bool:
    """Whether folding the text at its spaces loses nothing: single spaces, and at most one line break, at the end."""
    words = text.removesuffix("\n")
    return bool(words) and words == " ".join(words.split())


def fold_header(text: str) -> str:
    """What stands behind the key of a folded paragraph, with the space before it."""
    return " >" if text.endswith("\n") else " >-"


def folded(old_lines: Sequence[str], text: str, width: int) -> list[str]:
    """The paragraph in lines that break where `old_lines` did, so that one changed word changes one line."""
    old = [word for line in old_lines for word in line.split()]
    new = text.split()
    ends: set[int] = set()
    for line in old_lines:
        ends.add(len(line.split()) + max(ends, default=0))
    breaks: set[int] = set()
    for kind, old_from, old_to, new_from, new_to in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        for end in ends & set(range(old_from + 1, old_to + 1)):
            one_to_one = kind == "equal" or old_to - old_from == new_to - new_from
            breaks.add(new_from + end - old_from if one_to_one else new_to)
    lines: list[str] = []
    start = 0
    for end in [*sorted(breaks - {0, len(new)}), len(new)]:
        line = " ".join(new[start:end])
        lines += textwrap.wrap(line, max(width, 20), break_long_words=False, break_on_hyphens=False)
        start = end
    return lines


def indented(text: str, indent: int) -> str:
    """The text with every line but the first moved to the right by `indent`; empty lines stay empty."""
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * indent + line if line else line for line in rest)])


def _folds(text: str, indent: int, style: str | None) -> bool:
    wide = style is None and indent + len(text) > WIDTH
    return is_one_paragraph(text) and text.isprintable() and (style == ">" or wide)


def _styled(value: Any, indent: int, style: str | None = None) -> Any:
    """The value with its prose marked for the style it is written in."""
    if isinstance(value, dict):
        return {key: _styled(part, indent) for key, part in cast(dict[str, Any], value).items()}
    if isinstance(value, list | tuple):
        items = CommentedSeq(_styled(part, indent) for part in cast(Sequence[Any], value))
        if (
            all(isinstance(part, str | float | int) for part in items)
            and sum(len(str(part)) + 2 for part in items) < 80
        ):
            items.fa.set_flow_style()
        return items
    if not isinstance(value, str):
        return value
    if "\n" in value.removesuffix("\n") or style == "|":
        # A block keeps one line break at its end, or none; a blank first line would hide the indentation.
        block = (
            value[:1].strip() and not value.endswith("\n\n") and all(line.isprintable() for line in value.split("\n"))
        )
        return LiteralScalarString(value) if block else DoubleQuotedScalarString(value)
    if "\n" in value:
        return DoubleQuotedScalarString(value)
    return _QUOTED[style](value) if style in _QUOTED else value


class _Emitter(RoundTripEmitter):
    """Quotes words such as `?a` and `: a` in brackets: ruamel.yaml writes them plain, but cannot read them."""

    def analyze_scalar(self, scalar: Any) -> Any:
        analysis = super().analyze_scalar(scalar)
        if str(scalar).startswith(("?", ": ")):
            analysis.allow_flow_plain = False
        return analysis


def _dump(value: Any, *, flow: bool) -> str:
    yaml = YAML(typ="rt", pure=True)
    yaml.Emitter = _Emitter
    yaml.default_flow_style = flow
    yaml.width = 1 << 20
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()
