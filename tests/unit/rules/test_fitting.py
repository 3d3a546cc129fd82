"""Weights learnt from ranked completions."""

import random
from dataclasses import replace

import pytest

from critic.rules.fitting import FitSettings, Ranked, fit
from solon.errors import InvalidInput

TRUE_WEIGHTS = {"a": 2.0, "b": -1.0, "c": 0.5, "noise": 0.0}


def synthetic(prompts: int, seed: int = 0, *, scope: str = "general", noise: float = 0.0) -> list[Ranked]:
    """Four completions a prompt, ranked by a hidden linear reward over features that are 0, 1 or between."""
    generator = random.Random(f"{seed} {scope}")
    found: list[Ranked] = []
    for prompt in range(prompts):
        features = [{name: generator.choice([0.0, 1.0, generator.random()]) for name in TRUE_WEIGHTS} for _ in range(4)]
        worth = [sum(TRUE_WEIGHTS[k] * v for k, v in each.items()) + generator.gauss(0, noise) for each in features]
        for each, value in zip(features, worth, strict=True):
            rank = 1.0 + sum(other > value for other in worth)
            found.append(Ranked(f"{scope}-{prompt}", scope, rank, each))
    return found


def test_fitted_weights_order_held_out_pairs() -> None:
    found = fit(synthetic(200)).scopes["general"]

    assert found.held_out is not None
    assert found.held_out.value >= 0.95
    assert found.held_out.n > 40 * 5
    assert found.prompts == 200


def test_the_same_seed_gives_the_same_weights_in_whatever_order_they_come() -> None:
    completions = synthetic(60)
    shuffled = random.Random(1).sample(completions, len(completions))

    assert fit(completions) == fit(completions)
    assert fit(completions, FitSettings(seed=1)).weights != fit(completions).weights
    assert fit(shuffled).weights["general"] == pytest.approx(fit(completions).weights["general"], abs=0.05)
    assert fit(shuffled).scopes["general"].held_out == fit(completions).scopes["general"].held_out


def test_weights_have_the_signs_of_what_made_the_ranks_and_noise_has_none_to_speak_of() -> None:
    weights = fit(synthetic(300)).weights["general"]

    assert weights["a"] > weights["c"] > 0 > weights["b"]
    assert abs(weights["noise"]) < 0.1 * weights["a"]


def test_no_prompt_is_on_both_sides_of_the_split() -> None:
    """With one prompt under many names the held-out part would be known by heart; here it cannot be."""
    completions = [replace(each, prompt="the same") for each in synthetic(20)]

    found = fit(completions, FitSettings(held_out=0.2)).scopes["general"]

    assert found.held_out is None
    assert found.fitted is not None
    assert found.prompts == 1


def test_scopes_have_weights_of_their_own() -> None:
    reversed_ranks = [replace(each, rank=5 - each.rank) for each in synthetic(80, scope="sensitive")]

    weights = fit([*synthetic(80), *reversed_ranks]).weights

    assert weights["general"]["a"] > 0 > weights["sensitive"]["a"]


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_the_units_of_the_reward_model_do_not_matter(unit: float) -> None:
    generator = random.Random(4)
    completions = [replace(each, reward=unit * generator.gauss()) for each in synthetic(60)]

    found = fit(completions)
    plain = fit([replace(each, reward=(each.reward or 0.0) / unit) for each in completions])

    assert found.weights["general"] == pytest.approx(plain.weights["general"], rel=1e-6, abs=1e-9)
    assert found.scale == pytest.approx((plain.scale or 0.0) * unit)
    alone, together = found.scopes["general"].reward_alone, found.scopes["general"].held_out
    assert alone is not None
    assert together is not None
    assert together.value > alone.value + 0.2


def test_a_completion_with_an_unanswered_feature_is_left_out_and_counted() -> None:
    completions = synthetic(50)
    unanswered = [replace(each, features=dict(each.features) | {"a": None}) for each in completions[:4]]

    found = fit([*unanswered, *completions[4:]])

    assert found.unanswered == 4
    assert found.weights == fit(completions[4:]).weights


def test_equal_ranks_make_no_pair() -> None:
    completions = [replace(each, rank=float(i % 4 > 1)) for i, each in enumerate(synthetic(10))]

    assert fit(completions).scopes["general"].pairs == 10 * 2 * 2


@pytest.mark.parametrize("spread", [0.0, 1e-3, 0.1])
def test_a_feature_that_hardly_differs_has_no_weight(spread: float) -> None:
    """However well it goes with the ranks: the noise of a proposition that never holds is no evidence about it."""
    completions = [replace(each, features={**each.features, "quiet": spread / each.rank}) for each in synthetic(20)]

    assert fit(completions).weights["general"]["quiet"] == 0.0


@pytest.mark.parametrize(
    ("completions", "message"),
    [
        ([], "no prompt has two completions of different rank"),
        ([Ranked("p", "general", 1.0, {"a": 1.0}), Ranked("p", "general", 1.0, {"a": 0.0})], "different rank"),
        ([Ranked("p", "general", 1, {"a": 1.0}, 0.5), Ranked("p", "general", 2, {"a": 0.0})], "only some completions"),
        ([Ranked("p", "general", 1, {"a": 1.0}), Ranked("p", "general", 2, {"b": 0.0})], "features differ"),
    ],
)
def test_what_cannot_be_fitted_is_refused(completions: list[Ranked], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        fit(completions)
