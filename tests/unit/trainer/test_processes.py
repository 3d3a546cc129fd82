"""Two processes that share each batch do what one process does."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from solon.datasets import write_pairs
from solon.errors import InvalidInput
from tests.unit.trainer.conftest import MakePair
from tests.unit.trainer.fake_vllm import FakeVLLM, running
from tests.unit.trainer.trainings import configurations, steps, trained, written
from trainer import launch
from trainer.batches import LengthGroups, Shares
from trainer.config import DPOConfig

# TRL 1.16 still uses transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 12, 13])
@pytest.mark.parametrize("count", [2, 3])
def test_the_shares_of_all_processes_are_the_batches_of_one(rows: int, count: int):
    groups = LengthGroups([1 + i % 5 for i in range(rows)], batch_size=4, seed=0)
    parts = [list(Shares(groups, rank, count)) for rank in range(count)]
    together = [sorted(row for part in step for row in part) for step in zip(*parts, strict=True)]
    order = list(groups)
    alone = [sorted(order[i : i + 4]) for i in range(0, rows, 4)]
    if len(alone) > 1 and len(alone[-1]) < count:
        alone[-2:] = [sorted([*alone[-2], *alone[-1]])]
    assert together == alone
    assert all(len(part) == len(alone) == len(Shares(groups, 0, count)) for part in parts)
    assert rows < count or all(step for part in parts for step in part)


def test_the_launcher_starts_what_was_asked_for_on_the_loopback_and_restarts_nothing():
    values: dict[str, Any] = {"type": "dpo", "model": Path("m"), "pairs": Path("p"), "output": Path("o")}
    plain = launch.command(DPOConfig(**values, processes=3), Path("c.json"))
    assert plain[1:3] == ["-m", "torch.distributed.run"]
    assert plain[plain.index("--nproc-per-node") + 1] == "3"
    assert plain[plain.index("--max-restarts") + 1] == "0"
    assert plain[plain.index("--local-addr") + 1] == "127.0.0.1"
    sharded = launch.command(DPOConfig(**values, processes=2, sharding="zero3"), Path("c.json"))
    assert Path(sharded[sharded.index("--config_file") + 1]).is_file()
    assert launch.environment(DPOConfig(**values, processes=2), 3, Path("code"))["OMP_NUM_THREADS"] == "3"


def test_deepspeed_that_is_not_there_is_named_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launch, "find_spec", lambda _: None)
    config = DPOConfig(type="dpo", model=Path("m"), pairs=Path("p"), output=Path("o"), processes=2, sharding="zero2")
    with pytest.raises(InvalidInput, match="zero2 needs DeepSpeed"), (tmp_path / "events").open("w") as events:
        launch.launch(config, None, Path("c.json"), events)


@pytest.mark.parametrize("name", ["fsdp2", "zero2", "zero3"])
def test_the_shipped_configurations_are_accelerate_s(name: str):
    from accelerate.commands.config import load_config_from_file

    config: Any = load_config_from_file(str(launch.SHARDING / f"{name}.yaml"))
    kind = str(config.distributed_type).rpartition(".")[2]
    assert kind == ("FSDP" if name == "fsdp2" else "DEEPSPEED")
    if name == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
    else:
        assert config.deepspeed_config["zero_stage"] == int(name[-1])


@pytest.fixture(scope="module")
def rollouts(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, Any]]:
    """A server that writes the completions of the chat model under its adapters."""
    with running(FakeVLLM(chat_model)) as url:
        yield {"model": "fake", "endpoint": url, "adapter_dir": str(tmp_path_factory.mktemp("adapters"))}


@pytest.fixture(scope="module")
def configs(
    chat_model: Path, rollouts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    found = configurations(tmp_path_factory.mktemp("data"), chat_model)
    return found | {"ppo-served": {**found["ppo"], "lora": {"rank": 2}, "rollouts": rollouts}}


@pytest.fixture(scope="module")
def together(
    configs: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """What two processes made of each configuration, in one launch: the folder, and the events."""
    folder = tmp_path_factory.mktemp("two")
    files = [written(folder, name, {**config, "processes": 2}) for name, config in configs.items()]
    start = ["torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "0", "--standalone"]
    module = ["-m", "tests.unit.trainer.trainings", *map(str, files)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *start, "--local-addr", "127.0.0.1", *module],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, {file.stem: json.loads(file.with_suffix(".events").read_text()) for file in files}


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["sft", "reward", "dpo", "dpo-hard", "kto", "grpo", "rloo", "grpo-watched", "ppo", "ppo-watched", "ppo-served"],
)
def test_two_processes_train_as_one_does(
    name: str, configs: dict[str, dict[str, Any]], together: tuple[Path, dict[str, Any]], tmp_path: Path
):
    folder, events = together
    alone = steps(trained(written(tmp_path, name, configs[name])))
    both = steps(events[name])
    assert len(alone) == len(both) > 1
    told = "value_loss" if name.startswith("ppo") else "loss"
    for one, two in zip(alone, both, strict=True):
        # Shares count tokens on one side of a bound, which rounding alone may change.
        shared = {key for key in one.keys() & two.keys() if "seconds" not in key and "share" not in key}
        assert told in shared
        assert ("monitor_kl" in shared) is name.endswith("watched")
        for key in shared:
            assert two[key] == pytest.approx(one[key], abs=1e-4), key
    ends = [load_file(path / f"{name}-out" / "model.safetensors") for path in (tmp_path, folder)]
    for key, weight in ends[0].items():
        assert torch.allclose(weight.float(), ends[1][key].float(), atol=1e-3), key
    about = json.loads((folder / f"{name}-out" / "provenance.json").read_text())
    assert about["processes"] == 2


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.long
def test_a_child_that_is_to_be_two_starts_both_and_tells_one_story(
    chat_model: Path, make_pair: MakePair, tmp_path: Path
):
    write_pairs(tmp_path / "p.jsonl", [make_pair(f"p{i}", a=f"yes {i}", b=f"no {i}") for i in range(8)])
    values = {"type": "dpo", "model": str(chat_model), "pairs": str(tmp_path / "p.jsonl"), "batch_size": 4}
    file = written(tmp_path, "c", {**values, "processes": 2, "epochs": 1.0})
    done = subprocess.run(
        [sys.executable, "-m", "trainer.run", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["step"] for event in events if event["event"] == "progress"] == [1, 2]
    assert events[-1]["event"] == "done"
    again = subprocess.run(
        [sys.executable, "-m", "trainer.run", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert again.returncode == 2
    assert "exists already" in again.stdout


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.long
def test_weights_that_are_not_shared_out_as_asked_fail_the_run(chat_model: Path, make_pair: MakePair, tmp_path: Path):
    if torch.cuda.is_available():
        pytest.skip("an accelerator does share them out")
    write_pairs(tmp_path / "p.jsonl", [make_pair(f"p{i}", a=f"yes {i}", b=f"no {i}") for i in range(4)])
    values = {"type": "dpo", "model": str(chat_model), "pairs": str(tmp_path / "p.jsonl"), "batch_size": 4}
    file = written(tmp_path, "c", {**values, "processes": 2, "sharding": "fsdp2"})
    done = subprocess.run(
        [sys.executable, "-m", "trainer.run", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr[-3000:]
    errors = [json.loads(line) for line in done.stdout.splitlines() if '"error"' in line]
    assert {error["field"] for error in errors} == {"sharding"}
    assert not (tmp_path / "c-out").exists()
