"""The observations of a run: its alarm, and the weights that were best by the gold."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from solon.errors import TrainingFailed
from solon.records import Completion
from trainer import processes
from trainer.config import MonitorConfig
from trainer.monitor.alarm import Limits, alarm, best
from trainer.monitor.inspection import Inspection
from trainer.monitor.observations import Observation
from trainer.monitor.summary import summary

Emit = Callable[..., None]


class Watch:
    """Watches a run. All it knows is in `as_state`, besides the weights, which are in its folder.

    Of several processes the first looks and keeps weights; all hear what it saw.
    """

    def __init__(
        self,
        config: MonitorConfig,
        inspection: Inspection,
        weights: Callable[[], Mapping[str, Tensor]],
        folder: Path,
        emit: Emit,
    ) -> None:
        """Args:
        weights: what the training changes, by name; the tensors themselves.
        folder: keeps the best of them.
        """
        self._config, self._inspection, self._weights = config, inspection, weights
        self._folder, self._emit = folder, emit
        self._limits = Limits(standard_errors=config.standard_errors, max_compliance_loss=config.max_compliance_loss)
        self.seen: list[Observation] = []
        self.alarm: dict[str, Any] | None = None
        """The first one: `step` and `message`."""

    @property
    def stopped(self) -> bool:
        """Whether the run is to end."""
        return self.alarm is not None and self._config.stop

    def begin(self) -> None:
        """Look before the first step, unless a checkpoint holds what was seen then."""
        if processes.is_first():
            self._inspection.begin(self._inspection.written)
        if not self.seen:
            self._look(0)

    def after(self, step: int, *, last: bool) -> dict[str, float]:
        """Look after a step, where it is time; the metrics of it."""
        if step % self._config.every and not last:
            return {}
        self._look(step)
        if self.alarm is None and (message := alarm(self.seen, self._limits)) is not None:
            self.alarm = {"step": step, "message": message}
            self._emit("alarm", **self.alarm)
        return self.metrics(step)

    def metrics(self, step: int) -> dict[str, float]:
        """What was seen after a step, and the alarm, which is 1 from where one went off; empty where nobody looked."""
        seen = next((each for each in self.seen if each.step == step), None)
        if seen is None:
            return {}
        return seen.metrics() | {"monitor_alarm": float(self.alarm is not None and self.alarm["step"] <= step)}

    def _look(self, step: int) -> None:
        seen = processes.made_by_first(lambda: self._inspection.observe(step))
        if wrong := [name for name, value in seen.metrics().items() if not math.isfinite(value)]:
            raise TrainingFailed(f"{wrong[0]} is not finite after step {step}", remedy="lower learning_rate")
        self.seen.append(seen)
        self._emit("observation", step=step, metrics=seen.metrics())
        if processes.is_first() and best(self.seen) is seen:
            self._folder.mkdir(parents=True, exist_ok=True)
            kept = {name: tensor.detach().contiguous() for name, tensor in self._weights().items()}
            save_file(kept, self._file(step))

    def settle(self) -> None:
        """Drop weights that a run which goes on from here cannot need."""
        if not processes.is_first():
            return
        kept = best(self.seen)
        for file in self._folder.glob("best-*.safetensors"):
            if kept is None or file != self._file(kept.step):
                file.unlink()

    def published(self) -> dict[str, Any]:
        """Put the weights that become the model in place, in the process that publishes; which these are and why."""
        chosen, last = best(self.seen), self.seen[-1]
        if chosen is None or self._config.publish == "last" or chosen is last:
            return {"step": last.step, "because": "the last" if chosen is not last else "the last, and the best"}
        if processes.is_first():
            weights = load_file(self._file(chosen.step))
            with torch.no_grad():
                for name, tensor in self._weights().items():
                    tensor.copy_(weights[name])
        gold = chosen.decisive_gold
        return {
            "step": chosen.step,
            "last_step": last.step,
            "because": f"the best {chosen.decisive} of {len(self.seen)} observations",
            "gold": gold.value if gold is not None else None,
        }

    def _file(self, step: int) -> Path:
        return self._folder / f"best-{step}.safetensors"

    def as_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "seen": [each.model_dump(mode="json") for each in self.seen],
            "written": [each.model_dump(mode="json") for each in self._inspection.written],
            "alarm": self.alarm,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be as when `as_state` gave this."""
        self.seen = [Observation.model_validate(each) for each in state["seen"]]
        self._inspection.written = [Completion.model_validate(each) for each in state["written"]]
        self.alarm = state["alarm"]

    def write(self, out: Path, published: Mapping[str, Any]) -> dict[str, Any]:
        """Leave monitor.jsonl, an observation a line, and monitor.json, the summary, which is returned."""
        lines = (each.model_dump_json() + "\n" for each in self.seen)
        (out / "monitor.jsonl").write_text("".join(lines), encoding="utf-8")
        found = summary(self.seen, self.alarm, published)
        (out / "monitor.json").write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return found.model_dump(mode="json")
