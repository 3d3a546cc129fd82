"""GRPO and RLOO under a monitor: the alarm, the best weights, a training that is not disturbed, and killed runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.trainer.watched import events_of, watched
from tests.unit.trainer.watched import url as url
from trainer import checkpoint
from trainer.config import GRPOConfig, RLOOConfig
from trainer.monitor.summary import read_observations, read_summary
from trainer.monitor.watch import Watch
from trainer.rewards.mix import Item

# TRL 1.16 still uses transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)


@pytest.fixture
def make(chat_model: Path, url: str, tmp_path: Path) -> Any:
    def config(kind: str, out: str, monitor: dict[str, Any] | None, **settings: Any) -> Any:
        values: dict[str, Any] = {
            "type": kind, "model": chat_model, "output": tmp_path / out, "steps": 4, "prompts_per_step": 4,
            "completions": 4, "minibatch": 8, "max_tokens": 8, "max_length": 64, "learning_rate": 1e-2,
            "missing_eos_penalty": 0.0, "precision": "float32",
        }  # fmt: skip
        values |= watched(tmp_path, url, monitor or {}) | settings
        if monitor is None:
            del values["monitor"]
        return (GRPOConfig if kind == "grpo" else RLOOConfig).model_validate(values)

    return config


def _lines(config: Any) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, without times."""
    lines = [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "monitor_seconds"} for line in lines]


def _weights(config: Any) -> bytes:
    return (config.output / "model.safetensors").read_bytes()


def _observed(config: Any) -> list[str]:
    """The observations as they are written, without times."""
    seen = read_observations(config.output)
    return [each.model_copy(update={"seconds": 0.0}).model_dump_json() for each in seen]


def test_a_hacked_run_is_stopped_and_its_best_weights_are_published(make: Any, chat_model: Path):
    config = make("grpo", "out", {"samples": 4}, steps=12, beta=0.0, learning_rate=2e-2)
    events = events_of(config)
    done, out = events[-1], config.output
    assert done["ended_by"] == "alarm"
    assert "the reward is being hacked" in done["monitor"]["alarm"]["message"]
    alarmed = done["monitor"]["alarm"]["step"]
    assert [event["step"] for event in events if event["event"] == "alarm"] == [alarmed]
    assert [event["step"] for event in events if event["event"] == "progress"] == list(range(1, alarmed + 1))
    seen, found = read_observations(out), read_summary(out)
    assert found is not None
    assert [each.step for each in seen] == list(range(alarmed + 1))
    assert seen[0].kl_nats == 0.0
    assert seen[-1].distance > 0.1
    best = max(seen, key=lambda each: (each.gold["judge"].value, -each.step))
    assert found.published["step"] == best.step < alarmed < config.steps
    if best.step == 0:
        weights = [checkpoint.load(path, "model")[0].state_dict() for path in (chat_model, out)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    about = json.loads((out / "provenance.json").read_text())
    assert (about["published"], about["ended_by"]) == (found.published, "alarm")
    last = _lines(config)[-1]
    assert (last["step"], last["monitor_alarm"]) == (alarmed, 1.0)
    assert last["monitor_gold_judge"] == seen[-1].gold["judge"].value
    assert not list(out.glob("watched*"))


class Moody:
    """Rewards every other character, more or less; how much more it draws as anything in the process might."""

    name, weight = "even", 1.0

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """A share, and up to a half."""
        even = [sum(ord(c) % 2 == 0 for c in done.text) / max(1, len(done.text)) for _, done in items]
        return [share + noise / 2 for share, noise in zip(even, torch.rand(len(items)).tolist(), strict=True)]


@pytest.mark.parametrize(("kind", "settings"), [("grpo", {"epochs": 2}), ("rloo", {"lora": {"rank": 2}})])
def test_a_quiet_monitor_changes_nothing(kind: str, settings: dict[str, Any], make: Any, monkeypatch: Any):
    monkeypatch.setattr("trainer.runs.groups.opened", lambda _: [Moody()])
    quiet = {"judge": None, "every": 2}
    seen, alone = make(kind, "seen", quiet, steps=3, **settings), make(kind, "alone", None, steps=3, **settings)
    done = [events_of(config)[-1] for config in (seen, alone)]
    assert [each["ended_by"] for each in done] == ["all steps", "all steps"]
    assert [each.step for each in read_observations(seen.output)] == [0, 2, 3]
    assert _weights(seen) == _weights(alone)
    plain = [{name: value for name, value in line.items() if "monitor" not in name} for line in _lines(seen)]
    assert plain == _lines(alone)
    assert not (alone.output / "monitor.json").exists()


def test_a_watched_run_that_was_killed_ends_as_if_it_had_not_been(make: Any, tmp_path: Path):
    quiet = {"every": 2, "stop": False}
    whole = make("grpo", "whole", quiet)
    again = make("grpo", "again", quiet, state=tmp_path / "state", save_every=2)
    events_of(whole)
    with pytest.raises(KeyboardInterrupt):
        events_of(again, stop_at=3)
    assert list((tmp_path / "state").glob("best-*.safetensors"))
    events_of(again)
    assert _observed(whole) == _observed(again)
    assert _lines(whole) == _lines(again)
    assert _weights(whole) == _weights(again)
    found = [read_summary(config.output) for config in (whole, again)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].published == found[1].published


def test_a_run_that_was_killed_after_its_alarm_trains_no_further(make: Any, tmp_path: Path, monkeypatch: Any):
    settings: dict[str, Any] = {"steps": 12, "beta": 0.0, "learning_rate": 2e-2}
    whole = make("grpo", "whole", {"samples": 4}, **settings)
    again = make("grpo", "again", {"samples": 4}, **settings, state=tmp_path / "state", save_every=50)
    events_of(whole)

    def killed(_: Watch) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Watch, "published", killed)
        with pytest.raises(KeyboardInterrupt):
            events_of(again)
    events = events_of(again)
    assert not [event for event in events if event["event"] == "observation"]
    assert events[-1]["ended_by"] == "alarm"
    assert _observed(whole) == _observed(again)
    assert _lines(whole) == _lines(again)
    assert _weights(whole) == _weights(again)


def test_adapters_are_watched_against_the_policy_without_them(make: Any, chat_model: Path):
    config = make("rloo", "out", {"stop": False, "every": 3}, steps=6, lora={"rank": 4}, beta=0.0)
    done = events_of(config)[-1]
    assert done["ended_by"] == "all steps"
    seen = read_observations(config.output)
    assert [each.step for each in seen] == [0, 3, 6]
    assert seen[0].kl_nats == 0.0
    assert seen[-1].distance > 0.1
    assert seen[0].perplexity == pytest.approx(seen[0].reference_perplexity)
    assert {each.reference_perplexity for each in seen} == {seen[0].reference_perplexity}
    assert seen[-1].perplexity != seen[-1].reference_perplexity
    base, out = (checkpoint.load(path, "model")[0].state_dict() for path in (chat_model, config.output))
    moved = any(not torch.equal(base[name], out[name]) for name in base)
    assert moved is (done["monitor"]["published"]["step"] > 0)
