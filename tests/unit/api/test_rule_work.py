"""`solon rules`: scores, fitted weights and accuracy against gold answers, with scripted judges."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.cli import main
from api.rule_work import RulesRequest, accuracy_file, fit_file, score_file
from critic.rules.fitting import FitSettings
from critic.rules.weights import read_weights
from solon.errors import Conflict, InvalidInput, NotFound
from solon.fakes import keyword_judge
from solon.settings import Settings
from tests.integration.service import FakeModels

MATHS = """
format: constitution/v1
id: maths
title: Right answers
version: 1.0.0
propositions:
  - {id: right, kind: measure, measure: correct_answer}
  - {id: obeys, kind: measure, measure: instructions_followed, op: "==", value: 1.0}
  - {id: polite, kind: judge, question: Is it good?}
rules:
  - {id: correct, when: right, reward: 1.0}
  - {id: wrong, when: "!right", reward: -1.0}
  - {id: as-asked, when: obeys, reward: 0.5}
  - {id: kind, when: polite, reward: 0.1}
"""


def quiet(_: object) -> None:
    """Takes an event."""


@pytest.fixture
def settings() -> Settings:
    register = "models.far-judge={kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}"
    return Settings.load(overrides=[register], environment={})


@pytest.fixture
def models() -> FakeModels:
    return FakeModels(far_judge=keyword_judge(["good"], ["bad"]))


@pytest.fixture
def maths(tmp_path: Path) -> str:
    path = tmp_path / "maths.yaml"
    path.write_text(MATHS)
    return str(path)


def write_rows(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_verifiable_rewards_need_no_judge(tmp_path: Path, maths: str, settings: Settings) -> None:
    obey = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    rows = write_rows(
        tmp_path,
        {"prompt": "6*7?", "completions": ["It is 42.", "It is 41."], "metadata": {"answer": 42} | obey},
        {"prompt": "Hi", "completions": ["Hello, you", "Hello"]},
    )

    summary = await score_file(rows, tmp_path / "out.jsonl", RulesRequest(maths), None, settings, quiet)

    first, second = read_lines(tmp_path / "out.jsonl")
    assert [score["reward"] for score in first["scores"]] == [1.5, -0.5]
    assert (first["best"], second["best"]) == (0, None)
    assert second["scores"][0]["propositions"]["right"] == "not_applicable"
    assert second["scores"][0]["propositions"]["polite"] is None
    assert (summary["rows"], summary["completions"]) == (2, 4)


async def test_a_judge_answers_the_questions_and_given_answers_are_not_asked(
    tmp_path: Path, maths: str, settings: Settings, models: FakeModels
) -> None:
    rows = write_rows(
        tmp_path,
        {"prompt": "Hi", "completions": ["good", "bad"]},
        {"prompt": "Ho", "completions": ["good", "bad"], "propositions": [{"polite": False}, {"polite": 0.9}]},
    )
    judge: Any = models.models["far_judge"]

    await score_file(rows, tmp_path / "out.jsonl", RulesRequest(maths, "far-judge"), None, settings, quiet, models)

    first, second = read_lines(tmp_path / "out.jsonl")
    assert (first["best"], second["best"]) == (0, 1)
    assert second["scores"][1]["p_rule"]["kind"] == 0.9
    assert judge.calls == 2


async def test_fitted_weights_are_written_with_what_made_them_and_decide_what_is_best(
    tmp_path: Path, maths: str, settings: Settings
) -> None:
    made = [
        {
            "prompt": f"{i}+1?",
            "completions": [f"#### {i + 1}", f"#### {i}"] if i % 2 else [f"#### {i}", f"#### {i + 1}"],
            "ranks": [1, 2] if i % 2 else [2, 1],
            "metadata": {"answer": i + 1},
            "propositions": [{"polite": False}, {"polite": False}],
        }
        for i in range(40)
    ]
    rows, out = write_rows(tmp_path, *made), tmp_path / "weights.json"

    summary = await fit_file(rows, out, RulesRequest(maths), "rules", FitSettings(), settings, quiet)
    weights = read_weights(out)
    await score_file(rows, tmp_path / "scored.jsonl", RulesRequest(maths), out, settings, quiet)

    assert summary["scopes"]["general"]["held_out"]["value"] == 1.0
    assert summary["scopes"]["general"]["held_out"]["n"] == 8
    assert weights.weights["general"]["rule:correct"] > 0 > weights.weights["general"]["rule:wrong"]
    assert weights.weights["general"]["rule:kind"] == 0
    assert [line["best"] for line in read_lines(tmp_path / "scored.jsonl")] == [1 - i % 2 for i in range(40)]


async def test_weights_of_another_text_are_refused(tmp_path: Path, maths: str, settings: Settings) -> None:
    rows = write_rows(
        tmp_path, {"prompt": "6*7?", "completions": ["42", "41"], "ranks": [1, 2], "metadata": {"answer": 42}}
    )
    out, fitting = tmp_path / "weights.json", FitSettings(held_out=0.0)
    with pytest.raises(InvalidInput, match="every feature answered"):
        await fit_file(rows, out, RulesRequest(maths), "rules", fitting, settings, quiet)
    Path(maths).write_text(MATHS.replace("  - {id: kind, when: polite, reward: 0.1}\n", ""))
    await fit_file(rows, out, RulesRequest(maths), "rules", fitting, settings, quiet)
    Path(maths).write_text(MATHS)

    with pytest.raises(Conflict, match="another text"):
        await score_file(rows, tmp_path / "scored.jsonl", RulesRequest(maths), out, settings, quiet)


async def test_the_judges_answers_are_held_against_gold(
    tmp_path: Path, maths: str, settings: Settings, models: FakeModels
) -> None:
    gold = [{"polite": True, "right": False}, {"polite": True, "right": True}]
    rows = write_rows(
        tmp_path,
        {"prompt": "6*7?", "completions": ["good 41", "bad 42"], "propositions": gold, "metadata": {"answer": 42}},
        {"prompt": "Hi", "completions": ["bad"], "propositions": [{"polite": False, "right": True}]},
    )

    found = await accuracy_file(rows, RulesRequest(maths, "far-judge"), settings, quiet, models)
    unasked = await accuracy_file(rows, RulesRequest(maths), settings, quiet)

    polite, right = found["propositions"]["polite"], found["propositions"]["right"]
    assert (polite["accuracy"]["value"], polite["accuracy"]["n"]) == (pytest.approx(2 / 3), 3)
    assert (polite["balanced"], polite["majority"]) == (0.75, pytest.approx(2 / 3))
    assert (right["accuracy"]["value"], right["not_applicable"]) == (1.0, 1)
    assert unasked["propositions"]["polite"]["unanswered"] == 3


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"propositions": [{}]}, "1 entries for 2 completions"),
        ({"propositions": [{"polite": "yes"}, {}]}, "propositions"),
        ({"propositions": [{"unheard_of": True}, {}]}, "not a proposition to be given"),
        ({"ranks": ["first", "second"]}, "ranks"),
        ({"metadata": {"answer": []}}, "no text and no number"),
    ],
)
async def test_rows_that_cannot_be_used_name_the_place(
    extra: dict[str, Any], message: str, tmp_path: Path, maths: str, settings: Settings
) -> None:
    rows = write_rows(tmp_path, {"id": "r7", "prompt": "6*7?", "completions": ["42", "41"]} | extra)

    with pytest.raises(InvalidInput) as raised:
        await fit_file(rows, tmp_path / "w.json", RulesRequest(maths), "rules", FitSettings(), settings, quiet)

    assert message in str(raised.value)
    assert "r7" in str(raised.value)


def test_a_file_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_weights(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"format": "rule-weights/v1"}')
    with pytest.raises(InvalidInput, match="not rule weights"):
        read_weights(tmp_path / "bad.json")


def test_the_commands_print_what_they_found(tmp_path: Path, maths: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"prompt": "6*7?", "metadata": {"answer": 42}, "completions": ["42", "41"], "ranks": [1, 2]}
    gold = [{"polite": True, "right": True}, {"polite": True, "right": False}]
    rows = str(write_rows(tmp_path, *({**row, "prompt": f"{i}", "propositions": gold} for i in range(10))))

    for command in (
        ["rules", "score", maths, rows, "--out", str(tmp_path / "s.jsonl")],
        ["rules", "fit", maths, rows, "--out", str(tmp_path / "w.json"), "--over", "rules"],
        ["rules", "accuracy", maths, rows],
    ):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 0

    shown = capsys.readouterr().out
    for words in ("20 completions of 10 rows scored", "rule:correct", "held out", "majority", "right"):
        assert words in shown
