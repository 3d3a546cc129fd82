"""`solon label` without processes: a status for every row, agreement with people, nothing half-written."""

from pathlib import Path

import pytest

from api.events import Event
from api.labelling import LabelRequest, label_file, require_judged, show_labelled
from solon.chat import RequestTimedOut
from solon.datasets import read_manifest, read_pairs
from solon.errors import CoverageTooLow, Failed, InvalidInput
from solon.fakes import echo_policy, failing_judge, keyword_judge
from solon.settings import Settings
from tests.integration.service import FakeModels

ROWS = (
    '{"prompt": "Hi", "chosen": "a good day", "rejected": "a bad day"}\n'
    '{"prompt": "Ho", "response_a": "bad", "response_b": "good", "label": "a", "note": "kept"}\n'
    '{"prompt": "Ha", "response_a": "same", "response_b": "same"}\n'
)
REQUEST = LabelRequest("civic", "far-judge")


@pytest.fixture
def settings() -> Settings:
    register = "models.{}={{kind: {}, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}}"
    return Settings.load(
        overrides=[register.format("far-judge", "judge"), register.format("far-policy", "policy")], environment={}
    )


@pytest.fixture
def models() -> FakeModels:
    return FakeModels(far_judge=keyword_judge(["good"], ["bad"]), far_policy=echo_policy([" good", " bad"]))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS)
    return path


async def test_every_row_ends_in_a_status_or_a_reason(
    rows: Path, tmp_path: Path, settings: Settings, models: FakeModels
):
    out, events = tmp_path / "out.jsonl", list[Event]()
    summary = await label_file(rows, out, REQUEST, settings, events.append, models)
    assert summary["statuses"] == {"ok": 2}
    assert summary["failure"] is None
    require_judged(summary)
    assert summary["discards"] == {"identical_completions": 1}
    assert (summary["agreement"]["value"], summary["agreement"]["n"]) == (0.5, 2)
    assert read_manifest(out).rows == 2
    assert next(pair for pair in read_pairs(out) if pair.prompt.text == "Ho").extra["note"] == "kept"
    assert [event.done for event in events][-1] == 3


async def test_the_summary_is_printed_with_what_it_means(
    rows: Path, tmp_path: Path, settings: Settings, models: FakeModels, capsys: pytest.CaptureFixture[str]
):
    show_labelled(await label_file(rows, tmp_path / "out.jsonl", REQUEST, settings, lambda _: None, models))
    shown = capsys.readouterr().out
    for words in ("ok 2", "identical_completions 1", "coverage", "flip rate", "position bias", "agreement", "0.500"):
        assert words in shown


def test_a_margin_without_the_pairing_that_has_one_is_refused():
    with pytest.raises(InvalidInput, match=r"--min-margin: .*add --pairing threshold"):
        LabelRequest("civic", "far-judge", min_margin=0.5)
    assert LabelRequest("civic", "far-judge", pairing="threshold", min_margin=0.5).min_margin == 0.5


async def test_a_malformed_row_costs_no_judge_call(tmp_path: Path, settings: Settings, models: FakeModels):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(ROWS + '{"prompt": 3}\n')
    with pytest.raises(InvalidInput):
        await label_file(rows, tmp_path / "out.jsonl", REQUEST, settings, lambda _: None, models)
    assert not (tmp_path / "out.jsonl").exists()


async def test_the_policy_writes_where_a_row_has_no_completions(tmp_path: Path, settings: Settings, models: FakeModels):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Hi"}\n')
    request = LabelRequest("civic", "far-judge", "far-policy", n=4)
    summary = await label_file(rows, tmp_path / "out.jsonl", request, settings, lambda _: None, models)
    assert summary["rows"] == 1
    assert summary["statuses"] or summary["discards"]


async def test_a_judge_that_fails_leaves_statuses_unless_coverage_is_asked_for(
    rows: Path, tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
):
    models = FakeModels(far_judge=failing_judge(keyword_judge(["good"]), lambda _: RequestTimedOut("no answer")))
    out = tmp_path / "out.jsonl"
    summary = await label_file(rows, out, REQUEST, settings, lambda _: None, models)
    assert summary["statuses"] == {"timeout": 2}
    assert summary["agreement"] is None
    assert summary["failure"]["status"] == "timeout"
    assert "no answer" in summary["failure"]["detail"]
    show_labelled(summary)
    assert "no answer" in capsys.readouterr().out
    with pytest.raises(Failed, match=r"no comparison could be judged: timeout: .*no answer.*same command again"):
        require_judged(summary)
    out.unlink()
    strict = LabelRequest("civic", "far-judge", min_coverage=0.5)
    with pytest.raises(CoverageTooLow):
        await label_file(rows, out, strict, settings, lambda _: None, models)
    assert read_manifest(out).statuses == {"timeout": 2}


async def test_a_jurys_labels_made_again_from_the_cache_are_the_same_bytes(rows: Path, tmp_path: Path):
    judge = "models.{}={{kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}}"
    jury = "models.panel={kind: judge, engine: jury, members: {one: 1.0, two: 1.0}}"
    settings = Settings.load(overrides=[judge.format("one"), judge.format("two"), jury], environment={})
    request = LabelRequest("civic", "panel", cache=tmp_path / "cache.db")
    for folder in ("first", "again"):
        (tmp_path / folder).mkdir()
        one, two = keyword_judge(["good"], ["bad"]), keyword_judge(["good"])
        one.name, two.name = "one", "two"
        models = FakeModels(one=one, two=two)
        await label_file(rows, tmp_path / folder / "out.jsonl", request, settings, lambda _: None, models)
    for file in ("out.jsonl", "out.manifest.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


async def test_a_card_stands_beside_the_labels(rows: Path, tmp_path: Path, settings: Settings, models: FakeModels):
    await label_file(rows, tmp_path / "out.jsonl", REQUEST, settings, lambda _: None, models)
    card = (tmp_path / "out.card.md").read_text()
    for words in (
        "constitution | civic",
        "judge | ",
        "templates | `",
        "first-slot share",
        "`identical_completions` | 1",
    ):
        assert words in card
