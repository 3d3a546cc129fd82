"""The training child: `python -m trainer.run CONFIG.json`.

Standard output carries events, one JSON object a line, and nothing else; what libraries print goes to standard error.

    {"event": "phase", "name": "train"}                                     what it is doing
    {"event": "progress", "step": 3, "max_steps": 60, "metrics": {...}}     after each step
    {"event": "done", ...}                                                  last line of a run that worked
    {"event": "error", "message": ..., "remedy": ..., "field": ...}         last line of one that did not

Exit codes: 0 done, 1 failed, 2 the configuration or its files are wrong. SIGTERM leaves nothing behind.
"""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from solon.datasets import read_manifest, read_pairs
from solon.errors import InvalidInput, NotFound, SolonError
from trainer.config import DPOConfig, KLConfig, read_config
from trainer.data import Encoder, TokenPair, examples, read_samples
from trainer.publishing import published

Emit = Callable[..., None]
"""Writes one event: a name and its fields."""

_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def _quiet(threads: int | None) -> None:
    """Set what torch and the hub libraries read at import: offline, no telemetry, no bars, so many threads."""
    os.environ.update(_QUIET)
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def run(config: DPOConfig | KLConfig, emit: Emit) -> None:
    """Do what the configuration says; the result is on disk when the `done` event is out."""
    _quiet(config.threads)
    emit("phase", name="load")
    if isinstance(config, DPOConfig):
        _dpo(config, emit)
    else:
        _kl(config, emit)


def _dpo(config: DPOConfig, emit: Emit) -> None:
    from trainer import checkpoint, dpo

    started = time.monotonic()
    drops: Counter[str] = Counter()
    rows, manifest = list(read_pairs(config.pairs)), _manifest(config.pairs)
    with published(config.output) as scratch:
        model, tokenizer = checkpoint.load(config.model, "model")
        encoder = Encoder(tokenizer, _within(config.max_length, model))
        seed = config.seed if config.shuffle_labels else None
        kept = examples(rows, drops, soft_labels=config.soft_labels, shuffle_seed=seed)
        pairs: list[TokenPair] = _keep((encoder.pair(example) for example in kept), drops)
        if not pairs:
            raise InvalidInput(
                f"none of the {len(rows)} pairs can be trained on: {_spell(drops)}",
                field="pairs",
                remedy="label more prompts",
            )
        emit("phase", name="train", pairs=len(pairs), dropped=dict(drops))
        with _curve(scratch / "metrics.jsonl", emit) as curve:
            dpo.train(config, model, tokenizer, pairs, scratch, curve)
        checkpoint.save_like(model, config.model, scratch)
        final = curve.last
        seconds = round(time.monotonic() - started, 2)
        facts = _provenance(config, model=config.model, data=config.pairs)
        facts |= {"manifest": manifest, "pairs": {"read": len(rows), "used": len(pairs), "dropped": dict(drops)}}
        _write_json(scratch / "provenance.json", {**facts, "final_metrics": final, "seconds": seconds})
    emit("done", output=str(config.output), pairs=len(pairs), dropped=dict(drops), metrics=final, seconds=seconds)


def _kl(config: KLConfig, emit: Emit) -> None:
    from trainer import checkpoint
    from trainer.divergence import divergence

    started = time.monotonic()
    drops: Counter[str] = Counter()
    rows = list(read_samples(config.samples))
    with published(config.output) as scratch:
        policy, tokenizer = checkpoint.load(config.policy, "policy")
        reference, _ = checkpoint.load(config.reference, "reference")
        if policy.config.vocab_size != reference.config.vocab_size:
            raise InvalidInput(
                "policy and reference have different vocabularies",
                field="reference",
                remedy="compare a model with its own base",
            )
        encoder = Encoder(tokenizer, _within(config.max_length, policy))
        kept: list[tuple[list[int], list[int]]] = _keep((encoder.sample(row) for row in rows), drops)
        emit("phase", name="measure", samples=len(kept), dropped=dict(drops))
        result = divergence(
            policy,
            reference,
            kept,
            temperature=config.temperature,
            batch_size=config.batch_size,
            progress=lambda step, total: emit("progress", step=step, max_steps=total, metrics={}),
        ).as_dict()
        seconds = round(time.monotonic() - started, 2)
        facts = _provenance(config, model=config.policy, data=config.samples)
        _write_json(scratch / "divergence.json", {**result, "dropped": dict(drops), "provenance": facts})
    emit("done", output=str(config.output), result=result, dropped=dict(drops), seconds=seconds)


def _manifest(data: Path) -> dict[str, Any] | None:
    """The manifest of the pairs, None where they have none; InvalidInput when it describes other data."""
    try:
        return read_manifest(data).model_dump(mode="json")
    except NotFound:
        return None


def _within(max_length: int, model: Any) -> int:
    """`max_length`, or the model's context where that is shorter."""
    return min(max_length, getattr(model.config, "max_position_embeddings", None) or max_length)


def _keep(items: Iterable[Any], drops: Counter[str]) -> list[Any]:
    """What was encoded; a reason (text) is counted instead."""
    kept: list[Any] = []
    for item in items:
        if isinstance(item, str):
            drops[item] += 1
        else:
            kept.append(item)
    return kept


def _spell(drops: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in drops.most_common()) or "there is no row"


class _Curve:
    """Forwards each step as an event and keeps it as a line of metrics.jsonl."""

    def __init__(self, file: IO[str], emit: Emit) -> None:
        self._file, self._emit = file, emit
        self.last: dict[str, float] = {}

    def __call__(self, step: int, max_steps: int, metrics: dict[str, float]) -> None:
        self.last = metrics
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._emit("progress", step=step, max_steps=max_steps, metrics=metrics)


@contextmanager
def _curve(path: Path, emit: Emit) -> Generator["_Curve"]:
    with path.open("w", encoding="utf-8") as file:
        yield _Curve(file, emit)


def _provenance(config: DPOConfig | KLConfig, *, model: Path, data: Path) -> dict[str, Any]:
    """What made this output: configuration, digests of what went in, versions, and the machine's precision."""
    from importlib.metadata import version

    import torch

    from solon import __version__
    from solon.formats import sha256_of
    from trainer import hardware
    from trainer.checkpoint import weights_digests

    return {
        "config": config.model_dump(mode="json"),
        "base_weights": weights_digests(model),
        "data": {"path": str(data), "digest": sha256_of(data)},
        "versions": {"solon": __version__, **{name: version(name) for name in ("torch", "transformers", "trl")}},
        "device": str(hardware.device()),
        "precision": "bfloat16" if hardware.fast_bfloat16() else "float32",
        "threads": torch.get_num_threads(),
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _events() -> Emit:
    """A writer on the real standard output, which from here on is standard error to everything else."""
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def emit(event: str, **fields: Any) -> None:
        stream.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
        stream.flush()

    return emit


def main(arguments: list[str]) -> int:
    """The exit code; see the module's text."""
    emit = _events()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if len(arguments) != 1:
            raise InvalidInput("one argument is needed", remedy="python -m trainer.run CONFIG.json")
        run(read_config(Path(arguments[0])), emit)
    except SolonError as error:
        emit("error", message=error.message, remedy=error.remedy, field=error.field)
        return error.exit_code
    except Exception as error:  # the process boundary: the parent gets one line, the log gets the traceback
        emit("error", message=f"{type(error).__name__}: {error}", remedy="see the log of the run", field=None)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
