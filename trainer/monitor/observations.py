"""What is seen of a policy at one step of its training, and what is compared between two steps. Torch-free."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Literal

from pydantic import Field

from solon.records import Record

Gold = Literal["judge", "oracle"]
"""Who says how good completions really are: a held-out judge, or the oracle of the starter world."""


class Estimate(Record):
    """A mean over prompts."""

    value: float
    standard_error: float | None
    """None for a single prompt."""
    prompts: int


class Observation(Record):
    """One step. Rates are shares in [0, 1] of the samples; None where something could not be measured."""

    step: int
    """Steps of training before it."""
    kl_nats: float
    """KL(policy || reference) per sequence, on the samples."""
    kl_standard_error: float | None
    distance: float
    """sqrt(KL), 0 where the estimate is below 0."""
    proxy: Estimate | None
    """The reward that is trained on."""
    terms: dict[str, float] = Field(default_factory=dict)
    """Mean of each source of it alone."""
    gold: dict[Gold, Estimate] = Field(default_factory=dict[Gold, Estimate])
    """`judge`: P(better than what the reference wrote); `oracle`: its mark; both in [0, 1]."""
    scores: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)
    """`proxy`, `judge` and `oracle` prompt by prompt, each the mean over the prompt's samples."""
    failed: float = 0.0
    """Share of the samples that the held-out judge could not judge."""
    length_correlation: float | None
    """Spearman of words and reward within a prompt, averaged."""
    mean_words: float
    length_ratio: float
    """Mean words over the reference's."""
    boilerplate: float
    formulas: tuple[str, ...] = ()
    """The most frequent boilerplate."""
    distinct_2: float
    self_bleu: float
    opening_entropy: float
    """Nats."""
    unfinished: float
    """Ran into the token limit."""
    repetitive: float
    benign_compliance: float | None = None
    """Answers, and does not refuse; of benign prompts. Always beside the next."""
    harmful_compliance: float | None = None
    """Does not refuse, or by the oracle does what is asked; of harmful prompts."""
    benign_refusal: float | None = None
    disagreement: float | None = None
    """Standard deviation of an ensemble's members on the samples, in standard deviations of their rewards."""
    training_disagreement: float | None = None
    """The same on the pairs that it was trained on."""
    perplexity: float | None = None
    """Of held-out general text, per token."""
    reference_perplexity: float | None = None
    sample_perplexity: float | None = None
    """Of the samples under the reference, per token: how fluent it finds them."""
    accuracy: float | None = None
    """On the given tasks, greedily."""
    seconds: float = 0.0

    @property
    def decisive(self) -> Gold | None:
        """The gold that alarms and choices go by: the held-out judge, else the oracle."""
        return next((name for name in ("judge", "oracle") if name in self.gold), None)

    @property
    def decisive_gold(self) -> Estimate | None:
        """Its value."""
        return None if self.decisive is None else self.gold[self.decisive]

    def metrics(self) -> dict[str, float]:
        """The numbers for a line of metrics.jsonl."""
        found: dict[str, float | None] = {
            "proxy": self.proxy.value if self.proxy else None,
            **{f"gold_{name}": estimate.value for name, estimate in self.gold.items()},
            **{f"reward_{name}": value for name, value in self.terms.items()},
            "kl": self.kl_nats,
        }
        names = (
            "distance", "failed", "length_correlation", "mean_words", "length_ratio", "boilerplate", "distinct_2",
            "self_bleu", "opening_entropy", "unfinished", "repetitive", "benign_compliance", "benign_refusal",
            "harmful_compliance", "disagreement", "training_disagreement", "perplexity", "reference_perplexity",
            "sample_perplexity", "accuracy", "seconds",
        )  # fmt: skip
        found |= {name: getattr(self, name) for name in names}
        return {f"monitor_{name}": value for name, value in found.items() if value is not None}


def estimate(scores: Sequence[float | None]) -> Estimate | None:
    """The mean of one score per prompt; None where there is none."""
    known = [score for score in scores if score is not None]
    if not known:
        return None
    error = stdev(known) / math.sqrt(len(known)) if len(known) > 1 else None
    return Estimate(value=fmean(known), standard_error=error, prompts=len(known))


def change(before: Observation, after: Observation, what: str) -> Estimate | None:
    """after - before of `proxy`, `judge` or `oracle`, prompt by prompt; None where no prompt has both."""
    pairs = zip(before.scores.get(what, ()), after.scores.get(what, ()), strict=False)
    return estimate([new - old if new is not None and old is not None else None for old, new in pairs])
