"""Reward models from what people preferred."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.children import Progress
from api.cli import app
from api.reward_training import pairs_of, train_reward
from solon.datasets import read_pairs
from solon.errors import InvalidInput, NotFound
from solon.settings import Settings
from trainer.config import AnyConfig, RewardConfig, RewardMethod

SHARED = Path(__file__).parents[4] / "shared" / "data" / "pref"


def _rows(path: Path, count: int, start: int = 0) -> Path:
    rows = [
        {
            "id": f"r{i}",
            "domain": "helpful" if i % 2 else "harmless",
            "messages": [{"role": "user", "content": f"Question {i}?"}],
            "chosen": f"Answer {i}.",
            "rejected": "No.",
        }
        for i in range(start, start + count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def test_people_are_the_labels_and_the_held_out_file_is_never_trained_on(tmp_path: Path):
    asked: list[RewardConfig] = []

    async def train(config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
        assert isinstance(config, RewardConfig)
        assert config.held_out_pairs is not None
        pairs = list(read_pairs(config.pairs))
        assert [pair.chosen_text for pair in pairs] == [f"Answer {i}." for i in range(4)]
        assert {pair.prompt.metadata["domain"] for pair in pairs} == {"helpful", "harmless"}
        assert len(list(read_pairs(config.held_out_pairs))) == 2
        asked.append(config)
        return {"pairs": 4, "dropped": {}, "metrics": {}, "held_out": None, "seconds": 1.0}

    files = _rows(tmp_path / "train.jsonl", 4), _rows(tmp_path / "val.jsonl", 2, start=4)
    settings = Settings.load(environment={})
    found = await train_reward(
        *files, "starter", tmp_path / "rm", settings, RewardMethod(epochs=2.0), lambda *_: None, train=train
    )
    assert (asked[0].held_out, asked[0].epochs) == (0.0, 2.0)
    assert found["train_domains"] == {"helpful": 2, "harmless": 2}


def test_rows_that_nobody_judged_are_refused(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Hm?"}\n')
    with pytest.raises(InvalidInput, match="people judged"):
        pairs_of(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(NotFound, match="no such file"):
        pairs_of(tmp_path / "nowhere.jsonl")


def test_a_wrong_option_names_the_field(tmp_path: Path):
    rows = _rows(tmp_path / "train.jsonl", 2)
    command = [
        "reward",
        "train",
        str(rows),
        "--held-out",
        str(rows),
        "--out",
        str(tmp_path / "rm"),
        "--set",
        "epochs=-1",
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code != 0


def test_real_pairs_keep_their_domains():
    path = SHARED / "hh_val.jsonl"
    if not path.exists():
        pytest.skip(f"no real data: {path} is absent")
    pairs = pairs_of(path)
    assert len(pairs) >= 390
    assert {pair.prompt.metadata["domain"] for pair in pairs} == {"helpful", "harmless"}
