"""Checkpoints of a run: everything that the rest of it depends on, so that a killed run ends as if it had not been.

STATE/step-12/            after 12 steps: weights (safetensors), optimisers, prices, random state, metrics so far
STATE/experience-12.pt    what step 13 sampled, while it is learnt from: judges are not asked twice
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer import processes
from trainer.hardware import device
from trainer.monitor.watch import Watch
from trainer.ppo.networks import Networks
from trainer.ppo.prices import Prices
from trainer.ppo.rollout import Experience
from trainer.ppo.update import Update
from trainer.random_state import random_state, set_random_state

Metrics = list[dict[str, float]]


class States:
    """The checkpoints in a directory."""

    def __init__(
        self, folder: Path, networks: Networks, update: Update, prices: Prices, watch: Watch | None = None
    ) -> None:
        self._folder, self._networks, self._update, self._prices = folder, networks, update, prices
        self._watch = watch

    def restore(self) -> Metrics:
        """Put all back as it was after the last checkpoint; the metrics of the steps so far, none of a new run."""
        found = sorted(self._folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
        if not found:
            return []
        last = found[-1]
        weights = load_file(last / "weights.safetensors", device=str(device()))
        with torch.no_grad():
            for name, parameter in _parameters(self._networks).items():
                parameter.copy_(weights[name])
        kept: dict[str, Any] = torch.load(last / "run.pt", map_location=device(), weights_only=True)
        for name, optimiser in self._update.optimisers.items():
            optimiser.load_state_dict(kept["optimisers"][name])
        set_random_state(kept["random"][processes.rank()])
        about: dict[str, Any] = json.loads((last / "run.json").read_text(encoding="utf-8"))
        self._prices.restore(about["prices"])
        if self._watch is not None:
            self._watch.restore(about["watch"])
        return about["metrics"]

    def save(self, metrics: Metrics) -> None:
        """Keep the state after `len(metrics)` steps, and only that; the first process writes, for all of them."""
        randoms = processes.gathered(random_state())
        if processes.is_first():
            self._write(metrics, randoms)
        processes.wait()

    def _write(self, metrics: Metrics, randoms: list[dict[str, Any]]) -> None:
        name = f"step-{len(metrics)}"
        scratch = self._folder / f".{name}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        weights = {name: parameter.detach().contiguous() for name, parameter in _parameters(self._networks).items()}
        save_file(weights, scratch / "weights.safetensors")
        optimisers = {name: optimiser.state_dict() for name, optimiser in self._update.optimisers.items()}
        torch.save({"optimisers": optimisers, "random": randoms}, scratch / "run.pt")
        about: dict[str, Any] = {"prices": self._prices.as_state(), "metrics": metrics}
        if self._watch is not None:
            about["watch"] = self._watch.as_state()
        (scratch / "run.json").write_text(json.dumps(about), encoding="utf-8")
        older = [*self._folder.glob("step-*")]
        scratch.rename(self._folder / name)
        for path in older:
            shutil.rmtree(path)
        if self._watch is not None:
            self._watch.settle()

    def save_experience(self, experience: Experience, step: int) -> None:
        """Keep what a step (from 0) sampled, and only that; the first process writes."""
        if processes.is_first():
            scratch = self._folder / ".experience.pt"
            torch.save(experience.as_state(), scratch)
            older = [*self._folder.glob("experience-*.pt")]
            scratch.rename(self._folder / f"experience-{step}.pt")
            for path in older:
                path.unlink()
        processes.wait()

    def experience(self, step: int) -> Experience | None:
        """What an earlier try sampled in this step (from 0)."""
        path = self._folder / f"experience-{step}.pt"
        if not path.is_file():
            return None
        kept: dict[str, Any] = torch.load(path, map_location=device(), weights_only=True)
        return Experience(**kept)


def _parameters(networks: Networks) -> dict[str, Tensor]:
    return {f"{part}.{name}": parameter for part, named in networks.trained().items() for name, parameter in named}
