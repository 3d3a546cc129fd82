"""`solon constitution drift` and `infer` without processes: files in, findings and drafts out."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api import cli
from api.cli.drift import _print
from api.drift import DriftRequest, distinct, drift_of, inferred_draft, labelled_pairs, read_candidates
from api.labelling import LabelRequest, label_file
from constitution.document import Principle, load, parse
from critic.drift import Drift
from solon.errors import Failed, InvalidInput, SolonError
from solon.fakes import ScriptedChat, scoring_judge, text_reply
from solon.settings import Settings
from tests.integration.service import FakeModels

WRITTEN = """\
format: constitution/v1
id: town
title: Town
version: 1.0.0
principles:
  - {id: kind, text: Be kind.}
  - {id: brief, text: Be brief.}
"""
REGISTER = "models.{}={{kind: {}, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}}"
VALUES = ("kind", "brief", "listed")


def judge() -> ScriptedChat:
    def score(text: str, asked: str) -> float:
        return float(next((each for each in VALUES if each in asked), "-") in text.split())

    return scoring_judge(score, sharpness=3.0)


@pytest.fixture
def settings() -> Settings:
    return Settings.load(overrides=[REGISTER.format("j", "judge"), REGISTER.format("w", "policy")], environment={})


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """People who like kind and listed answers and do not care for brevity."""
    rng, path, lines = random.Random(0), tmp_path / "rows.jsonl", list[str]()
    for number in range(120):
        texts = [" ".join(value for value in VALUES if rng.random() < 0.5) + f" {side}{number}" for side in "ab"]
        liked = [2 * ("kind" in text.split()) + ("listed" in text.split()) for text in texts]
        vote = "tie" if liked[0] == liked[1] else "a" if liked[0] > liked[1] else "b"
        lines.append(
            json.dumps({"prompt": f"Q{number}?", "response_a": texts[0], "response_b": texts[1], "label": vote})
        )
    path.write_text("\n".join(lines) + "\n")
    (tmp_path / "town.yaml").write_text(WRITTEN)
    return path


async def drift(rows: Path, settings: Settings, writer: ScriptedChat | None = None, **options: Any) -> Drift:
    models = FakeModels(j=judge(), w=writer or judge())
    chosen: dict[str, Any] = {"constitution": str(rows.with_name("town.yaml"))} | options
    request = DriftRequest("j", **chosen)
    return await drift_of(rows, request, settings, lambda _: None, models)


async def test_drift_is_found_with_the_candidates_of_a_file(rows: Path, settings: Settings):
    pool = rows.with_name("pool.txt")
    pool.write_text("The answer should be listed.\n\nBe funny.\n")
    found = await drift(rows, settings, candidates=(str(pool),))
    assert [(each.id, each.standing) for each in found.written] == [("kind", "followed"), ("brief", "not_followed")]
    assert [(each.id, each.standing) for each in found.unwritten] == [("the-answer-should-be-listed", "followed")]
    assert [each.standing for each in found.dismissed] == ["too_few"]


async def test_a_model_can_write_the_candidates(rows: Path, settings: Settings):
    writer = ScriptedChat("w", lambda call: text_reply("Answers should be listed."))
    found = await drift(rows, settings, writer, proposer="w")
    assert [each.text for each in found.unwritten] == ["Answers should be listed."]


async def test_a_model_that_writes_nothing_is_an_error_with_a_remedy(rows: Path, settings: Settings):
    with pytest.raises(Failed, match="proposed no principle from 40 pairs") as error:
        await drift(rows, settings)
    assert "--candidates" in error.value.remedy


async def test_the_votes_of_a_dataset_are_not_asked_for_again(rows: Path, tmp_path: Path, settings: Settings):
    dataset, chat = tmp_path / "labels.jsonl", judge()
    town = str(tmp_path / "town.yaml")
    await label_file(rows, dataset, LabelRequest(town, "j"), settings, lambda _: None, FakeModels(j=chat))
    pool = tmp_path / "pool.txt"
    pool.write_text("The answer should be listed.\n")
    asked = chat.calls
    request = DriftRequest("j", town, (str(pool),))
    found = await drift_of(dataset, request, settings, lambda _: None, FakeModels(j=chat))
    assert chat.calls - asked == 2 * 120
    assert [each.standing for each in found.written] == ["followed", "followed"]
    assert found.unwritten == ()


async def test_a_second_look_with_the_cache_asks_nothing(rows: Path, settings: Settings):
    pool = rows.with_name("pool.txt")
    pool.write_text("The answer should be listed.\n")
    options: dict[str, Any] = {"candidates": (str(pool),), "cache": rows.with_name("cache.jsonl"), "pairs": 60}
    one = await drift(rows, settings, **options)
    dead = FakeModels(j=ScriptedChat("scoring", lambda call: pytest.fail("asked again")))
    request = DriftRequest("j", str(rows.with_name("town.yaml")), **options)
    assert await drift_of(rows, request, settings, lambda _: None, dead) == one


async def test_the_inferred_draft_loads_and_names_its_evidence(rows: Path, settings: Settings):
    pool = rows.with_name("pool.txt")
    pool.write_text("Be kind.\nBe listed.\nBe brief.\n")
    found = await drift(rows, settings, constitution=None, candidates=(str(pool),))
    drafted = parse(inferred_draft(found, "rows.jsonl", "people", "People").encode(), "draft")
    assert [each.text for each in drafted.principles] == ["Be kind.", "Be listed."]
    assert drafted.principles[0].weight > drafted.principles[1].weight > 0
    evidence = drafted.principles[0].evidence
    assert evidence is not None
    assert (evidence.kind, evidence.source) == ("labels", "rows.jsonl")
    assert drafted.combine.method == "logit_sum"


async def test_the_findings_are_printed_with_what_they_mean(
    rows: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
):
    pool = rows.with_name("pool.txt")
    pool.write_text("Be [bold]listed[/bold].\n")
    _print(await drift(rows, settings, candidates=(str(pool),)))
    shown = capsys.readouterr().out
    for words in ("not followed", "unwritten", "[bold]", "as it stands", "weights fitted", "left out"):
        assert words in shown


def test_rows_without_a_verdict_say_what_is_missing(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Hi", "completions": ["a", "b"]}\n')
    with pytest.raises(InvalidInput, match="no row has two completions and a verdict"):
        labelled_pairs(path)


def test_candidates_come_from_constitutions_and_text_files(tmp_path: Path):
    (tmp_path / "pool.txt").write_text("Be kind.\nBe kind.\nBe 2 kind.\n")
    found = read_candidates(
        ["civic", str(tmp_path / "pool.txt")], Settings(database=f"sqlite:///{tmp_path / 'absent.db'}")
    )
    assert len(found) == len(load("civic").principles) + 3
    kept = distinct(found, load("civic"))
    assert [(each.id, each.text) for each in kept] == [("be-kind", "Be kind."), ("be-2-kind", "Be 2 kind.")]
    assert [each.id for each in distinct([Principle(id="honest", text="Tell no lies.")], load("civic"))] == ["honest-2"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("drift civic absent.jsonl --judge starter-judge", "there is no file absent.jsonl"),
        ("drift nowhere rows.jsonl --judge starter-judge", "nowhere"),
        ("drift civic rows.jsonl --judge starter", "is a policy, not a judge"),
        ("infer rows.jsonl --judge starter-judge --candidates absent.txt --out d.yaml", "there is no file absent.txt"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_model_is_started(
    rows: Path, monkeypatch: pytest.MonkeyPatch, line: str, says: str
):
    monkeypatch.chdir(rows.parent)
    result = CliRunner().invoke(cli.app, ["constitution", *line.split()])
    assert isinstance(result.exception, SolonError)
    assert says in str(result.exception)
