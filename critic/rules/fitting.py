"""Weights for rules, classes and propositions, learnt from completions that were ranked.

    R(x, y) = R_model(x, y) / scale + sum_i w_i * phi_i(x, y)              weights of their own for each scope
    loss    = mean over ordered pairs of one prompt (g better than b) of relu(margin + R(b) - R(g))

phi are features in [0, 1], see `critic.rules.weights`. `scale` is the standard deviation of the reward model on the
fitting set, so that the weights do not depend on its units. Pairs are split by prompt: no prompt is in both parts. A
completion with an unanswered feature is left out and counted; a missing answer is not a 0.

Source: Mu et al. 2024, "Rule based rewards for language model safety", arXiv:2411.01111; full-batch AdamW from zero
weights, as in their reference code.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from solon.errors import InvalidInput
from solon.intervals import Interval, wilson
from solon.seeds import shuffled

Array = npt.NDArray[np.float64]

_LEARNING_RATE: Final = 1e-2
_BETAS: Final = (0.9, 0.999)
_EPSILON: Final = 1e-8
_EVIDENCE: Final = 0.5
"""A feature must differ by this much in some fitting pair. AdamW takes steps of one size whatever the gradient, so the
noise of a feature that is always near 0 (harm, among harmless prompts) would get a large weight of either sign."""


class FitSettings(BaseModel):
    """How weights are fitted; the defaults are those of the published reference code, but for the split."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    margin: Annotated[float, Field(gt=0)] = 1.0
    """By how much a better completion shall lead; with a reward model, in its standard deviations."""
    steps: Annotated[int, Field(ge=1, le=100_000)] = 1000
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the prompts that only measure."""
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Ranked:
    """One completion among others of its prompt."""

    prompt: str
    """What tells prompts apart: the same for the same messages, whatever the row is called."""
    scope: str
    rank: float
    """1 is best; equal ranks make no pair."""
    features: Mapping[str, float | None]
    reward: float | None = None
    """Of a reward model."""


@dataclass(frozen=True)
class ScopeFit:
    """What the fit came to in one scope."""

    prompts: int
    pairs: int
    fitted: Interval | None
    """Share of the fitting pairs in the right order; None without any."""
    held_out: Interval | None
    """The same of the held-out pairs. Pairs of one prompt are not independent: the interval is somewhat narrow."""
    reward_alone: Interval | None
    """Held-out pairs that the reward model orders right without the rules; None without one."""


@dataclass(frozen=True)
class Fit:
    """Weights by scope and feature, and how well they order."""

    weights: dict[str, dict[str, float]]
    scale: float | None
    """Standard deviation of the reward model on the fitting set; None without one."""
    scopes: dict[str, ScopeFit]
    unanswered: int
    """Completions left out for an unanswered feature."""


def fit(completions: Sequence[Ranked], settings: FitSettings | None = None) -> Fit:
    """Weights that order the completions as they were ranked.

    Raises:
        InvalidInput: nothing is ordered, features differ within a scope, or only some completions have a reward.
    """
    settings = settings or FitSettings()
    usable = [each for each in completions if None not in each.features.values()]
    rewarded = sum(each.reward is not None for each in usable)
    if rewarded not in (0, len(usable)):
        raise InvalidInput("only some completions have a reward", field="rewards", remedy="give all of them one")
    by_scope: dict[str, list[Ranked]] = defaultdict(list)
    for each in usable:
        by_scope[each.scope].append(each)
    held = frozenset(prompt for scope, those in by_scope.items() for prompt in _held_out(scope, those, settings))
    scale = _scale([each.reward for each in usable if each.reward is not None and each.prompt not in held])
    found = {scope: _fit_scope(scope, those, held, scale, settings) for scope, those in by_scope.items()}
    if not any(each.pairs for _, each in found.values()):
        raise InvalidInput(
            "no prompt has two completions of different rank with every feature answered",
            field="ranks",
            remedy="give ranks, votes or chosen and rejected",
        )
    return Fit(
        {scope: weights for scope, (weights, _) in found.items()},
        scale,
        {scope: report for scope, (_, report) in found.items()},
        len(completions) - len(usable),
    )


def _held_out(scope: str, completions: Sequence[Ranked], settings: FitSettings) -> Sequence[str]:
    """The prompts of a scope that only measure: at least one where any are wanted and two are there."""
    prompts = sorted({each.prompt for each in completions})
    count = round(len(prompts) * settings.held_out)
    if settings.held_out > 0 and len(prompts) > 1:
        count = min(max(count, 1), len(prompts) - 1)
    return shuffled(prompts, settings.seed, scope, "split")[:count]


def _scale(rewards: Sequence[float]) -> float | None:
    return (float(np.std(rewards)) or 1.0) if rewards else None


def _fit_scope(
    scope: str, completions: Sequence[Ranked], held: frozenset[str], scale: float | None, settings: FitSettings
) -> tuple[dict[str, float], ScopeFit]:
    names = list(completions[0].features)
    if any(set(each.features) != set(names) for each in completions):
        raise InvalidInput("the features differ", field=f"scope {scope}", remedy="use one constitution")
    pairs = list(_pairs(completions))
    learnt = [pair for pair in pairs if pair[0].prompt not in held]
    measured = [pair for pair in pairs if pair[0].prompt in held]
    weights = _minimise(*_differences(learnt, names, scale), settings)
    report = ScopeFit(
        prompts=len({each.prompt for each in completions}),
        pairs=len(pairs),
        fitted=_ordered(learnt, names, scale, weights),
        held_out=_ordered(measured, names, scale, weights),
        reward_alone=_ordered(measured, names, scale, np.zeros(len(names))) if scale is not None else None,
    )
    return dict(zip(names, weights.tolist(), strict=True)), report


def _pairs(completions: Sequence[Ranked]) -> Iterator[tuple[Ranked, Ranked]]:
    """(better, worse) of each prompt; grouped first, so the cost is that of the pairs."""
    groups: dict[str, list[Ranked]] = defaultdict(list)
    for each in completions:
        groups[each.prompt].append(each)
    for group in groups.values():
        for index, one in enumerate(group):
            for other in group[index + 1 :]:
                if one.rank != other.rank:
                    yield (one, other) if one.rank < other.rank else (other, one)


def _differences(
    pairs: Sequence[tuple[Ranked, Ranked]], names: Sequence[str], scale: float | None
) -> tuple[Array, Array]:
    """(pair, feature) and (pair,): better minus worse, of the features and of the scaled reward."""
    rows = [[_value(good, name) - _value(bad, name) for name in names] for good, bad in pairs]
    leads = [((good.reward or 0.0) - (bad.reward or 0.0)) / (scale or 1.0) for good, bad in pairs]
    return np.array(rows, dtype=np.float64).reshape(len(pairs), len(names)), np.array(leads, dtype=np.float64)


def _value(completion: Ranked, name: str) -> float:
    value = completion.features[name]
    assert value is not None, "unanswered completions are left out before"  # noqa: S101
    return value


def _minimise(features: Array, leads: Array, settings: FitSettings) -> Array:
    """Weights after full-batch AdamW on the hinge loss; zero for a feature without evidence, see `_EVIDENCE`."""
    weights = np.zeros(features.shape[1])
    if not len(features):
        return weights
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    features = np.where(np.max(np.abs(features), axis=0) >= _EVIDENCE, features, 0.0)
    for step in range(1, settings.steps + 1):
        short = settings.margin - leads - features @ weights > 0
        gradient = -features[short].sum(axis=0) / len(features)
        mean = _BETAS[0] * mean + (1 - _BETAS[0]) * gradient
        square = _BETAS[1] * square + (1 - _BETAS[1]) * gradient**2
        change = (mean / (1 - _BETAS[0] ** step)) / (np.sqrt(square / (1 - _BETAS[1] ** step)) + _EPSILON)
        weights = weights - _LEARNING_RATE * (change + settings.weight_decay * weights)
    return weights


def _ordered(
    pairs: Sequence[tuple[Ranked, Ranked]], names: Sequence[str], scale: float | None, weights: Array
) -> Interval | None:
    """Share of pairs whose better completion gets more; equal rewards count half."""
    features, leads = _differences(pairs, names, scale)
    ahead = leads + features @ weights
    return wilson(float(np.sum(ahead > 1e-12) + 0.5 * np.sum(np.abs(ahead) <= 1e-12)), len(pairs))
