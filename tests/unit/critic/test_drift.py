"""Drift: labels that follow known values are traced back to them."""

import random

import pytest

from constitution.document import Constitution, Principle
from critic.drift import Drift, Finding, find_drift
from critic.judge import Judge
from critic.relabelling import Relabeller, relabel
from solon.errors import InvalidInput
from solon.fakes import scoring_judge
from solon.records import Comparison, Completion, PreferencePair, Provenance, Status
from tests.unit.critic.material import collected, constitution, prompt

VALUES = ("kind", "brief", "honest", "listed", "funny")
PRINCIPLES = {value: Principle(id=value, text=f"Be {value}.") for value in VALUES}


def value_of(text: str, value: str) -> float:
    """How much of a value a completion has: it names those it has."""
    return float(value in text.split())


def judge() -> Judge:
    """Sees the value that a principle asks for; "not funny" is the opposite of "funny"."""

    def score(text: str, asked: str) -> float:
        value = next((each for each in VALUES if each in asked), "")
        return value_of(text, value) * (-1 if "not" in asked else 1)

    return Judge(scoring_judge(score, sharpness=3.0))


def labelled(weights: dict[str, float], count: int = 200, noise: float = 0.05, seed: int = 0) -> list[PreferencePair]:
    """Pairs of completions with random values, chosen by the weighted sum of the values, and now and then otherwise."""
    rng = random.Random(seed)
    pairs: list[PreferencePair] = []
    for number in range(count):
        a, b = (" ".join(value for value in VALUES if rng.random() < 0.5) + f" {side}{number}" for side in "ab")
        better = sum(weight * (value_of(a, value) - value_of(b, value)) for value, weight in weights.items())
        better += rng.uniform(-0.01, 0.01)  # breaks ties at random
        chosen = "a" if (better > 0) != (rng.random() < noise) else "b"
        comparison = Comparison(prompt=prompt(f"p{number}"), a=Completion(text=a), b=Completion(text=b))
        made = Provenance(constitution="", constitution_version="", constitution_hash="")
        pairs.append(
            PreferencePair(id=f"pref_{number}", status=Status.OK, chosen=chosen, provenance=made, **dict(comparison))
        )
    return pairs


async def drift(pairs: list[PreferencePair], written: tuple[str, ...], *candidates: Principle) -> Drift:
    principles = tuple(PRINCIPLES[value] for value in written)
    text: Constitution | None = constitution(*principles) if principles else None
    asked = constitution(*principles, *candidates)
    voted = await collected(relabel(pairs, Relabeller(asked, judge())))
    return find_drift(pairs, voted, candidates, text)


def standings(findings: tuple[Finding, ...]) -> dict[str, str]:
    return {finding.id: finding.standing for finding in findings}


async def test_written_principles_that_the_labels_do_not_follow_and_unwritten_ones_that_they_do_are_named():
    pairs = labelled({"kind": 2.0, "honest": 1.0, "listed": 1.5})
    candidates = (PRINCIPLES["listed"], PRINCIPLES["funny"])
    found = await drift(pairs, ("kind", "honest", "brief"), *candidates)
    assert standings(found.written) == {"kind": "followed", "honest": "followed", "brief": "not_followed"}
    assert standings(found.unwritten) == {"listed": "followed"}
    assert standings(found.dismissed) == {"funny": "not_followed"}
    assert found.as_written is not None
    assert found.explained is not None
    assert found.explained.low > found.as_written.high


async def test_labels_that_do_the_opposite_of_what_is_written_say_so():
    found = await drift(labelled({"kind": -1.0, "brief": 1.0}), ("kind", "brief"))
    assert standings(found.written) == {"kind": "contradicted", "brief": "followed"}


async def test_without_a_constitution_the_labels_own_values_are_found():
    found = await drift(labelled({"kind": 2.0, "funny": 1.0}), (), *PRINCIPLES.values())
    assert [(each.id, each.standing) for each in found.unwritten] == [("kind", "followed"), ("funny", "followed")]
    assert (found.as_written, found.reweighted, found.written) == (None, None, ())


async def test_labels_without_values_follow_nothing():
    found = await drift(labelled({}), ("kind", "brief", "honest"), PRINCIPLES["listed"], PRINCIPLES["funny"])
    assert set(standings(found.written).values()) == {"not_followed"}
    assert found.unwritten == ()


async def test_another_wording_of_a_known_principle_is_not_news():
    again = Principle(id="again", text="The answer should be kind.")
    opposite = Principle(id="opposite", text="Be not kind.")
    found = await drift(labelled({"kind": 1.0}), ("kind",), again, opposite)
    assert {(each.id, each.standing, each.same_as) for each in found.dismissed} == {
        ("again", "same_as", "kind"),
        ("opposite", "same_as", "kind"),
    }


async def test_a_principle_that_only_goes_along_with_another_gets_no_weight():
    """Half of the kind completions are funny and no other is: funny agrees with the labels, and owes it to kind."""
    pairs = [
        pair.model_copy(
            update={
                side: Completion(text=text if "kind" in text.split() else text.replace("funny", "dull"))
                for side, text in (("a", pair.a.text), ("b", pair.b.text))
            }
        )
        for pair in labelled({"kind": 1.0}, 400)
    ]
    found = await drift(pairs, ("kind", "funny"))
    funny = found.written[1]
    assert funny.agreement is not None
    assert funny.agreement.low > 0.5
    assert funny.standing == "not_followed"


async def test_the_rules_count_as_one_more_principle():
    rules = """
propositions: [{id: listed, kind: measure, measure: matches, pattern: 'listed'}]
rules: [{id: lists, when: listed >= 1, reward: 2.0}]
"""
    text = constitution(PRINCIPLES["kind"], more=rules)
    pairs = labelled({"listed": 1.0})
    voted = await collected(relabel(pairs, Relabeller(text, judge())))
    assert standings(find_drift(pairs, voted, (), text).written) == {"kind": "not_followed", "(rules)": "followed"}


async def test_ties_and_pairs_without_votes_say_nothing():
    pairs = labelled({"kind": 1.0}, 40)
    pairs[0] = pairs[0].model_copy(update={"chosen": None, "status": Status.TIE})
    found = await drift(pairs, ("kind",))
    assert (found.pairs, found.left_out) == (39, 1)


async def test_too_few_pairs_are_refused():
    with pytest.raises(InvalidInput, match="20 are needed"):
        await drift(labelled({"kind": 1.0}, 19), ("kind",))


async def test_what_never_comes_up_cannot_be_told():
    absent = Principle(id="absent", text="Be wise.")
    found = await drift(labelled({"kind": 1.0}), ("kind",), absent)
    assert standings(found.dismissed) == {"absent": "too_few"}
