"""Dry runs of trainings, model cards, and trackers."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from trl.trainer.dpo_config import DPOConfig as TRLConfig

from solon.datasets import write_pairs
from solon.errors import InvalidInput
from tests.unit.trainer.conftest import MakePair
from trainer import checkpoint, plan
from trainer.config import DPOConfig, DPOMethod, GRPOMethod, PlanConfig, PlannedTraining, PPOMethod, parse
from trainer.runs import dpo, records
from trainer.runs import plan as plan_run
from trainer.trl_run import trl_arguments

# TRL 1.16 still uses transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)

SIZE = plan.Size(parameters=1_000_000, layers=2, width=64, heads=2, vocabulary=500)


def _planned(method: Any, kind: Any = "dpo", rows: int = 100) -> PlannedTraining:
    return PlannedTraining(name=f"01-{kind}", kind=kind, method=method, rows=rows, tokens=50)


def test_a_plan_counts_steps_and_tokens_over_all_passes():
    found = plan.plan(_planned(DPOMethod(batch_size=16, epochs=2.0)), SIZE, 1e-3)
    assert (found.steps, found.tokens) == (14, 2 * 2 * 100 * 50)
    assert found.seconds == pytest.approx(20.0)
    online = plan.plan(_planned(GRPOMethod(steps=3, minibatch=32, epochs=2), "grpo"), SIZE, None)
    assert (online.steps, online.tokens, online.seconds) == (12, 3 * 64 * 2 * 50, None)
    assert online.why_no_time
    accumulating = DPOMethod(batch_size=16, epochs=1.0, trl={"gradient_accumulation_steps": 2})
    assert plan.plan(_planned(accumulating, rows=46), SIZE, None).steps == 2  # as TRL did of 46 pairs


def test_memory_grows_with_a_critic_and_shrinks_with_adapters_and_shards():
    plain = plan.plan(_planned(DPOMethod()), SIZE, None).memory_mib
    critic = plan.plan(_planned(PPOMethod(), "ppo"), SIZE, None).memory_mib
    adapted = plan.plan(_planned(DPOMethod.model_validate({"lora": {"rank": 4}})), SIZE, None).memory_mib
    shared = plan.plan(_planned(DPOMethod(processes=4, sharding="zero3")), SIZE, None).memory_mib
    assert critic > plain > adapted
    assert plain > shared


def test_the_size_of_a_network_is_read_without_its_weights(chat_model: Path, tmp_path: Path):
    network, _ = checkpoint.load(chat_model, "model")
    (tmp_path / "config.json").write_bytes((chat_model / "config.json").read_bytes())
    size = plan.Size.of(tmp_path)
    assert size.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert (size.layers, size.width) == (2, 32)


def test_a_dry_run_times_a_step_and_names_a_wrong_argument(chat_model: Path, tmp_path: Path):
    values = {"type": "plan", "model": chat_model, "output": tmp_path / "nothing"}
    events: list[dict[str, Any]] = []
    config = PlanConfig.model_validate(values | {"trainings": [_planned(DPOMethod())]})
    assert parse(config.model_dump_json()) == config
    plan_run.run(config, lambda event, **fields: events.append(fields))
    (found,) = events[0]["plans"]
    assert found["seconds"] > 0
    assert not (tmp_path / "nothing").exists()
    wrong = _planned(DPOMethod(trl={"weight_dekay": 0.1}))
    with pytest.raises(InvalidInput) as caught:
        plan_run.run(PlanConfig.model_validate(values | {"trainings": [wrong]}), lambda *_, **__: None)
    assert caught.value.field == "01-dpo.trl.weight_dekay"


@pytest.mark.parametrize(
    ("settings", "field", "says"),
    [
        (
            {"trl": {"weight_decay": "abc"}},
            "trl.weight_decay",
            "'abc' is of a wrong type: Input should be a valid",
        ),
        ({"trl": {"eval_strategy": "steps"}}, "trl.eval_strategy", "no evaluation set"),
        ({"trl": {"lr_scheduler_type": "sideways"}}, "trl", "sideways"),
        ({"report_to": ["wandb"]}, "report_to", "wandb is not installed"),
        ({"processes": 2, "sharding": "zero2"}, "sharding", "on accelerators only"),
    ],
)
def test_what_could_not_run_is_told_by_the_dry_run(
    settings: dict[str, Any], field: str, says: str, chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(records, "find_spec", lambda _package: None)
    monkeypatch.setattr(plan_run, "device", lambda: torch.device("cpu"))
    planned = _planned(DPOMethod.model_validate(settings))
    config = PlanConfig(type="plan", model=chat_model, output=tmp_path / "out", trainings=[planned], measure=False)
    with pytest.raises(InvalidInput) as caught:
        plan_run.run(config, lambda *_, **__: None)
    assert caught.value.field == f"01-dpo.{field}"
    assert says in caught.value.message
    assert "01-dpo" not in caught.value.message
    assert caught.value.remedy


def test_a_check_alone_measures_nothing(chat_model: Path, tmp_path: Path):
    planned = _planned(DPOMethod(trl={"weight_decay": 0.1, "optim": "adamw_torch", "lr_scheduler_type": "constant"}))
    config = PlanConfig(type="plan", model=chat_model, output=tmp_path / "out", trainings=[planned], measure=False)
    events: list[tuple[str, dict[str, Any]]] = []
    plan_run.run(config, lambda event, **fields: events.append((event, fields)))
    assert events == [("done", {})]


def test_a_value_in_quotes_becomes_what_trl_takes(tmp_path: Path):
    given = SimpleNamespace(**DPOMethod(trl={"weight_decay": "1e-3"}).model_dump(), seed=0, state=None, save_every=1)
    assert trl_arguments(TRLConfig, cast(Any, given), tmp_path).weight_decay == 0.001


def test_a_model_has_a_card_and_its_steps_are_tracked(
    chat_model: Path, make_pair: MakePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    heard: list[tuple[int, dict[str, float]]] = []

    class Tracker:
        def log(self, values: dict[str, float], step: int) -> None:
            heard.append((step, values))

        def finish(self) -> None:
            heard.append((-1, {}))

    monkeypatch.setattr(records, "_tracker", lambda _name, _folder: Tracker())
    write_pairs(tmp_path / "p.jsonl", [make_pair(f"p{i}", a=f"yes {i}", b=f"no {i}") for i in range(4)])
    values = {"type": "dpo", "model": chat_model, "pairs": tmp_path / "p.jsonl", "output": tmp_path / "out"}
    dpo.run(DPOConfig.model_validate(values | {"report_to": ["tensorboard"]}), lambda *_, **__: None)
    assert [step for step, _ in heard] == [1, 2, -1]
    assert "reward_margin" in heard[0][1]
    card = (tmp_path / "out" / "README.md").read_text()
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())
    for told in ("Direct preference optimisation", facts["data"]["digest"], "| loss_type | sigmoid |", "reward_margin"):
        assert told in card
    assert facts["base_weights"]["model.safetensors"] in card
    assert not list((tmp_path / "out").glob("*.bin")) + list((tmp_path / "out").glob("*.pt"))


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path):
    pytest.importorskip("accelerate")
    try:
        import wandb  # noqa: F401  # pyright: ignore
    except ImportError:
        with (
            pytest.raises(InvalidInput, match="wandb is not installed"),
            records.curve(tmp_path / "m.jsonl", lambda *_, **__: None, ["wandb"]),
        ):
            pass
