"""Text of prompts and completions as data: nothing in it can close a marker of our templates or open a chat turn.

A judge prompt frames what it judges with [A] ... [/A] and the like. A completion that contains such a marker, or a chat
control token such as <|user|>, could end its own frame and speak to the judge. Those are rewritten so that they
tokenise as plain text, also where invisible characters or look-alike brackets stand in between; everything else stays
as it is. The templates insert each value in one pass and never read it again, so one rewriting is enough.
"""

import re
from collections.abc import Sequence
from functools import cache

_UNSEEN = "[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]*"
"""Characters that show nothing: zero-width ones, direction marks, the deprecated tags."""
_OPEN, _CLOSE = "[\\[\uff3b\u3010\u27e6]", "[\\]\uff3d\u3011\u27e7]"


def _spread(word: str) -> str:
    """`word` with anything unseen between its letters."""
    return _UNSEEN.join(word)


_MARKER = re.compile(
    rf"{_OPEN}{_UNSEEN}\s*(/?){_UNSEEN}\s*(A|B|(?i:{_spread('RESPONSE')}))((?:\s{_UNSEEN}[0-9a-f]+)?)"
    rf"{_UNSEEN}\s*{_CLOSE}"
)
_CONTROL = re.compile(
    r"<[|\uff5c]([^<>|\uff5c()\n]{0,64})[|\uff5c]>"  # <|user|>, <|im_start|>, and the full-width bars of DeepSeek
    r"|<(/?(?:s|bos|eos|pad|unk|think|start_of_turn|end_of_turn|tool_call|tool_response))>"
    r"|<<(/?SYS)>>"
    r"|\[(/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS))\]"
)


def neutralise(text: str, control_tokens: Sequence[str] = ()) -> str:
    """`text` with our markers and chat control tokens in round brackets; unchanged without any.

    Args:
        control_tokens: those of the judge's own tokenizer, on top of the common ones.
    """
    text = _MARKER.sub(lambda found: f"({found[1]}{found[2]}{found[3]})", text)
    text = _CONTROL.sub(lambda found: f"({next(name for name in found.groups() if name is not None)})", text)
    own = _own(tuple(control_tokens))
    return own.sub(lambda found: f"({_bare(found[0])})", text) if own is not None else text


def holds_marker(text: str) -> bool:
    """Whether `text` holds a marker of our templates or a common control token."""
    return bool(_MARKER.search(text) or _CONTROL.search(text))


@cache
def _own(tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    """Matches the tokens that their plain name in round brackets does not hold again; longer ones first."""
    kept = [token for token in tokens if token not in f"({_bare(token)})"]
    return re.compile("|".join(map(re.escape, sorted(kept, key=len, reverse=True)))) if kept else None


def _bare(token: str) -> str:
    """The name in a control token: `user` in `<|user|>`."""
    return re.sub(r"^\W+|\W+$", "", token)
