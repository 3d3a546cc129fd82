"""OpenAI's gold rows through `solon constitution import` and `classify`, beside the published YAML read literally.

The rows (`rbr_gold_train.jsonl`) carry people's answers to the propositions. What class a row belongs to is computed
here a second time, from the tables of the YAML alone: a table of truth values holds when every entry does.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from api.cli.constitution import app

_DATA = Path(__file__).parents[4] / "shared" / "data" / "rbr"
RULES, GOLD = _DATA / "proposition_prompts.yaml", _DATA / "rbr_gold_train.jsonl"
ROWS = 351


@pytest.fixture(scope="module")
def gold() -> list[dict[str, Any]]:
    """The gold rows; without them nothing here is tested, and that is said aloud."""
    if not (RULES.exists() and GOLD.exists()):
        pytest.skip(f"NOT TESTED: the {ROWS} gold rows of rule-based rewards are absent, {_DATA}")
    return [json.loads(line) for line in GOLD.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def published(gold: list[dict[str, Any]]) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(RULES.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def classified(gold: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The gold rows as `solon constitution classify` writes them."""
    folder = tmp_path_factory.mktemp("gold")
    rules, out = folder / "rules.yaml", folder / "out.jsonl"
    run("import", str(RULES), "--out", str(rules))
    run("classify", str(rules), str(GOLD), "--out", str(out))
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def run(*arguments: str) -> None:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output or result.exception


def holds(name: str, row: dict[str, Any], published: dict[str, Any]) -> bool:
    """Whether a proposition holds of a row, read literally off the YAML."""
    table = published["derived_propositions"].get(name)
    return row["propositions"][name] if table is None else matches(table, row, published)


def matches(table: dict[str, bool], row: dict[str, Any], published: dict[str, Any]) -> bool:
    return all(holds(name, row, published) == value for name, value in table.items())


def literal_classes(row: dict[str, Any], published: dict[str, Any]) -> list[str]:
    """Every class whose table matches the row, best first."""
    kind = {"Comply": "comply", "Hard Refuse": "hard_refuse"}.get(row["response_type"])
    kind = kind or {"Safe Refuse 1": "safe_refuse_1", "Safe Refuse 2": "safe_refuse_2"}[row["response_type"]]
    tables = published["completion_classes"]
    return [name for name in published["completion_class_order"] if matches(tables[name][kind], row, published)]


def test_there_are_351_gold_rows_of_four_response_types(gold: list[dict[str, Any]]) -> None:
    assert len(gold) == ROWS
    assert len({row["response_type"] for row in gold}) == 4


def test_every_gold_row_has_exactly_one_class_and_it_is_the_one_of_the_yaml(
    gold: list[dict[str, Any]], classified: list[dict[str, Any]], published: dict[str, Any]
) -> None:
    expected = [literal_classes(row, published) for row in gold]

    assert Counter(map(len, expected)) == {1: ROWS}
    assert [[row["class"]] for row in classified] == expected


def test_the_derived_propositions_of_every_row_are_those_of_the_yaml(
    gold: list[dict[str, Any]], classified: list[dict[str, Any]], published: dict[str, Any]
) -> None:
    for row, given in zip(classified, gold, strict=True):
        for name in published["derived_propositions"]:
            assert row["derived"][name] is holds(name, given, published)


def test_a_better_class_never_has_a_lower_reward_and_the_rows_are_kept(
    gold: list[dict[str, Any]], classified: list[dict[str, Any]], published: dict[str, Any]
) -> None:
    order = published["completion_class_order"]
    ranked = sorted(classified, key=lambda row: order.index(row["class"]))

    assert [row["reward"] for row in ranked] == sorted((row["reward"] for row in ranked), reverse=True)
    assert all(given.items() <= row.items() for row, given in zip(classified, gold, strict=True))
    assert len({row["class"] for row in classified}) >= 4
