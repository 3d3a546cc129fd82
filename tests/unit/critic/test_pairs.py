"""How verdicts, rules and vetoes become one label."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constitution.document import Combine, Principle
from critic.judge import verdict
from critic.pairs import METHODS, Label, Opinion, label, logit_sum, weighted_mean
from solon.records import RuleScore, Status, Verdict, Vote

Method = Callable[[Sequence[Opinion]], float]
MEAN = Combine(method="weighted_mean")
LOGITS = Combine(method="logit_sum")
PROBABILITIES = st.floats(0.0, 1.0)
OPINIONS = st.lists(st.tuples(PROBABILITIES, st.floats(0.1, 10.0)), min_size=1, max_size=8)


def principle(name: str, *, weight: float = 1.0, veto: bool = False) -> Principle:
    return Principle(id=name, text=name, weight=weight, veto=veto)


def judged(name: str, p_a: float) -> Verdict:
    """A verdict of a judge without position bias."""
    ab = Vote(principle=name, order="ab", status=Status.OK, p_first=p_a, label_mass=1.0)
    ba = Vote(principle=name, order="ba", status=Status.OK, p_first=1 - p_a, label_mass=1.0)
    return verdict((ab, ba), 0.1)


def labelled(combine: Combine, *opinions: tuple[float, Principle], rules: tuple[float, float] | None = None) -> Label:
    scores = (RuleScore(reward=rules[0]), RuleScore(reward=rules[1])) if rules else None
    verdicts = [judged(each.id, p) for p, each in opinions]
    return label(verdicts, [each for _, each in opinions], combine, rules=scores)


def eight(decided: float) -> list[tuple[float, Principle]]:
    return [(decided, principle("decided")), *((0.5, principle(f"even{i}")) for i in range(7))]


def test_the_weighted_mean_is_the_mean_of_probabilities():
    outcome = labelled(MEAN, (0.9, principle("x", weight=3.0)), (0.5, principle("y")))
    assert outcome.p_a == pytest.approx((3 * 0.9 + 0.5) / 4)


def test_one_decided_principle_among_eight_decides_with_log_odds_and_is_diluted_in_the_mean():
    assert labelled(LOGITS, *eight(0.95)).p_a == pytest.approx(0.95)
    assert labelled(MEAN, *eight(0.85)).status is Status.TIE
    assert labelled(LOGITS, *eight(0.85)).status is Status.OK


@pytest.mark.parametrize("method", METHODS.values())
@given(opinions=OPINIONS)
def test_mirrored_opinions_give_the_mirrored_probability(method: Method, opinions: list[Opinion]):
    there, back = method(opinions), method([(1 - p, weight) for p, weight in opinions])
    assert there == pytest.approx(1 - back, abs=1e-9)
    assert 0 <= there <= 1


@pytest.mark.parametrize("method", METHODS.values())
@given(weights=st.lists(st.floats(0.01, 100.0), max_size=8))
def test_even_opinions_come_out_at_exactly_one_half(method: Method, weights: list[float]):
    assert method([(0.5, weight) for weight in weights]) == 0.5


def test_no_label_is_certain():
    assert logit_sum([(1.0, 10.0)] * 8) < 0.998
    assert weighted_mean([(1.0, 1.0)]) == 1.0


def test_a_failed_principle_fails_the_label_unless_enough_others_stand():
    failed = Verdict(principle="y", status=Status.TRUNCATED)
    principles = [principle("x"), principle("y")]
    verdicts = [judged("x", 0.9), failed]
    assert label(verdicts, principles, MEAN) == Label(Status.TRUNCATED, None)
    assert label(verdicts, principles, MEAN, min_principles=2) == Label(Status.TRUNCATED, None)
    partial = label(verdicts, principles, MEAN, min_principles=1)
    assert (partial.status, partial.p_a) == (Status.OK, pytest.approx(0.9))
    assert "partial_principles" in partial.flags


def test_no_principle_judged_is_a_failure_even_if_none_is_demanded():
    failed = Verdict(principle="x", status=Status.ERROR)
    assert label([failed], [principle("x")], MEAN, min_principles=0).status is Status.ERROR


@pytest.mark.parametrize("combine", [MEAN, LOGITS])
def test_a_decided_veto_fixes_the_direction(combine: Combine):
    others = [(0.97, principle(f"likes-a{i}", weight=5.0)) for i in range(3)]
    outcome = labelled(combine, (0.1, principle("no-harm", veto=True)), *others)
    assert outcome.status is Status.OK
    assert outcome.p_a is not None
    assert outcome.p_a == pytest.approx(0.1)
    assert "veto" in outcome.flags


def test_rules_cannot_outweigh_a_veto():
    assert labelled(LOGITS, (0.1, principle("no-harm", veto=True)), rules=(50.0, 0.0)).p_a == pytest.approx(0.1)


def test_an_undecided_veto_says_nothing():
    outcome = labelled(LOGITS, (0.48, principle("no-harm", veto=True)), (0.9, principle("kind")))
    assert outcome.p_a is not None
    assert outcome.p_a > 0.85
    assert "veto" not in outcome.flags


def test_vetoes_that_contradict_each_other_make_a_tie():
    outcome = labelled(
        LOGITS, (0.9, principle("v1", veto=True)), (0.1, principle("v2", veto=True)), (0.9, principle("kind"))
    )
    assert outcome.status is Status.TIE


def test_a_veto_that_agrees_does_not_weaken_the_label():
    outcome = labelled(LOGITS, (0.7, principle("no-harm", veto=True)), (0.95, principle("kind")))
    assert outcome.p_a is not None
    assert outcome.p_a > 0.95


def test_rules_alone_decide_by_the_difference_of_their_rewards():
    even, better = labelled(MEAN, rules=(1.0, 1.0)), labelled(MEAN, rules=(3.0, 1.0))
    assert (even.status, even.p_a) == (Status.TIE, 0.5)
    assert better.status is Status.OK
    assert better.p_a == pytest.approx(0.6457, abs=1e-4)  # s(0.3 * 2)


def test_rules_shift_the_log_odds_of_the_principles():
    outcome = labelled(LOGITS, (0.5, principle("x")), rules=(0.0, 2.0))
    assert outcome.p_a == pytest.approx(1 - 0.6457, abs=1e-4)


def test_an_unanswered_proposition_is_flagged():
    scores = (RuleScore(reward=0.0, propositions={"refuses": None}), RuleScore(reward=1.0))
    assert "proposition_unanswered" in label([], [], MEAN, rules=scores).flags


def test_a_label_whose_side_depends_on_the_order_is_flagged():
    ab = Vote(principle="x", order="ab", status=Status.OK, p_first=0.95)
    ba = Vote(principle="x", order="ba", status=Status.OK, p_first=0.6)
    outcome = label([verdict((ab, ba), 0.1)], [principle("x")], LOGITS)
    assert outcome.status is Status.OK
    assert outcome.flags == ("position_inconsistent",)
    assert labelled(LOGITS, (0.9, principle("x"))).flags == ()
