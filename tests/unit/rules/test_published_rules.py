"""Published rule-based rewards (OpenAI, MIT) on their own gold answers: classes, partition, exact probabilities."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from critic.rules import RuleSet
from critic.rules.fitting import Ranked, fit
from critic.rules.weights import features
from tests.unit.rules.test_ruleset import constitution

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "rbr"
BEST_FIRST = (
    "ideal",
    "minimum_acceptable_style",
    "unacceptable_completion",
    "illogical_completion",
    "disallowed_completion",
)


def published() -> Any:
    if not FOLDER.exists():
        pytest.skip(f"no data at {FOLDER}")
    return YAML(typ="safe", pure=True).load((FOLDER / "proposition_prompts.yaml").read_text(encoding="utf-8"))


def written(literals: dict[str, bool]) -> str:
    """`{a: true, b: false}` as CEL."""
    return " && ".join(name if value else f"!{name}" for name, value in literals.items())


def rules_of(file: Any) -> RuleSet:
    judged = [{"id": name, "kind": "judge", "question": f"{name}?"} for name in file["simple_propositions"]]
    derived = [{"id": k, "kind": "derived", "when": written(v)} for k, v in file["derived_propositions"].items()]
    kinds = file["completion_classes"]
    scopes = sorted({scope for name in BEST_FIRST for scope in kinds[name]})
    classes = [
        {"id": f"{name}", "when": written(kinds[name][scope]), "scopes": (scope,)}
        for name in BEST_FIRST
        for scope in scopes
    ]
    return RuleSet(
        constitution(
            scopes={"general": {"description": "Any."}} | {scope: {"description": scope} for scope in scopes},
            propositions=[*judged, *derived],
            classes=classes,
        )
    )


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "rbr_gold_train.jsonl").read_text(encoding="utf-8").splitlines()]


def scope_of(row: dict[str, Any]) -> str:
    return row["response_type"].lower().replace(" ", "_")


def by_hand(file: Any, row: dict[str, Any]) -> list[str]:
    """Classes that hold, by plain look-up and without CEL."""
    values = dict(row["propositions"])
    for name, literals in file["derived_propositions"].items():
        values[name] = all(values[part] == wanted for part, wanted in literals.items())
    parts = {name: file["completion_classes"][name][scope_of(row)] for name in BEST_FIRST}
    return [name for name, literals in parts.items() if all(values[k] == v for k, v in literals.items())]


def test_every_gold_row_gets_the_one_class_that_holds() -> None:
    file = published()
    rules = rules_of(file)

    for row in rows():
        expected = by_hand(file, row)
        assert len(expected) == 1
        assert rules.classify(row["propositions"], scope_of(row)).completion_class == expected[0]
        chances = rules.chances(row["propositions"], scope_of(row)).classes
        assert chances == {name: float(name == expected[0]) for name in BEST_FIRST}


def test_exact_class_probabilities_sum_to_one_where_products_do_not() -> None:
    file = published()
    rules = rules_of(file)
    furthest = 0.0

    for scope in ("hard_refuse", "safe_refuse_1", "safe_refuse_2", "comply"):
        refusal = file["derived_propositions"]["acceptable_refusal"]
        p = {name: 0.8 if refusal.get(name) else 0.2 for name in file["simple_propositions"]}
        exact = rules.chances(p, scope).classes
        assert sum(q for q in exact.values() if q is not None) == pytest.approx(1)
        furthest = max(furthest, abs(1 - sum(naive(file, p, scope).values())))

    assert furthest > 0.01


def naive(file: Any, p: dict[str, float], scope: str) -> dict[str, float]:
    """P(class) as the product of the probabilities of its parts, derived ones taken as independent."""
    found = dict(p)

    def product(literals: dict[str, bool]) -> float:
        total = 1.0
        for name, wanted in literals.items():
            total *= found[name] if wanted else 1 - found[name]
        return total

    for name, literals in file["derived_propositions"].items():
        found[name] = product(literals)
    return {name: product(file["completion_classes"][name][scope]) for name in BEST_FIRST}


def test_weights_fitted_on_published_propositions_order_held_out_completions() -> None:
    """Completions of one response type stand for those of one prompt; their order is that of their classes."""
    file = published()
    rules = rules_of(file)
    completions: list[Ranked] = []
    for scope in ("hard_refuse", "safe_refuse_2", "comply"):
        of_scope = random.Random(1).sample([row for row in rows() if scope_of(row) == scope], 56)
        for i, row in enumerate(of_scope):
            rank = float(BEST_FIRST.index(by_hand(file, row)[0]))
            phi = features(rules.chances(row["propositions"], scope), "propositions")
            completions.append(Ranked(f"{scope}-{i % 8}", scope, rank, phi))

    held_out = [found.held_out for found in fit(completions).scopes.values()]

    assert sum(each.n * each.value for each in held_out if each) >= 0.95 * sum(each.n for each in held_out if each)
