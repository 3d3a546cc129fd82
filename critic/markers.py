"""Text of prompts and completions as data: nothing in it can close a marker of our templates or open a chat turn.

A judge prompt frames what it judges with [A] ... [/A] and the like. A completion that contains such a marker, or a chat
control token such as <|user|>, could end its own frame and speak to the judge. Those are rewritten so that they
tokenise as plain text, also where invisible characters, look-alike brackets or look-alike letters stand in them;
everything else stays as it is. The templates insert each value in one pass and never read it again, so one rewriting is
enough.

The labels of a judge are markers too. What is rewritten is more than what is suspected: with the labels 1 and 2 every
"[1]" is rewritten, but it is a footnote far more often than a forgery.

               rewritten                                   suspected (`holds_marker`)
RESPONSE       in any case                                 the same
A, B           [/a] in any case; [A]; [a] on its own line  the same, but for [/b] after a [b]: bold text in BBCode
other labels   in any case                                 [/x]; [x] on its own line unless x is a number
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Final

LABELS: Final = ("A", "B")
"""What the completions are called unless a judge says otherwise."""

_SEEN_AS_NOTHING = "\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f"
"""Characters that show nothing: zero-width ones, direction marks, the deprecated tags."""
_UNSEEN = f"[{_SEEN_AS_NOTHING}]*+"
_GAP = rf"[\s{_SEEN_AS_NOTHING}]*+"
_MARGIN = rf"(?:[^\S\n]|[{_SEEN_AS_NOTHING}])*+"
_OPEN, _CLOSE = "[\\[\ufe47\uff3b\u3010\u27e6]", "[\\]\ufe48\uff3d\u3011\u27e7]"
_BRACKET = re.compile(_OPEN)  # every marker has one, and few texts do: found much faster than a marker
_SLASH = "[/\u2044\u2215\uff0f]"
_WIDE = (range(0x30, 0x3000), range(0xFF00, 0xFFF0), range(0x1D400, 0x1D800), range(0x1F100, 0x1F170))
"""Where Unicode has other forms of letters and digits: in circles, wide, mathematical, raised."""


@cache
def _forms() -> dict[str, str]:
    """By letter and digit: the characters that NFKC takes for it."""
    found: defaultdict[str, str] = defaultdict(str)
    for code in chain.from_iterable(_WIDE):
        plain = unicodedata.normalize("NFKC", chr(code))
        if len(plain) == 1 and plain.isascii() and plain.isalnum():
            found[plain] += chr(code)
    return dict(found)


_HEX = "".join(_forms()[digit] for digit in "0123456789abcdefABCDEF")
_FENCE = rf"((?:\s{_GAP}(?:[{_HEX}]{_UNSEEN})++)?+)"


def _spread(word: str, *, any_case: bool) -> str:
    """Matches `word` in all forms of its letters, with anything unseen between them."""
    cases = ({letter, letter.lower(), letter.upper()} if any_case else {letter} for letter in word)
    return _UNSEEN.join(f"[{''.join(_forms()[each] for each in sorted(case))}]" for case in cases)


def _named(labels: Sequence[str], *, any_case: bool = True) -> str:
    return "|".join(_spread(label, any_case=any_case) for label in labels) or "(?!)"


def _closing(labels: str) -> str:
    return rf"{_OPEN}{_GAP}({_SLASH}){_GAP}({labels}){_FENCE}{_GAP}{_CLOSE}"


def _opening(labels: str) -> str:
    return rf"{_OPEN}{_GAP}({labels}){_FENCE}{_GAP}{_CLOSE}"


def _alone(labels: str) -> str:
    return rf"(?m:^)({_MARGIN}){_opening(labels)}(?={_MARGIN}(?m:$))"


@cache
def _rewritten(labels: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What is no marker any more after `neutralise`: anywhere, and on a line of its own."""
    others = _others(labels)
    closing = _closing(_named((*LABELS, "RESPONSE", *others)))
    opening = _opening(f"{_named(LABELS, any_case=False)}|{_named(('RESPONSE', *others))}")
    return re.compile(f"{closing}|{opening}"), re.compile(_alone(_named(LABELS)))


@cache
def _suspected(labels: tuple[str, ...]) -> re.Pattern[str]:
    """What no honest text needs."""
    others = _others(labels)
    anywhere, alone = _rewritten(LABELS)
    words = _alone(_named([label for label in others if not label.isdecimal()]))
    return re.compile(f"{anywhere.pattern}|{alone.pattern}|{_closing(_named(others))}|{words}")


def _others(labels: Sequence[str]) -> list[str]:
    return [label for label in labels if label not in LABELS]


_CONTROL = re.compile(
    r"<[|\uff5c]([^<>|\uff5c()\n]{0,64})[|\uff5c]>"  # <|user|>, <|im_start|>, and the full-width bars of DeepSeek
    r"|<(/?(?:s|bos|eos|pad|unk|think|start_of_turn|end_of_turn|tool_call|tool_response))>"
    r"|<<(/?SYS)>>"
    r"|\[(/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS))\]"
)


def neutralise(text: str, control_tokens: Sequence[str] = (), *, labels: Sequence[str] = LABELS) -> str:
    """`text` with our markers and chat control tokens in round brackets; unchanged without any.

    Args:
        control_tokens: those of the judge's own tokenizer, on top of the common ones.
        labels: what the judge calls the completions.
    """
    anywhere, alone = _rewritten(tuple(labels))
    text = anywhere.sub(lambda found: f"({''.join(filter(None, found.groups()))})", text)
    text = alone.sub(lambda found: f"{found[1]}({found[2]}{found[3]})", text)
    text = _CONTROL.sub(lambda found: f"({next(name for name in found.groups() if name is not None)})", text)
    own = _own(tuple(control_tokens))
    return own.sub(lambda found: f"({_bare(found[0])})", text) if own is not None else text


def holds_marker(text: str, labels: Sequence[str] = LABELS) -> bool:
    """Whether `text` holds a marker of our templates, as a forgery would, or a common control token."""
    framed = _BRACKET.search(text) and _suspected(tuple(labels)).search(_without_bold(text))
    return bool(framed or _CONTROL.search(text))


def _without_bold(text: str) -> str:
    """`text` without [b] and [/b], where it has both in this order."""
    begins = text.find("[b]")
    bold = begins >= 0 and text.find("[/b]", begins) >= 0
    return text.replace("[b]", "").replace("[/b]", "") if bold else text


@cache
def _own(tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    """Matches the tokens that their plain name in round brackets does not hold again; longer ones first."""
    kept = [token for token in tokens if token not in f"({_bare(token)})"]
    return re.compile("|".join(map(re.escape, sorted(kept, key=len, reverse=True)))) if kept else None


def _bare(token: str) -> str:
    """The name in a control token: `user` in `<|user|>`."""
    return re.sub(r"^\W+|\W+$", "", token)
