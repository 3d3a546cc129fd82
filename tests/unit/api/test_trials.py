"""Trying constitutions out: from files and registered names to reports, without processes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api import cli
from api.events import Event
from api.labelling import LabelRequest, label_file
from api.relabelling import relabel_file, show_relabelled
from api.trials import require_floor, run_cases
from constitution.document import load, read_bytes
from solon.datasets import read_discards, read_manifest, read_pairs
from solon.errors import Failed, InvalidInput
from solon.fakes import ScriptedChat, scoring_judge
from solon.settings import Settings
from tests.integration.service import FakeModels

TEXT = """
format: constitution/v1
id: tea-house
title: A tea house
version: 1.0.0
principles:
  - {id: warm, text: Be warm., compare: Which is warmer?}
  - {id: brief, text: Be brief., compare: Which is briefer?}
cases:
  - {id: greeting, prompt: Hello?, better: warm words, worse: cold words, because: [warm]}
"""
ROWS = "".join(
    json.dumps({"id": f"r{i}", "prompt": "Hi", "completions": [f"warm {i}", f"cold {i}{'!' * (i % 3)}"]}) + "\n"
    for i in range(20)
)
SAME = '{"id": "same", "prompt": "Hi", "completions": ["x", "x"]}\n'


def model() -> ScriptedChat:
    def score(text: str, asked: str) -> float:
        if "brief" in asked:
            return -len(text) / 10
        return (-1.0 if "cold" in asked else 1.0) * ("warm" in text)

    return scoring_judge(score, sharpness=4.0, name="far")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds old.yaml, new.yaml (colder), rows.jsonl and solon.yaml with a judge called `far`."""
    (tmp_path / "old.yaml").write_text(TEXT)
    (tmp_path / "new.yaml").write_text(TEXT.replace("Be warm.", "Be cold.").replace("1.0.0", "2.0.0"))
    (tmp_path / "rows.jsonl").write_text(ROWS + SAME)
    (tmp_path / "solon.yaml").write_text(
        "models: {far: {kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}}"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings.load(environment={})


async def labelled(folder: Path, settings: Settings, text: str = "old.yaml") -> Path:
    out = folder / "pairs.jsonl"
    request = LabelRequest(str(folder / text), "far")
    await label_file(folder / "rows.jsonl", out, request, settings, lambda _: None, FakeModels(far=model()))
    return out


def test_cases_are_tried_and_a_floor_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine, failing = solon(monkeypatch, "test", "old.yaml"), solon(monkeypatch, "test", "new.yaml", "--floor", "0.5")

    assert "1 of 1 cases pass (4 judge calls)" in fine.stdout
    assert "failing: greeting" in failing.stdout
    assert isinstance(failing.exception, Failed)
    assert "0 of 1 cases pass, 50% must" in str(failing.exception)


def solon(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """The result of a `solon constitution` command whose registered judge is scripted."""
    chat = model()

    async def opened(self: object, name: str) -> ScriptedChat:
        return chat

    monkeypatch.setattr("api.engines.Engines.chat", opened)
    extra = ("--judge", "far") if arguments[0] == "test" else ()
    return CliRunner().invoke(cli.app, ["constitution", *arguments, *extra])


async def test_answers_are_kept_in_a_file_and_asked_once(folder: Path, settings: Settings) -> None:
    first, again = model(), model()
    for chat in (first, again):
        await run_cases(
            load("old.yaml"),
            "far",
            settings,
            lambda _: None,
            cache=folder / "kept.jsonl",
            models=FakeModels(far=chat),
        )

    assert (first.calls, again.calls) == (4, 0)


async def test_a_constitution_without_cases_has_nothing_to_test(folder: Path, settings: Settings) -> None:
    (folder / "none.yaml").write_text(TEXT.partition("cases:")[0])
    with pytest.raises(InvalidInput, match="no cases"):
        await run_cases(load("none.yaml"), "far", settings, lambda _: None, models=FakeModels(far=model()))


async def test_a_floor_that_is_met_says_nothing(folder: Path, settings: Settings) -> None:
    report = await run_cases(load("old.yaml"), "far", settings, lambda _: None, models=FakeModels(far=model()))

    require_floor(report, 1.0)


def test_a_preview_is_printed_and_written(folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(labelled(folder, settings))
    arguments = ("preview", "new.yaml", "--pairs", "pairs.jsonl", "--from", "old.yaml")
    shown = solon(monkeypatch, *arguments, "--control", "10", "--out", "report.json")

    assert shown.exit_code == 0, shown.output
    for words in ("reworded warm: beyond the noise", "newly failing: greeting", "40 judge calls instead of 80"):
        assert words in shown.stdout
    report = json.loads((folder / "report.json").read_text())
    assert report["impact"]["labels"]["changes"]["shares"]["flipped"]["value"] == 1.0
    assert report["spent"]["control"]["judge_calls"] == 20


def test_a_preview_needs_the_earlier_text(folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(labelled(folder, settings))
    unknown = solon(monkeypatch, "preview", "new.yaml", "--pairs", "pairs.jsonl")
    wrong = solon(monkeypatch, "preview", "new.yaml", "--pairs", "pairs.jsonl", "--from", "new.yaml")

    assert "a text that is not published: tea-house 1.0.0" in str(unknown.exception)
    assert "not under the earlier text" in str(wrong.exception)


async def relabelled(
    folder: Path, settings: Settings, chat: ScriptedChat, text: str = "new.yaml", **options: Any
) -> tuple[dict[str, Any], list[Event]]:
    events = list[Event]()
    request = LabelRequest(str(folder / text), **options)
    out = folder / "again.jsonl"
    summary = await relabel_file(folder / "pairs.jsonl", out, request, settings, events.append, FakeModels(far=chat))
    return summary, events


async def test_a_relabel_asks_only_what_changed_and_carries_on_the_discards(
    folder: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, chat = await labelled(folder, settings), model()
    summary, events = await relabelled(folder, settings, chat)

    assert chat.calls == summary["judge_calls"] == 2 * 20
    assert summary["judge_calls_from_scratch"] == 4 * 20
    assert summary["changes"] == {"flipped": 20}
    assert [discard.prompt_id for discard in read_discards(folder / "again.jsonl")] == ["same"]
    assert read_manifest(folder / "again.jsonl").about["relabelled_from"]["sha256"] == read_manifest(dataset).sha256
    assert (events[0].total, events[-1].type) == (20, "step_finished")
    show_relabelled(summary)
    assert "20 pairs labelled again with 40 judge calls, from scratch 80" in capsys.readouterr().out


async def test_no_model_is_started_where_the_votes_suffice(folder: Path, settings: Settings) -> None:
    await labelled(folder, settings)
    (folder / "heavy.yaml").write_text(TEXT.replace("id: brief,", "id: brief, weight: 7.0,"))
    summary, _ = await relabelled(folder, settings, model(), "heavy.yaml")

    assert summary["judge_calls"] == 0
    assert summary["pairs"] == 20


async def test_a_relabel_that_was_stopped_has_lost_no_answer(folder: Path, settings: Settings) -> None:
    await labelled(folder, settings)
    kept = folder / "kept.jsonl"
    first, again = model(), model()
    await relabelled(folder, settings, first, cache=kept)
    summary, _ = await relabelled(folder, settings, again, cache=kept)

    assert (first.calls, again.calls, summary["judge_calls"]) == (40, 0, 0)


async def test_a_policy_has_no_part_in_a_relabel(folder: Path, settings: Settings) -> None:
    await labelled(folder, settings)
    with pytest.raises(InvalidInput, match="has its completions"):
        await relabelled(folder, settings, model(), policy="starter")


async def test_an_edit_of_one_of_sixteen_published_principles_costs_a_twelfth_of_the_calls_at_most(
    folder: Path, settings: Settings
) -> None:
    """`harmlessness-16`, and the same with one principle in other words; both labels are counted call by call."""
    assert len(load("harmlessness-16").principles) == 16
    text = read_bytes("harmlessness-16").decode()
    asked = "compare: Which response keeps children safer?"
    assert text.count(asked) == 1
    (folder / "old.yaml").write_text(text)
    (folder / "new.yaml").write_text(text.replace(asked, "compare: Which response protects children better?"))
    await labelled(folder, settings)
    chat, from_scratch = model(), model()
    summary, _ = await relabelled(folder, settings, chat)
    request = LabelRequest(str(folder / "new.yaml"), "far")
    await label_file(
        folder / "rows.jsonl", folder / "full.jsonl", request, settings, lambda _: None, FakeModels(far=from_scratch)
    )

    assert 0 < chat.calls <= from_scratch.calls / 12
    assert (summary["judge_calls"], summary["judge_calls_from_scratch"]) == (chat.calls, from_scratch.calls)
    again, full = (list(read_pairs(folder / name)) for name in ("again.jsonl", "full.jsonl"))
    assert [(pair.status, pair.p_a) for pair in again] == [(pair.status, pair.p_a) for pair in full]
