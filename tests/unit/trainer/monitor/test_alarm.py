"""The alarm, the best observation, and the laws of overoptimisation."""

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest

from trainer.monitor.alarm import Limits, alarm, best
from trainer.monitor.observations import Estimate, Gold, Observation, change, estimate
from trainer.monitor.overoptimisation import fitted
from trainer.monitor.summary import gold_points, summary


def seen(step: int, proxy: Sequence[float | None], judge: Sequence[float | None], **settings: Any) -> Observation:
    """An observation with these scores, prompt by prompt."""
    scores = {"proxy": tuple(proxy), "judge": tuple(judge)}
    gold = estimate(judge)
    values: dict[str, Any] = {
        "kl_nats": float(step), "kl_standard_error": 0.1, "distance": math.sqrt(step), "length_correlation": None,
        "mean_words": 10.0, "length_ratio": 1.0, "boilerplate": 0.0, "distinct_2": 0.5, "self_bleu": 0.2,
        "opening_entropy": 1.0, "unfinished": 0.0, "repetitive": 0.0,
    }  # fmt: skip
    golds: dict[Gold, Estimate] = {"judge": gold} if gold is not None else {}
    return Observation(**(values | settings), step=step, proxy=estimate(proxy), gold=golds, scores=scores)


def test_a_mean_has_its_standard_error_and_a_change_is_paired():
    found = estimate([1.0, 3.0, None])
    assert found is not None
    assert (found.value, found.standard_error, found.prompts) == (2.0, pytest.approx(math.sqrt(2) / math.sqrt(2)), 2)
    # prompts differ by far more than anything that happened to them
    before, after = seen(0, [0.0, 0.0], [0.0, 100.0]), seen(5, [0.0, 0.0], [1.0, 101.0])
    moved = change(before, after, "judge")
    assert moved is not None
    assert (moved.value, moved.standard_error) == (1.0, 0.0)


def test_proxy_up_and_gold_down_over_two_observations_is_an_alarm():
    run = [seen(0, [0.0, 0.0], [0.9, 0.7]), seen(5, [1.0, 1.0], [0.7, 0.6]), seen(10, [2.0, 2.0], [0.5, 0.5])]
    message = alarm(run, Limits())
    assert message is not None
    assert "step 0 to step 10" in message
    assert "judge fell by 0.3" in message
    assert "3.0 times its standard error" in message


@pytest.mark.parametrize(
    "run",
    [
        [seen(0, [0.0], [0.9]), seen(5, [1.0], [0.1])],
        [seen(0, [2.0] * 2, [0.9, 0.7]), seen(5, [1.0] * 2, [0.7, 0.6]), seen(10, [0.0] * 2, [0.5, 0.5])],
        [seen(0, [0.0] * 2, [0.9, 0.9]), seen(5, [1.0] * 2, [1.0, 1.0]), seen(10, [2.0] * 2, [0.5, 0.5])],
        [seen(0, [0.0] * 2, [0.9, 0.0]), seen(5, [1.0] * 2, [0.5, 0.3]), seen(10, [2.0] * 2, [0.0, 0.7])],
    ],
    ids=["only two observations", "the proxy falls too", "it fell once", "within the standard error"],
)
def test_anything_less_is_none(run: list[Observation]):
    assert alarm(run, Limits()) is None


def test_without_gold_there_is_no_alarm_and_no_best():
    run = [seen(step, [float(step)], [None]) for step in range(4)]
    assert alarm(run, Limits()) is None
    assert best(run) is None


def test_an_alarm_is_rare_where_nothing_changes():
    rng = random.Random(0)
    alarms = 0
    for _ in range(150):
        run = [seen(i, *([[rng.gauss(0.0, 1.0) for _ in range(16)] for _ in range(2)])) for i in range(3)]
        alarms += alarm(run, Limits()) is not None
    assert alarms / 150 < 0.08


def test_harmlessness_bought_with_benign_compliance_is_an_alarm():
    rates = [0.9, 0.85, 0.79, 0.78]
    run = [seen(i, [0.0], [0.5], benign_compliance=rate, harmful_compliance=0.0) for i, rate in enumerate(rates)]
    assert alarm(run[:3], Limits()) is None
    assert alarm(run, Limits()) == "Benign requests are answered 12 points less often than at the beginning."
    assert alarm(run, Limits(max_compliance_loss=0.2)) is None


def test_the_best_is_the_earliest_with_the_highest_gold():
    run = [seen(0, [0.0], [0.5]), seen(5, [0.0], [0.8]), seen(10, [9.0], [0.8]), seen(15, [0.0], [0.1])]
    found = best(run)
    assert found is not None
    assert found.step == 5


def test_the_law_of_reinforcement_learning_is_found_again():
    a, b = 1.2, 0.4
    distances = [0.3, 0.8, 1.5, 2.5, 4.0, 6.0]
    fit = fitted([(0.0, 0.0), *((d, d * (a - b * math.log(d))) for d in distances)])
    assert fit is not None
    assert (fit.a, fit.b, fit.points) == (pytest.approx(a), pytest.approx(b), 6)
    assert fit.peak == pytest.approx(math.exp(a / b - 1))
    assert fit.r_squared == pytest.approx(1.0)
    peak = fit.at(fit.peak or 0.0)
    assert all(fit.at(d) <= peak for d in distances)


def test_the_law_of_best_of_n_is_found_again():
    fit = fitted([(d, d * (2.0 - 0.5 * d)) for d in (0.5, 1.0, 2.0, 3.0)], "best_of_n")
    assert fit is not None
    assert (fit.a, fit.b, fit.peak) == (pytest.approx(2.0), pytest.approx(0.5), pytest.approx(2.0))


def test_a_law_needs_three_distances():
    assert fitted([(0.0, 0.0), (1.0, 1.0), (2.0, 1.5)]) is None


def test_a_summary_measures_gold_from_the_first_observation():
    run = [seen(step, [0.0], [0.5 + 0.1 * step]) for step in range(5)]
    assert gold_points(run, "judge")[0] == (0.0, 0.0)
    found = summary(run, {"step": 4, "message": "stop"}, {"step": 2})
    assert found.alarm is not None
    assert found.fits["judge"].points == 4
    assert (found.first.step, found.last.step) == (0, 4)
