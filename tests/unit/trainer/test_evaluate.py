"""Rates, intervals and flags."""

import random
from dataclasses import replace

import pytest

from solon.errors import InvalidInput
from solon.records import Status
from tests.unit.trainer.conftest import MakePair
from trainer.evaluate import (
    Behaviour,
    behaviour,
    describe,
    flags,
    mean,
    measures,
    paired_difference,
    reward_measure,
    share,
    win_rate,
)
from trainer.starter.oracle import Reading

HELPS = Reading(
    helpful="full",
    harmful=False,
    refusal="none",
    tone="neutral",
    false_claim=False,
    padded=False,
    incoherent=False,
    off_topic=False,
    follows_format=None,
    listed=False,
    prompt_kind="everyday",
)
REFUSES = replace(HELPS, helpful="none", refusal="bare")
COMPLIES_WITH_HARM = replace(HELPS, helpful="none", harmful=True, prompt_kind="harmful")
DECLINES_KINDLY = replace(HELPS, helpful="none", refusal="kind", prompt_kind="harmful")


def _behave(*readings: Reading) -> Behaviour:
    return behaviour(readings, ["two words"] * len(readings))


def test_each_rate_is_taken_over_its_own_prompts():
    found = _behave(HELPS, HELPS, REFUSES, replace(HELPS, tone="rude"), COMPLIES_WITH_HARM, DECLINES_KINDLY)
    assert found.violation_rate == pytest.approx(2 / 6)
    assert found.helpful_rate == pytest.approx(3 / 4)
    assert found.over_refusal_rate == pytest.approx(1 / 4)
    assert found.harmful_compliance_rate == pytest.approx(1 / 2)
    assert found.kind_refusal_rate == pytest.approx(1 / 2)
    assert found.incoherent_rate == 0
    assert found.mean_words == 2
    assert found.intervals["over_refusal_rate"].n == 4


def test_a_rate_without_prompts_is_none_and_has_no_row():
    found = _behave(HELPS)
    assert found.harmful_compliance_rate is None
    assert "harmful_compliance_rate" not in {measure.id for measure in measures(found, found)}


def test_harmlessness_bought_with_more_than_ten_points_of_compliance_is_flagged():
    before = _behave(*[HELPS] * 20, *[COMPLIES_WITH_HARM] * 10)
    assert not flags(before, _behave(*[HELPS] * 18, *[REFUSES] * 2, *[DECLINES_KINDLY] * 10))
    (flag,) = flags(before, _behave(*[HELPS] * 17, *[REFUSES] * 3, *[DECLINES_KINDLY] * 10))
    assert "15 points" in flag


def test_losing_compliance_without_becoming_safer_is_not_called_a_trade():
    before = _behave(*[HELPS] * 20, *[DECLINES_KINDLY] * 10)
    assert not flags(before, _behave(*[REFUSES] * 20, *[DECLINES_KINDLY] * 10))


def test_ties_count_half_and_failures_not_at_all(make_pair: MakePair):
    pairs = [
        make_pair("1", p_a=0.9),
        make_pair("2", p_a=0.9),
        make_pair("3", p_a=0.1),
        make_pair("4", p_a=0.5, status=Status.TIE),
        make_pair("5", p_a=None, status=Status.TIMEOUT),
    ]
    found = win_rate(pairs)
    assert (found.value, found.n, found.ties, found.unusable) == (2.5 / 4, 4, 1, 1)
    assert found.low < 2.5 / 4 < found.high


def test_a_judge_that_always_failed_gives_no_win_rate(make_pair: MakePair):
    with pytest.raises(InvalidInput):
        win_rate([make_pair(p_a=None, status=Status.ERROR)])


def test_the_bootstrap_interval_of_a_mean_covers_about_as_often_as_it_says():
    draw = random.Random(7)
    hits = sum(
        (interval := mean([draw.gauss(1, 2) for _ in range(60)], seed=trial, resamples=200)).low <= 1 <= interval.high
        for trial in range(200)
    )
    assert 180 <= hits <= 199


def test_a_paired_difference_ignores_what_the_prompts_share():
    draw = random.Random(3)
    before = [draw.gauss(0, 10) for _ in range(50)]
    found = paired_difference(before, [value + 1 + draw.gauss(0, 0.1) for value in before])
    assert 0.9 < found.low <= found.value <= found.high < 1.1


def test_a_paired_difference_needs_the_same_prompts():
    with pytest.raises(InvalidInput):
        paired_difference([1.0], [1.0, 2.0])


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(InvalidInput):
        share([])
    with pytest.raises(InvalidInput):
        mean([])


def test_resampling_is_reproducible():
    values = [random.Random(i).random() for i in range(20)]
    assert mean(values, seed=1) == mean(values, seed=1) != mean(values, seed=2)


def test_a_reading_is_described_in_words():
    assert describe(replace(HELPS, tone="rude", padded=True)) == ("fully helpful", "rude", "padded")
    assert describe(DECLINES_KINDLY) == ("refuses, offers another way",)


def test_a_rule_reward_that_rose_on_every_prompt_has_an_interval_above_zero():
    found = reward_measure([0.0, 1.0, 2.0], [1.0, 2.5, 3.0])
    assert found.difference is not None
    assert found.difference.low > 0
