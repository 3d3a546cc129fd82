"""What a run tells and leaves beside its result: events, its curve, what was left out, and its provenance."""

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, TypeVar

from solon.datasets import read_manifest
from solon.errors import InvalidInput, NotFound
from trainer.config import Child
from trainer.launch import is_first
from trainer.runs.cards import card

Emit = Callable[..., None]
"""Writes one event: a name and its fields."""

_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",), "wandb": ("wandb",)}

T = TypeVar("T")


def within(max_length: int, model: Any) -> int:
    """`max_length`, or the model's context where that is shorter."""
    return min(max_length, getattr(model.config, "max_position_embeddings", None) or max_length)


def keep(items: Iterable[T | str], drops: Counter[str]) -> list[T]:
    """What was encoded; a reason (text) is counted instead."""
    kept: list[T] = []
    for item in items:
        if isinstance(item, str):
            drops[item] += 1
        else:
            kept.append(item)
    return kept


def require(
    kept: Iterable[Any], read: int, what: str, drops: Counter[str], remedy: str, purpose: str = "trained on"
) -> None:
    """Raise InvalidInput, naming the field `what` and the reasons, where nothing was kept."""
    if not any(True for _ in kept):
        spelt = ", ".join(f"{count} {reason}" for reason, count in drops.most_common()) or "there is no row"
        raise InvalidInput(f"none of the {read} {what} can be {purpose}: {spelt}", field=what, remedy=remedy)


class Curve:
    """Forwards each step as an event and keeps it as a line of metrics.jsonl."""

    def __init__(self, file: IO[str], emit: Emit, trackers: Sequence[Any] = ()) -> None:
        self._file, self._emit, self._trackers = file, emit, trackers
        self.last: dict[str, float] = {}
        self.step = 0
        """The last one that is done."""

    def __call__(self, step: int, max_steps: int, metrics: dict[str, float]) -> None:
        """One step is done."""
        self.last, self.step = metrics, step
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._emit("progress", step=step, max_steps=max_steps, metrics=metrics)
        for tracker in self._trackers:
            tracker.log(dict(metrics), step=step)


@contextmanager
def curve(path: Path, emit: Emit, report_to: Sequence[str] = ()) -> Generator[Curve]:
    """A curve that writes to `path` and tells trackers: TensorBoard beside it, Trackio and W&B where their own
    configuration says."""
    trackers = [_tracker(name, path.parent) for name in report_to] if is_first() else []
    with path.open("w", encoding="utf-8") as file:
        try:
            yield Curve(file, emit, trackers)
        finally:
            for tracker in trackers:
                tracker.finish()


def require_trackers(names: Iterable[str]) -> None:
    """Raise InvalidInput where the package of one of these trackers is not installed."""
    for name in names:
        if not any(find_spec(package) for package in _PACKAGES[name]):
            raise InvalidInput(f"{name} is not installed", field="report_to", remedy=f"pip install {name}")


def _tracker(name: str, folder: Path) -> Any:
    """accelerate's tracker of this name; InvalidInput where its package is not installed."""
    from accelerate import PartialState, tracking

    PartialState()
    kinds = {
        "tensorboard": (tracking.TensorBoardTracker, {"logging_dir": str(folder)}),
        "trackio": (tracking.TrackioTracker, {}),
        "wandb": (tracking.WandBTracker, {}),
    }
    kind, options = kinds[name]
    try:
        tracker: Any = kind("solon" if name != "tensorboard" else "tensorboard", **options)
        if hasattr(tracker, "start"):
            tracker.start()
    except (ImportError, ModuleNotFoundError) as error:
        raise InvalidInput(
            f"{name} is not installed: {error}", field="report_to", remedy=f"pip install {name}"
        ) from error
    return tracker


def manifest(pairs: Path) -> dict[str, Any] | None:
    """The manifest of the pairs, None where they have none; InvalidInput when it describes other data."""
    try:
        return read_manifest(pairs).model_dump(mode="json")
    except NotFound:
        return None


def provenance(config: Child, *, model: Path, data: Path) -> dict[str, Any]:
    """What made this output: configuration, digests of what went in, versions, and the precision."""
    from importlib.metadata import version

    import torch

    from solon import __version__
    from solon.formats import sha256_of
    from trainer import hardware, processes
    from trainer.bases import weights_digests

    return {
        "config": config.model_dump(mode="json"),
        "base_weights": weights_digests(model),
        "data": {"path": str(data), "digest": sha256_of(data)},
        "versions": {"solon": __version__, **{name: version(name) for name in ("torch", "transformers", "trl")}},
        "device": str(hardware.device()),
        "precision": "bfloat16" if hardware.takes_bfloat16(getattr(config, "precision", "auto")) else "float32",
        "threads": torch.get_num_threads(),
        "processes": processes.count(),
    }


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """What made a model, beside it: as JSON, and as its card."""
    write_json(folder / "provenance.json", facts)
    (folder / "README.md").write_text(card(facts), encoding="utf-8")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """The value as indented JSON."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
