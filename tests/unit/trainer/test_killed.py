"""A training of any method that is killed and started again ends as one that was left alone."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.trainer.trainings import configurations, steps, trained, written

# TRL 1.16 still uses transformers' old name.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.long,
]

torch.set_num_threads(1)

ROOT = Path(__file__).parents[3]
KILLED_AT = {
    "sft": 4, "reward": 3, "dpo": 2, "dpo-hard": 2, "kto": 2, "grpo": 2, "rloo": 2, "grpo-watched": 2, "ppo": 2,
}  # fmt: skip
"""Steps at which something was saved before and something is left to do."""


@pytest.mark.parametrize("name", KILLED_AT)
def test_a_training_that_was_killed_ends_in_the_same_weights(name: str, chat_model: Path, tmp_path: Path):
    config = configurations(tmp_path, chat_model)[name] | {"save_every": 1}
    if "steps" in config:
        config["steps"] = 3
    folders = [tmp_path / "alone", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    alone, killed = (written(folder, name, {**config, "state": str(folder / "state")}) for folder in folders)
    whole = steps(trained(alone))
    assert len(whole) > KILLED_AT[name]

    command = [sys.executable, "-m", "tests.unit.trainer.trainings", "--kill-at", str(KILLED_AT[name]), str(killed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    output = tmp_path / "killed" / f"{name}-out"
    assert not output.exists()
    state = tmp_path / "killed" / "state"
    assert list(state.iterdir())
    for name_of_last in [path.name for path in state.glob("checkpoint-*")]:
        half_saved(state / name_of_last, state / "checkpoint-99")

    events = trained(killed)
    assert _timeless(steps(events)[-1]) == _timeless(whole[-1])
    first, second = (load_file(path / "model.safetensors") for path in (tmp_path / "alone" / f"{name}-out", output))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def half_saved(whole: Path, out: Path) -> None:
    """A checkpoint as a process leaves it that is killed while it saves."""
    shutil.copytree(whole, out, ignore=lambda *_: ["trainer_state.json", "rng_state.pth"], dirs_exist_ok=True)


def _timeless(metrics: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if "seconds" not in key}
