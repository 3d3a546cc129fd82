"""What one one-token reply says: the probabilities of two labels, read from the log-probabilities of the first token.

The request must be unconstrained: with a choice constraint, servers return log-probabilities that are already masked,
and the label mass would be 1 by construction.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from solon.chat import ChatChoice, TokenLogprob
from solon.records import Probability

_DECORATION = " \t\r\n\u2581\u0120\u010a()[]\"'*_:."
"""Around a label: spaces as tokenizers write them, brackets, quotes, emphasis: "A", " A", "(A", "**A" are one label."""
_REFUSALS = frozenset({"i", "i'm", "i\u2019m", "sorry", "unfortunately", "apologies"})
"""First words of "I cannot ..." and "Sorry, ...": with too little label mass, the judge declined to judge."""

_ONE_DIGIT = 9
_NEGLIGIBLE = 0.02
"""Share of the mass that may lie on an ambiguous number."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A measurement, before any threshold is applied; what the judgement cache keeps."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    p_first: Probability | None
    """P(first label) / (P(first label) + P(second label)); None if neither is among the returned tokens."""
    label_mass: Probability | None
    """Probability of all labels in all accepted forms; a lower bound where a form is not among the returned tokens;
    None where it was not measured."""
    refused: bool = False
    """Whether the reply opens like a refusal."""
    note: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    text: str = ""
    """The reason or argument that a judge wrote."""
    score: float | None = None
    """Mark of one completion: in [-1, 1] on a scale, unbounded from a reward model."""
    scale: tuple[float, ...] = ()
    """Probability of each number of the scale, from 1; sums to 1."""


def read_labels(choice: ChatChoice, labels: tuple[str, str]) -> Reading:
    """The reading of a reply for two labels, such as ("A", "B") or ("Yes", "No").

    A label that is not among the returned tokens is at most as probable as the least of them, and as what they leave
    of 1: that bound stands in for it, so a verdict is never more certain than what was measured.

    Raises:
        ValueError: the reply carries no log-probabilities.
    """
    top = choice.first_token
    if not top:
        raise ValueError("the reply carries no log-probabilities")
    found = [_probability(top, label) for label in labels]
    refused = choice.finish_reason == "content_filter" or _bare(_likeliest(top)).lower() in _REFUSALS
    if found[0] is None and found[1] is None:
        return Reading(None, 0.0, refused, f"neither label among {len(top)} tokens")
    bound = min(min(math.exp(entry.logprob) for entry in top), max(0.0, 1.0 - _total(top)))
    missing = [label for label, p in zip(labels, found, strict=True) if p is None]
    note = f"{missing[0]} is not among {len(top)} tokens: at most {bound:.2g}" if missing else ""
    first, second = (bound if p is None else p for p in found)
    mass = min(1.0, sum(p for p in found if p is not None))
    return Reading(first / (first + second) if first + second > 0 else None, mass, refused, note)


def read_scale(choice: ChatChoice, most: int) -> Reading:
    """The reading of a reply on a scale from 1 to `most`: the expectation, rescaled to [-1, 1].

    A number that is not among the returned tokens counts as 0. Where "10" is not one of them, "1" may be how it begins:
    then there is no reading, unless "1" has next to no probability.

    Raises:
        ValueError: the reply carries no log-probabilities.
    """
    top = choice.first_token
    if not top:
        raise ValueError("the reply carries no log-probabilities")
    found = [_probability(top, str(number)) for number in range(1, most + 1)]
    mass = min(1.0, sum(p for p in found if p is not None))
    refused = choice.finish_reason == "content_filter" or _bare(_likeliest(top)).lower() in _REFUSALS
    if mass == 0:
        return Reading(None, 0.0, refused, f"no number from 1 to {most} among {len(top)} tokens")
    scale = tuple((p or 0.0) / mass for p in found)
    if most > _ONE_DIGIT and found[-1] is None and scale[0] > _NEGLIGIBLE:
        note = f"{most} is not among {len(top)} tokens and may begin with 1: use a scale of {_ONE_DIGIT} at most"
        return Reading(None, mass, refused, note)
    expected = sum(number * p for number, p in enumerate(scale, start=1))
    return Reading(None, mass, refused, score=2 * (expected - 1) / (most - 1) - 1, scale=scale)


def _probability(top: Sequence[TokenLogprob], label: str) -> float | None:
    """Summed over the forms of the label, None if there is none."""
    forms = [math.exp(entry.logprob) for entry in top if is_form_of(entry.token, label)]
    return sum(forms) if forms else None


def is_form_of(token: str, label: str) -> bool:
    """Whether a token is a form of the label."""
    bare = _bare(token)
    # A lone letter is a label only as a capital ("a" starts a sentence); words are labels in any case.
    return bare == label if len(label) == 1 else bare.lower() == label.lower()


def _bare(token: str) -> str:
    return token.strip(_DECORATION)


def _likeliest(top: Sequence[TokenLogprob]) -> str:
    return max(top, key=lambda entry: entry.logprob).token


def _total(top: Sequence[TokenLogprob]) -> float:
    return sum(math.exp(entry.logprob) for entry in top)
