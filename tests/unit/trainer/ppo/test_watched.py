"""PPO under a monitor: observations, the alarm, the best weights, and what a killed run remembers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.trainer.watched import events_of, watched
from tests.unit.trainer.watched import url as url
from trainer import checkpoint
from trainer.config import PPOConfig
from trainer.monitor.summary import read_observations, read_summary

torch.set_num_threads(1)


@pytest.fixture
def make(chat_model: Path, url: str, tmp_path: Path) -> Any:
    def config(out: str, monitor: dict[str, Any], **settings: Any) -> PPOConfig:
        values: dict[str, Any] = {
            "steps": 6, "episodes": 16, "minibatch": 8, "micro_batch": 24, "max_tokens": 8, "max_length": 64,
            "learning_rate": 1e-2, "critic": "policy", "kl": {"beta": 0.0}, "missing_eos_penalty": 0.0,
            "precision": "float32",
        }  # fmt: skip
        values |= {"type": "ppo", "model": chat_model, "output": tmp_path / out, **settings}
        return PPOConfig.model_validate(values | watched(tmp_path, url, monitor))

    return config


def test_a_hacked_run_is_stopped_and_its_best_weights_are_published(make: Any, chat_model: Path):
    config = make("out", {"samples": 4}, steps=12)
    events = events_of(config)
    done, out = events[-1], config.output
    assert done["ended_by"] == "alarm"
    assert "the reward is being hacked" in done["monitor"]["alarm"]["message"]
    assert [event["step"] for event in events if event["event"] == "alarm"] == [done["monitor"]["alarm"]["step"]]
    seen, found = read_observations(out), read_summary(out)
    assert found is not None
    assert [each.step for each in seen] == list(range(len(seen)))
    assert seen[-1].proxy is not None
    assert seen[0].proxy is not None
    assert seen[-1].proxy.value > seen[0].proxy.value
    assert seen[0].kl_nats == 0.0
    assert seen[-1].distance > 0.1
    assert seen[0].failed == pytest.approx(2 / 24)  # one in each request
    best = max(seen, key=lambda each: (each.gold["judge"].value, -each.step))
    assert found.published["step"] == best.step < seen[-1].step
    if best.step == 0:
        weights = [checkpoint.load(path, "model")[0].state_dict() for path in (chat_model, out)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert json.loads((out / "provenance.json").read_text())["published"] == found.published
    last = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][-1]
    assert last["monitor_alarm"] == 1.0
    assert last["monitor_gold_judge"] == seen[-1].gold["judge"].value
    assert not list(out.glob("watched*"))


def test_what_is_watched_besides_gold_is_measured(make: Any):
    config = make("out", {"stop": False, "publish": "last", "every": 2}, steps=3)
    events_of(config)
    seen = read_observations(config.output)
    assert [each.step for each in seen] == [0, 2, 3]
    first, last = seen[0], seen[-1]
    assert first.perplexity == pytest.approx(first.reference_perplexity)
    assert last.perplexity != last.reference_perplexity
    assert first.accuracy == 0.0
    assert (first.benign_refusal, first.benign_compliance, first.harmful_compliance) == (0.0, 1.0, 1.0)
    assert 0 < first.distinct_2 <= 1
    found = read_summary(config.output)
    assert found is not None
    assert found.published["step"] == 3


def test_a_watched_run_that_was_killed_ends_as_if_it_had_not_been(make: Any, tmp_path: Path):
    whole, again = (
        make("whole", {"every": 2}, steps=4),
        make("again", {"every": 2}, steps=4, state=tmp_path / "state", save_every=2),
    )
    events_of(whole)
    with pytest.raises(KeyboardInterrupt):
        events_of(again, stop_at=3)
    events_of(again)
    lines = [
        [each.model_copy(update={"seconds": 0.0}) for each in read_observations(config.output)]
        for config in (whole, again)
    ]
    assert lines[0] == lines[1]
    weights = [(config.output / "model.safetensors").read_bytes() for config in (whole, again)]
    assert weights[0] == weights[1]
