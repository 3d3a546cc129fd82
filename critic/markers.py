"""Text of prompts and completions as data: nothing in it can close a marker of our templates or open a chat turn.

A judge prompt frames what it judges with [A] ... [/A] and the like. A completion that contains such a marker, or a chat
control token such as <|user|>, could end its own frame and speak to the judge. Those are rewritten so that they
tokenise as plain text; everything else stays as it is. The templates insert each value in one pass and never read it
again, so one rewriting is enough.
"""

import re

_MARKER = re.compile(r"\[\s*(/?)\s*(A|B|(?i:RESPONSE))\s*\]")
_CONTROL = re.compile(
    r"<[|\uff5c]([^<>|\uff5c()\n]{0,64})[|\uff5c]>"  # <|user|>, <|im_start|>, and the full-width bars of DeepSeek
    r"|<(/?(?:s|bos|eos|pad|unk|think|start_of_turn|end_of_turn|tool_call|tool_response))>"
    r"|<<(/?SYS)>>"
    r"|\[(/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS))\]"
)
_IMITATION = re.compile(  # a line of our own templates, written by someone else
    r"^\s*(?:Principle:|Answer with (?:A or B|Yes or No)\b|You judge responses\b)", re.MULTILINE | re.IGNORECASE
)


def neutralise(text: str) -> str:
    """`text` with our markers and chat control tokens in round brackets; unchanged without any."""
    text = _MARKER.sub(lambda found: f"({found[1]}{found[2]})", text)
    return _CONTROL.sub(lambda found: f"({next(name for name in found.groups() if name is not None)})", text)


def injection_suspected(text: str) -> bool:
    """Whether `text` holds a marker, a control token or a line that imitates a judge prompt."""
    return any(pattern.search(text) for pattern in (_MARKER, _CONTROL, _IMITATION))
