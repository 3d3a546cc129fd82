"""Which labels and which of their forms a judge answers with: "A", " A", "(A", "1" ...

A pair of labels suits a judge when it puts most of its probability on them and does not lean to one slot. Every form
counts towards a label when judgements are read; this says where the probability really lies.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from constitution.document import Principle
from critic.concurrency import together
from critic.judges.logprobs import SAMPLING, pair_messages
from critic.readings import is_form_of, read_labels
from solon.chat import ChatModel, ChatReply, RequestRejected
from solon.errors import Failed
from solon.records import Comparison

CANDIDATES: Final[tuple[tuple[str, str], ...]] = (("A", "B"), ("1", "2"), ("X", "Y"), ("first", "second"))

Labels = tuple[str, str]


@dataclass(frozen=True)
class LabelForms:
    """How a judge answers with one pair of labels, over both orders of some comparisons."""

    labels: Labels
    calls: int
    label_mass: float
    """Mean probability on the labels in all their forms."""
    forms: dict[str, float]
    """Mean probability of each form, most probable first."""
    first_slot: float
    """Mean P(the first-listed wins); 0.5 is unbiased."""


async def measure_labels(
    model: ChatModel,
    comparisons: Sequence[Comparison],
    principle: Principle,
    candidates: Sequence[Labels] = CANDIDATES,
    *,
    fences: bool = False,
) -> list[LabelForms]:
    """How each candidate does, the one with the most label mass first.

    Args:
        fences: whether the judge is asked with them.

    Raises Failed when a pair of labels had no readable answer at all.
    """
    found = [await _one(model, comparisons, principle, labels, fences) for labels in candidates]
    return sorted(found, key=lambda each: -each.label_mass)


async def _one(
    model: ChatModel, comparisons: Sequence[Comparison], principle: Principle, labels: Labels, fences: bool
) -> LabelForms:
    listed = [each for comparison in comparisons for each in (comparison, comparison.swap())]
    replies = [
        reply for reply in await together(_reply(model, each, principle, labels, fences) for each in listed) if reply
    ]
    if not replies:
        raise Failed(f"model {model.name!r} answered none of {len(listed)} comparisons", remedy="is it a chat model?")
    forms: dict[str, float] = defaultdict(float)
    masses, firsts = list[float](), list[float]()
    for reply in replies:
        reading = read_labels(reply.choices[0], labels)
        masses.append(reading.label_mass or 0.0)
        firsts += [reading.p_first] if reading.p_first is not None else []
        for entry in reply.choices[0].first_token:
            if any(is_form_of(entry.token, label) for label in labels):
                forms[entry.token] += math.exp(entry.logprob) / len(replies)
    ranked = dict(sorted(forms.items(), key=lambda item: -item[1]))
    first = sum(firsts) / len(firsts) if firsts else 0.5
    return LabelForms(labels, len(replies), sum(masses) / len(masses), ranked, first)


async def _reply(
    model: ChatModel, listed: Comparison, principle: Principle, labels: Labels, fences: bool
) -> ChatReply | None:
    """The reply; None where this request failed or carries no log-probabilities."""
    try:
        reply = await model.complete(pair_messages(listed, principle, labels, fences=fences), **SAMPLING)
    except RequestRejected:
        return None
    return reply if reply.choices[0].first_token else None
