"""Two processes that share each batch do what one process does."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from solon.datasets import write_pairs
from solon.records import Completion, Message, Prompt
from tests.unit.trainer.conftest import MakePair
from tests.unit.trainer.on_two_processes import trained
from trainer import launch
from trainer.batches import LengthGroups, Shares
from trainer.config import DPOConfig
from trainer.data import Sample, write_samples

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
def configs(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """A configuration of each method, on data with an incomplete last batch."""
    folder = tmp_path_factory.mktemp("data")
    rows = [Prompt(id=f"{i}", messages=(Message(role="user", content=f"{'why ' * (i % 3)}{i}?"),)) for i in range(10)]
    (folder / "prompts.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    texts = ["yes " * (1 + i % 4) for i in range(10)]
    samples = [Sample(prompt=row, completion=Completion(text=text)) for row, text in zip(rows, texts, strict=True)]
    write_samples(folder / "rows.jsonl", samples)
    common: dict[str, Any] = {"model": str(chat_model), "learning_rate": 1e-3, "seed": 3}
    pairs = {**common, "pairs": str(folder / "pairs.jsonl"), "batch_size": 6}
    reward = [{"type": "service", "url": "http://localhost:1", "name": "even"}]
    online = {**common, "prompts": str(folder / "prompts.jsonl"), "rewards": reward, "steps": 2, "max_tokens": 8}
    groups = {**online, "prompts_per_step": 4, "completions": 2, "minibatch": 4, "epochs": 2}
    return {
        "sft": {**common, "type": "sft", "rows": str(folder / "rows.jsonl"), "batch_size": 4, "epochs": 2.0},
        "reward": {**pairs, "type": "reward", "held_out": 0.0, "epochs": 2.0},
        "dpo": {**pairs, "type": "dpo", "sft_weight": 0.1},
        "dpo-hard": {**pairs, "type": "dpo", "loss_type": "apo_zero", "soft_labels": False},
        "kto": {**pairs, "type": "kto"},
        "grpo": {**groups, "type": "grpo"},
        "rloo": {**groups, "type": "rloo"},
        "ppo": {**online, "type": "ppo", "episodes": 6, "minibatch": 4, "micro_batch": 2, "critic": "policy"},
    }


@pytest.fixture(scope="module")
def together(
    configs: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """What two processes made of each configuration, in one launch: the folder, and the events."""
    folder = tmp_path_factory.mktemp("two")
    make: Any = _make_pair()
    pairs = [make(i) for i in range(16)]
    write_pairs(Path(configs["dpo"]["pairs"]), pairs)
    files = [_written(folder, name, {**config, "processes": 2}) for name, config in configs.items()]
    start = ["torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "0", "--standalone"]
    module = ["-m", "tests.unit.trainer.on_two_processes", *map(str, files)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *start, "--local-addr", "127.0.0.1", *module],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, {file.stem: json.loads(file.with_suffix(".events").read_text()) for file in files}


def _make_pair() -> Any:
    from solon.records import PreferencePair, Provenance, Status

    def make(i: int) -> PreferencePair:
        provenance = Provenance(constitution="test", constitution_version="1.0.0", constitution_hash="sha256:0")
        p = 0.6 + 0.02 * i
        return PreferencePair(
            id=f"p{i}", status=Status.OK, p_a=p, chosen="a", p_chosen=p, provenance=provenance,
            prompt=Prompt(id=f"{i // 2}", messages=(Message(role="user", content=f"Is it {i // 2}?"),)),
            a=Completion(text=f"yes {i} " * (1 + i % 3)), b=Completion(text=f"no {i}"),
        )  # fmt: skip

    return make


def _written(folder: Path, name: str, config: dict[str, Any]) -> Path:
    file = folder / f"{name}.json"
    file.write_text(json.dumps({**config, "output": str(folder / f"{name}-out"), "threads": 1}))
    return file


def _steps(events: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    return [event["metrics"] for event in events if event["event"] == "progress"]


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.parametrize("name", ["sft", "reward", "dpo", "dpo-hard", "kto", "grpo", "rloo", "ppo"])
def test_two_processes_train_as_one_does(
    name: str, configs: dict[str, dict[str, Any]], together: tuple[Path, dict[str, Any]], tmp_path: Path
):
    folder, events = together
    alone = _steps(trained(_written(tmp_path, name, configs[name])))
    both = _steps(events[name])
    assert len(alone) == len(both) > 1
    told = "value_loss" if name == "ppo" else "loss"
    for one, two in zip(alone, both, strict=True):
        # Shares count tokens on one side of a bound, which rounding alone may change.
        shared = {key for key in one.keys() & two.keys() if not key.startswith("seconds") and "share" not in key}
        assert told in shared
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
    file = _written(tmp_path, "c", {**values, "processes": 2, "epochs": 1.0})
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
    file = _written(tmp_path, "c", {**values, "processes": 2, "sharding": "fsdp2"})
    done = subprocess.run(
        [sys.executable, "-m", "trainer.run", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr[-3000:]
    errors = [json.loads(line) for line in done.stdout.splitlines() if '"error"' in line]
    assert {error["field"] for error in errors} == {"sharding"}
    assert not (tmp_path / "c-out").exists()
