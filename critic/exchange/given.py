"""A pair as others write it, before it is a record of ours."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

from critic.suspicion import flags
from solon.records import Comparison, Completion, Discard, Message, PreferencePair, Prompt, Provenance, Status

MALFORMED: Final = "malformed_row"
"""Reason of a discard: the row cannot be read; its `detail` names the place and what is wrong."""
_NOT_OURS: Final = Provenance(constitution="", constitution_version="", constitution_hash="")


@dataclass(frozen=True)
class Given:
    """A conversation, two completions and a label."""

    messages: tuple[Message, ...]
    a: str
    b: str
    p_a: float
    """P(a is better): 1 or 0 for a hard label, 0.5 for a tie."""
    id: str | None = None
    prompt_id: str | None = None
    scope: str | None = None
    models: tuple[str | None, str | None] = (None, None)
    """Who wrote a and b."""
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


def record(given: Given, place: str) -> PreferencePair | Discard:
    """The pair, without provenance: no judge of ours gave the label. A Discard where there is nothing to compare.

    A text that speaks to a judge puts the pair in quarantine here too: whoever gave the label may have been a judge.
    """
    prompt_id = given.prompt_id or _digest("prompt", [[each.role, each.content] for each in given.messages])
    if not given.messages or given.messages[-1].role != "user":
        return malformed(place, "the conversation does not end with the user")
    if not given.a.strip() or not given.b.strip():
        return Discard(prompt_id=prompt_id, reason="empty_completion", detail=place)
    if given.a == given.b:
        return Discard(prompt_id=prompt_id, reason="identical_completions", detail=place)
    prompt = Prompt(id=prompt_id, messages=given.messages, scope=given.scope or "general")
    a, b = Completion(text=given.a, model=given.models[0]), Completion(text=given.b, model=given.models[1])
    return PreferencePair(
        id=given.id or _digest("pref", [prompt_id, given.a, given.b]),
        prompt=prompt,
        a=a,
        b=b,
        flags=tuple(flags(Comparison(prompt=prompt, a=a, b=b))),
        provenance=_NOT_OURS,
        extra=given.extra,
        **label(given.p_a),
    )


def label(p_a: float) -> dict[str, Any]:
    """The label's fields of a pair: a tie at exactly 0.5, else the likelier side."""
    if p_a == 0.5:
        return {"status": Status.TIE, "p_a": p_a, "margin": 0.0}
    chosen, p_chosen = ("a", p_a) if p_a > 0.5 else ("b", 1 - p_a)
    return {"status": Status.OK, "p_a": p_a, "chosen": chosen, "p_chosen": p_chosen, "margin": abs(p_a - 0.5) * 2}


def malformed(place: str, why: str) -> Discard:
    """The discard of a row that cannot be read; `place` says where it is."""
    return Discard(prompt_id=place, reason=MALFORMED, detail=f"{place}: {why}")


def _digest(kind: str, parts: Any) -> str:
    return f"{kind}_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]}"
