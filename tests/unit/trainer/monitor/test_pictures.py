"""What people see of a monitored run."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import app
from solon.charts import Mark, curves
from solon.errors import NotFound
from tests.unit.trainer.monitor.test_alarm import seen
from trainer.monitor.comparison import comparison, monitored
from trainer.monitor.observations import Observation
from trainer.monitor.pictures import overview, rows, sentences, standardised
from trainer.monitor.summary import summary


def _run(falls: bool) -> list[Observation]:
    slope = -0.1 if falls else 0.05
    return [
        seen(step, [0.5 * step, 0.5 * step + 2], [0.6 + slope * step, 0.4 + slope * step], benign_compliance=0.9)
        for step in range(5)
    ]


def _write(folder: Path, run: list[Observation], alarm: dict[str, object] | None) -> Path:
    model = folder / "03-ppo" / "model"
    model.mkdir(parents=True)
    (model / "monitor.jsonl").write_text("".join(each.model_dump_json() + "\n" for each in run))
    found = summary(run, alarm, {"step": 1, "last_step": 4, "because": "the best judge of 5 observations"})
    (model / "monitor.json").write_text(found.model_dump_json())
    return folder


def test_changes_are_in_standard_deviations_over_prompts_at_the_start():
    run = [seen(0, [1.0, 3.0], [0.5, 0.5]), seen(4, [4.0, 6.0], [0.25, 0.25])]
    assert [mark.y for mark in standardised(run, "proxy")] == [0.0, pytest.approx(3 / 2**0.5)]
    assert [mark.y for mark in standardised(run, "judge")] == [0.0, pytest.approx(-0.25)]  # did not vary: as it is
    assert [mark.x for mark in standardised(run, "proxy")] == [0.0, 2.0]


def test_a_curve_has_a_point_and_a_whisker_for_each_mark_and_a_dotted_fit():
    svg = str(
        curves({"proxy": [Mark(0.0, 1.0, 0.1), Mark(2.0, 3.0)]}, "t", "d", fits={"proxy": [(0.0, 1.0), (2.0, 3.0)]})
    )
    assert svg.count("<circle") == 2
    assert svg.count("whisker") == 1
    assert svg.count("fit proxy") == 1
    assert "nan" not in str(curves({"proxy": [Mark(0.0, 0.0)]}, "t", "d"))


def test_a_table_leaves_out_what_was_not_measured():
    table = dict(rows(_run(True)[:2]))
    assert table["Benign requests answered"] == ["90.0%", "90.0%"]
    assert table["Held-out judge"] == ["0.500 \u00b1 0.100", "0.400 \u00b1 0.100"]
    assert "Oracle" not in table
    assert "Accuracy on tasks" not in table


def test_two_runs_are_one_page_and_one_table(tmp_path: Path):
    alarm: dict[str, object] = {"step": 4, "message": "The reward is being hacked."}
    hacked, safe = _write(tmp_path / "hacked", _run(True), alarm), _write(tmp_path / "safe", _run(False), None)
    page = comparison({"hacked": monitored(hacked), "safe": monitored(safe)})
    assert page.count('<svg class="lines"') == 4  # the reward and the judge of both, and an overview of each
    assert "Alarm after step 4" in page
    assert "fit run-0" in page
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["compare", str(hacked), str(safe), "--out", str(out)])
    assert done.exit_code == 0
    assert "hacked: Alarm after step 4" in done.output
    assert out.read_text() == page
    told = json.loads(CliRunner().invoke(app, ["compare", str(safe), "--json"]).output)
    assert told["safe"]["alarm"] is None


def test_a_run_that_was_not_watched_is_refused(tmp_path: Path):
    with pytest.raises(NotFound, match="was watched"):
        monitored(tmp_path)


def test_sentences_name_what_was_published():
    found = summary(_run(True), None, {"step": 1, "last_step": 4, "because": "the best judge of 5 observations"})
    assert sentences(found)[0].startswith("The model is the one after step 1, the best judge of 5 observations")
    assert str(overview(_run(True))).count("mean ") == 2
