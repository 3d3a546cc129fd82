"""Exact probabilities of classes and rules, against enumeration of every assignment."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from critic.rules import RuleSet
from solon.errors import InvalidInput
from tests.unit.rules.test_ruleset import classes, constitution, regex, rule

NAMES: tuple[str, ...] = ("a", "b", "c", "d")
WHENS = ("a && b", "(a || c) && !(a && b)", "!(a && b) && !(a || c)")
P = st.floats(0, 1)


def asked(name: str, only_if: str | None = None) -> dict[str, str]:
    extra = {} if only_if is None else {"only_if": only_if}
    return {"id": name, "kind": "judge", "question": f"{name}?"} | extra


def enumerated(rules: RuleSet, p: dict[str, float]) -> dict[str, float]:
    """P(class) as the sum over all assignments of the propositions."""
    totals: dict[str, float] = {}
    for values in itertools.product([False, True], repeat=len(p)):
        assignment = dict(zip(p, values, strict=True))
        weight = math.prod(q if assignment[name] else 1 - q for name, q in p.items())
        found = rules.classify(assignment).completion_class
        assert found is not None
        totals[found] = totals.get(found, 0.0) + weight
    return totals


@settings(deadline=None, max_examples=40)
@given(st.tuples(P, P, P, P))
def test_class_probabilities_are_exact_and_sum_to_one(p: tuple[float, ...]) -> None:
    rules = RuleSet(constitution(propositions=[asked(name) for name in NAMES], classes=classes(*WHENS)))
    given: dict[str, float] = dict(zip(NAMES, p, strict=True))

    found = rules.chances(given).classes

    assert sum(q for q in found.values() if q is not None) == pytest.approx(1)
    expected = enumerated(rules, given)
    assert all(found[name] == pytest.approx(expected.get(name, 0.0), abs=1e-12) for name in found)


def test_shared_literals_are_not_counted_twice() -> None:
    """The product of P(a || b) and P(a || c) is not the probability of both."""
    rules = RuleSet(constitution(propositions=[asked(name) for name in "abc"], rules=[rule("(a || b) && (a || c)")]))

    found = rules.chances({"a": 0.5, "b": 0.5, "c": 0.5}).rules["r"]

    assert found == pytest.approx(0.5 + 0.5 * 0.25)
    assert found != pytest.approx(0.75 * 0.75)


def test_certain_values_give_certain_classes() -> None:
    rules = RuleSet(constitution(propositions=[asked(name) for name in NAMES], classes=classes(*WHENS)))

    assert rules.chances({"a": True, "b": 1.0, "c": False, "d": 0.0}).classes == {"c0": 1.0, "c1": 0.0, "c2": 0.0}


def test_an_unanswered_proposition_leaves_open_only_what_depends_on_it() -> None:
    rules = RuleSet(
        constitution(propositions=[asked("a"), asked("b")], rules=[rule("a", name="x"), rule("a && b", name="y")])
    )

    assert rules.chances({"a": 0.25, "b": None}).rules == {"x": 0.25, "y": None}
    assert rules.chances({"a": False, "b": None}).rules == {"x": 0.0, "y": 0.0}


def test_derived_and_numeric_propositions_take_part() -> None:
    count = {"id": "n", "kind": "measure", "measure": "words"}
    derived = {"id": "d", "kind": "derived", "when": "a && n > 3"}
    rules = RuleSet(constitution(propositions=[asked("a"), count, derived], rules=[rule("d")]))

    assert rules.chances({"a": 0.3, "n": 5}).propositions == {"a": pytest.approx(0.3), "d": pytest.approx(0.3)}
    assert rules.chances({"a": 0.3, "n": 2}).rules == {"r": 0.0}


def test_a_proposition_that_probably_does_not_apply_holds_with_the_product() -> None:
    rules = RuleSet(constitution(propositions=[asked("a"), asked("b", "a")], rules=[rule("b")]))

    found = rules.chances({"a": 0.4, "b": 0.5})

    assert found.propositions["b"] == pytest.approx(0.2)
    assert found.rules["r"] == pytest.approx(0.2)


def test_many_propositions_are_expanded_without_listing_every_assignment() -> None:
    names = [f"p{index}" for index in range(17)]
    any_of = " || ".join(names)
    built = constitution(propositions=[asked(name) for name in names], classes=classes(any_of, f"!({any_of})"))
    p = {name: random.Random(name).random() * 0.2 for name in names}

    found = RuleSet(built).chances(p).classes

    assert found["c1"] == pytest.approx(math.prod(1 - q for q in p.values()))


def test_a_condition_too_tangled_to_expand_is_refused() -> None:
    names = [f"p{index}" for index in range(20)]
    parity = " != ".join(names)
    rules = RuleSet(constitution(propositions=[asked(name) for name in names], rules=[rule(parity)]))

    with pytest.raises(InvalidInput, match="too tangled"):
        rules.chances(dict.fromkeys(names, 0.5))


def test_patterns_are_certain() -> None:
    rules = RuleSet(constitution(propositions=[regex("kind", "kind"), asked("a")], rules=[rule("kind || a")]))

    assert rules.chances({"kind": True, "a": 0.5}).rules == {"r": 1.0}
    assert rules.chances({"kind": False, "a": 0.5}).rules == {"r": 0.5}
