"""Several judges as one: weights, disagreement, quorum; and how two orders are averaged."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic.averaging import averaged, logit, sigmoid, tempered
from critic.judge import Judge, Usage
from critic.jury import Jury, Seat
from solon.chat import RequestTimedOut
from solon.errors import InvalidInput
from solon.fakes import ScriptedChat, failing_judge, first_slot_judge, keyword_judge, scoring_judge
from solon.records import Completion, Status
from tests.unit.critic.material import BRIEF, KIND, comparison, prompt

probabilities = st.floats(0.001, 0.999)


def named(model: ScriptedChat, name: str) -> Judge:
    model.name = model.model = name
    return Judge(model)


def sure(p: float, name: str) -> Judge:
    """A judge with P(the kind completion wins) = p."""
    return named(scoring_judge(lambda text, _: logit(p) * ("kind" in text), sharpness=1.0), name)


async def test_a_jury_is_the_weighted_mean_of_its_judges():
    jury = Jury("panel", [Seat(sure(0.9, "one"), 3.0), Seat(sure(0.4, "two"), 1.0)])
    verdict = await jury.compare(comparison(), KIND)
    assert verdict.p_a == pytest.approx((3 * 0.9 + 0.4) / 4)
    assert verdict.status is Status.OK
    assert [(juror.judge, juror.weight) for juror in verdict.jurors] == [("one", 3.0), ("two", 1.0)]
    assert [juror.p_a for juror in verdict.jurors] == pytest.approx([0.9, 0.4])


async def test_disagreement_is_kept_and_is_nothing_among_equals():
    split = await Jury("panel", [Seat(sure(0.9, "one")), Seat(sure(0.1, "two"))]).compare(comparison(), KIND)
    assert split.disagreement == pytest.approx(0.4)
    assert split.status is Status.TIE
    agreed = await Jury("panel", [Seat(sure(0.9, "one")), Seat(sure(0.9, "two"))]).compare(comparison(), KIND)
    assert agreed.disagreement == pytest.approx(0.0, abs=1e-9)
    assert (await sure(0.9, "alone").compare(comparison(), KIND)).disagreement is None


async def test_a_jury_of_slot_watchers_is_exactly_even():
    seats = [Seat(named(first_slot_judge(p), f"j{p}"), weight) for p, weight in ((0.9, 1.0), (0.7, 2.5))]
    verdict = await Jury("panel", seats).compare(comparison(), KIND)
    assert (verdict.p_a, verdict.status) == (0.5, Status.TIE)


async def test_exchanging_the_completions_mirrors_the_jury():
    jury = Jury("panel", [Seat(sure(0.9, "one"), 2.0), Seat(named(first_slot_judge(0.7), "two"))])
    there, back = await jury.compare(comparison(), KIND), await jury.compare(comparison().swap(), KIND)
    assert there.p_a is not None
    assert back.p_a is not None
    assert there.p_a == pytest.approx(1 - back.p_a)


def failing(name: str) -> Judge:
    return named(failing_judge(keyword_judge(["kind"]), lambda _: RequestTimedOut("slow")), name)


async def test_a_judge_that_fails_makes_the_verdict_fail_unless_a_quorum_is_left():
    seats = [Seat(sure(0.9, "one")), Seat(failing("two"))]
    verdict = await Jury("panel", seats).compare(comparison(), KIND)
    assert (verdict.status, verdict.p_a) == (Status.TIMEOUT, None)
    assert all(vote.p_first is None for vote in verdict.votes)
    assert [juror.status for juror in verdict.jurors] == [Status.OK, Status.TIMEOUT]
    enough = await Jury("panel", seats, quorum=1).compare(comparison(), KIND)
    assert enough.p_a == pytest.approx(0.9)
    assert enough.jurors[1].p_a is None


@pytest.mark.parametrize("quorum", [0, 3])
def test_a_quorum_that_no_number_of_answers_meets_is_refused(quorum: int):
    with pytest.raises(InvalidInput, match=r"models\.panel\.quorum"):
        Jury("panel", [Seat(sure(0.9, "one")), Seat(sure(0.9, "two"))], quorum=quorum)


async def test_a_jury_answers_questions_and_adds_up_what_its_judges_cost():
    jury = Jury("panel", [Seat(named(keyword_judge(["kind"]), "one")), Seat(named(keyword_judge(["kind"]), "two"))])
    usage = Usage()
    answer = await jury.ask(prompt(), Completion(text="kind"), "Is it kind?", usage=usage)
    assert answer.p_yes is not None
    assert answer.p_yes > 0.9
    await jury.compare_all(comparison(), [KIND, BRIEF], usage=usage)
    assert usage.judge_calls == jury.usage.judge_calls == 2 + 8


def test_another_judge_or_weight_is_another_jury():
    one, two = Seat(sure(0.9, "one")), Seat(sure(0.1, "two"))
    assert Jury("panel", [one]).identity != Jury("panel", [one, two]).identity
    assert Jury("panel", [one, two]).sampling != Jury("panel", [one, Seat(two.judge, 2.0)]).sampling


def test_each_judge_sits_once():
    with pytest.raises(InvalidInput, match="each once"):
        Jury("panel", [Seat(sure(0.9, "one")), Seat(sure(0.1, "one"))])


@given(probabilities, st.floats(-3, 3))
def test_averaging_log_odds_removes_an_added_bias_exactly(p: float, bias: float):
    first, second = sigmoid(logit(p) + bias), sigmoid(-logit(p) + bias)
    assert averaged(first, second, "logit") == pytest.approx(p, abs=1e-9)


@given(probabilities, probabilities)
def test_both_averages_are_mirrored_and_the_slot_alone_is_one_half(a: float, b: float):
    for swap in ("probability", "logit"):
        assert averaged(a, b, swap) == pytest.approx(1 - averaged(b, a, swap), abs=1e-12)
        assert averaged(a, a, swap) == 0.5
        assert averaged(a, a, swap, 0.3) == 0.5


@given(probabilities, st.floats(0.2, 5))
def test_a_temperature_keeps_the_side_and_one_half(p: float, temperature: float):
    assert (tempered(p, temperature) > 0.5) == (p > 0.5) or math.isclose(p, 0.5, abs_tol=1e-6)
    assert tempered(0.5, temperature) == 0.5


async def test_a_judge_averages_and_is_calibrated_as_told():
    def judge(**options: object) -> Judge:
        return Judge(scoring_judge(lambda text, _: 2.0 * ("kind" in text), sharpness=1.0), **options)  # pyright: ignore[reportArgumentType]

    assert (await judge(swap="logit").compare(comparison(), KIND)).p_a == pytest.approx(sigmoid(2.0))
    assert (await judge(calibration_temperature=2.0).compare(comparison(), KIND)).p_a == pytest.approx(sigmoid(1.0))
