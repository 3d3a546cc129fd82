"""A constitution published in the store that the settings name is one for every command that takes a constitution."""

from pathlib import Path

import pytest

from api.judge_calibration import calibrate
from api.libraries import open_store
from api.ranking import RankRequest, rank_file
from api.rule_work import RulesRequest, accuracy_file, fit_file, score_file
from constitution.store import Text
from critic.rules.fitting import FitSettings
from solon.fakes import keyword_judge
from solon.settings import Settings
from tests.integration.service import FakeModels
from tests.unit.api.test_rule_work import quiet, read_lines, write_rows
from tests.unit.constitution.stores import ADA, BEN, NEW

HARBOUR = b"""\
format: constitution/v1
id: harbour
title: Harbour
version: 1.0.0
principles: [{id: kind, text: Be kind.}]
propositions: [{id: shouts, kind: regex, pattern: "!!"}]
rules: [{id: no-shouting, when: shouts, reward: -1.0}]
"""
MODELS = FakeModels(far_judge=keyword_judge(["good"], ["bad"]))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    overrides = [
        "models.far-judge={kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}",
        f"database=sqlite:///{tmp_path}/solon.db",
        "cache=off",
    ]
    found = Settings.load(overrides=overrides, environment={})
    store = open_store(found)
    store.publish(store.save_draft("harbour", "work", HARBOUR, NEW, ADA), Text("1.0.0", HARBOUR, "sha256:x"), BEN)
    return found


async def test_completions_are_ranked_under_it(tmp_path: Path, settings: Settings):
    rows = write_rows(tmp_path, {"prompt": "Hi", "completions": ["bad", "good"]})
    await rank_file(rows, tmp_path / "o.jsonl", RankRequest("harbour", "far-judge"), settings, quiet, MODELS)
    assert read_lines(tmp_path / "o.jsonl")[0]["best"] == 1


async def test_its_rules_score_fit_and_are_checked(tmp_path: Path, settings: Settings):
    given = {"completions": ["Go!!", "Go."], "ranks": [2, 1], "propositions": [{"shouts": True}, {"shouts": False}]}
    rows, request = write_rows(tmp_path, *({"prompt": f"Q{i}", **given} for i in range(20))), RulesRequest("harbour")
    await score_file(rows, tmp_path / "o.jsonl", request, None, settings, quiet)
    assert read_lines(tmp_path / "o.jsonl")[0]["best"] == 1
    await accuracy_file(rows, request, settings, quiet)
    await fit_file(rows, tmp_path / "w.json", request, "rules", FitSettings(), settings, quiet)


async def test_a_judge_is_calibrated_under_it(tmp_path: Path, settings: Settings):
    said = ("b", "a", "a", "a")
    rows = write_rows(
        tmp_path,
        *({"prompt": f"Q{i}", "response_a": "good", "response_b": f"{i}", "label": said[i % 4]} for i in range(40)),
    )
    assert (await calibrate("far-judge", rows, "harbour", settings, models=MODELS))["calibration"]["n"] == 40
