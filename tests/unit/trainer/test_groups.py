"""GRPO and RLOO with our rewards and sampler: what is learnt, what is told, stopping and going on."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.errors import InvalidInput, TrainingFailed
from solon.records import Message, Prompt
from trainer import groups
from trainer.config import GRPOConfig, RLOOConfig, parse
from trainer.groups import Rounds
from trainer.rewards.mix import FAILED, Item
from trainer.run import run

# TRL 1.16 still uses transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)

KINDS = {"grpo": GRPOConfig, "rloo": RLOOConfig}


class Even:
    """Rewards every other character."""

    name, weight = "even", 10.0

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """The share of characters with an even code."""
        return [sum(ord(c) % 2 == 0 for c in done.text) / max(1, len(done.text)) for _, done in items]


class Choosy:
    """Has something to say of some prompts only, and fails at others."""

    name, weight = "choosy", 1.0

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """None for even ids, FAILED for id 1, else 0.5."""
        return [None if int(p.id) % 2 == 0 else FAILED if p.id == "1" else 0.5 for p, _ in items]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    rows = [Prompt(id=f"{i}", messages=(Message(role="user", content=f"{'why ' * (i % 3)}{i}?"),)) for i in range(6)]
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    return path


@pytest.fixture
def rewarded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    sources: list[Any] = [Even()]
    monkeypatch.setattr("trainer.runs.groups.opened", lambda _: sources)
    return sources


def _config(kind: str, model: Path, prompts: Path, **settings: Any) -> Any:
    values: dict[str, Any] = {"steps": 4, "prompts_per_step": 2, "completions": 4, "minibatch": 4, "max_tokens": 12}
    values |= {"type": kind, "model": model, "prompts": prompts, "output": prompts.with_name("out")}
    values |= {"rewards": [{"type": "service", "url": "http://localhost:1", "name": "even"}], "learning_rate": 3e-3}
    values |= {"precision": "float32"}
    return KINDS[kind].model_validate(values | settings)


def _steps(config: Any) -> list[dict[str, float]]:
    events: list[dict[str, Any]] = []
    run(config, lambda event, **fields: events.append({"event": event, **fields}))
    assert [event["step"] for event in events if event["event"] == "progress"] == list(range(1, config.steps + 1))
    assert (config.output / "model.safetensors").is_file()
    return [event["metrics"] for event in events if event["event"] == "progress"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_policy_learns_to_earn_and_says_what_it_costs(
    kind: str, chat_model: Path, prompts: Path, rewarded: list[Any]
):
    settings = {"steps": 20, "prompts_per_step": 4, "minibatch": 16, "learning_rate": 1e-2, "missing_eos_penalty": 0.0}
    steps = _steps(_config(kind, chat_model, prompts, **settings))
    early, late = (sum(step["reward_even"] for step in part) / 5 for part in (steps[:5], steps[-5:]))
    assert late > early + 0.1
    assert steps[0]["kl"] == pytest.approx(0.0, abs=1e-4)
    assert steps[-1]["kl"] > 0.1
    assert {"loss", "reward", "reward_even", "reward_missing_eos", "kl", "tokens", "unfinished", "failed"} <= steps[
        0
    ].keys()
    assert steps[0]["reward"] == pytest.approx(10 * steps[0]["reward_even"], rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings"), [("grpo", {"epochs": 2}), ("rloo", {"lora": {"rank": 2}, "micro_batch": 2})]
)
def test_a_killed_run_that_goes_on_ends_in_the_same_bytes(
    kind: str, settings: dict[str, Any], chat_model: Path, prompts: Path, rewarded: list[Any]
):
    whole = _config(kind, chat_model, prompts, output=prompts.with_name("whole"), **settings)
    _steps(whole)

    class Stop(Exception):
        """The machine is gone."""

    def killed(event: str, **fields: Any) -> None:
        if fields.get("step") == 3:
            raise Stop

    config = _config(kind, chat_model, prompts, state=prompts.with_name("state"), save_every=1, **settings)
    with pytest.raises(Stop):
        run(config, killed)
    _steps(config)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (config.output / name).read_bytes() == (whole.output / name).read_bytes(), name


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_does_not_apply_is_left_out_of_the_sum_and_what_failed_out_of_the_group(
    kind: str, chat_model: Path, prompts: Path, rewarded: list[Any]
):
    rewarded.append(Choosy())
    (only,) = _steps(_config(kind, chat_model, prompts, steps=1, prompts_per_step=6, minibatch=24, max_failed=0.5))
    assert only["failed"] == pytest.approx(1 / 6)
    assert only["reward_choosy"] == pytest.approx(0.5)
    with pytest.raises(TrainingFailed, match="no reward"):
        _steps(
            _config(
                kind,
                chat_model,
                prompts,
                steps=1,
                prompts_per_step=6,
                minibatch=24,
                output=prompts.parent / "x",
                max_failed=0.1,
            )
        )


def test_a_failure_moves_no_advantage(chat_model: Path, prompts: Path, rewarded: list[Any], monkeypatch: Any):
    rewarded[:] = [Choosy()]
    seen: list[tuple[str, float]] = []
    inner = groups.OwnRollouts._generate_and_score_completions

    def spied(self: Any, inputs: Any) -> Any:
        found = inner(self, inputs)
        ids = [self.task.asked[row][0].id for row in self._rows]
        seen.extend(zip(ids, found["advantages"].tolist(), strict=True))
        return found

    monkeypatch.setattr(groups.OwnRollouts, "_generate_and_score_completions", spied)
    _steps(_config("grpo", chat_model, prompts, steps=1, prompts_per_step=6, minibatch=24, max_failed=0.9))
    assert {advantage for id, advantage in seen if int(id) % 2 == 0 or id == "1"} == {0.0}


def test_a_model_without_a_pad_token_of_its_own_learns_to_end(story_model: Path, prompts: Path, rewarded: list[Any]):
    class Short:
        name, weight = "short", 1.0

        def scores(self, items: Sequence[Item]) -> list[float | None]:
            return [1.0 if done.finish_reason == "stop" else 0.0 for _, done in items]

    rewarded[:] = [Short()]
    settings = {"steps": 14, "prompts_per_step": 4, "completions": 8, "minibatch": 32, "learning_rate": 2e-2}
    steps = _steps(_config("rloo", story_model, prompts, max_tokens=24, **settings))
    early, late = (sum(step["unfinished"] for step in part) / 5 for part in (steps[:5], steps[-5:]))
    assert late < early - 0.2


def test_each_round_asks_whole_groups_of_the_next_prompts():
    config = _config("grpo", Path("m"), Path("p"), steps=3, prompts_per_step=4, minibatch=8)
    batches = list(Rounds(config, 6, 2))
    assert len(batches) == 6
    assert batches[0] == batches[1]
    asked = [row for batch in batches[::2] for row in batch[::4]]
    assert sorted(asked[:6]) == sorted(asked[6:]) == list(range(6))
    assert all(batch[i] == batch[i - i % 4] for batch in batches for i in range(16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minibatch": 6}, "divide `prompts_per_step`"),
        ({"minibatch": 16, "completions": 8, "processes": 4}, "whole groups"),
        ({"minibatch": 16, "micro_batch": 5}, "`micro_batch` must divide"),
        ({"trl": {"scale_rewards": "group"}}, "set by Solon"),
        ({"rewards": [{"type": "service", "url": "http://x", "name": "missing_eos"}]}, "missing_eos"),
        ({"processes": 2, "sharding": "zero2", "monitor": {"prompts": "p"}}, "`monitor` needs all weights"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_the_reason(change: dict[str, Any], message: str):
    minimal = {"type": "grpo", "model": "m", "prompts": "p", "output": "o"}
    minimal |= {"rewards": [{"type": "service", "url": "http://x", "name": "judge"}]}
    with pytest.raises(InvalidInput, match=message):
        parse(json.dumps(minimal | change))
    assert math.isclose(GRPOConfig.model_validate(minimal).beta, 0.05)
