"""Low-rank adapters on a policy: made, and published merged or alone."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from solon.settings import ADAPTER
from trainer import checkpoint, processes
from trainer.config.lora import LoRA

if TYPE_CHECKING:
    import peft


def settings(lora: LoRA) -> "peft.LoraConfig":
    """peft's settings: all linear layers but the output layer, no dropout, so that probabilities depend on no coin."""
    import peft  # only where there are adapters: it takes a while, and memory

    return peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType] - any number
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        lora_dropout=0.0,
    )


def publish(model: Any, tokenizer: PreTrainedTokenizerBase, lora: LoRA | None, source: Path, out: Path) -> None:
    """Write a trained policy into `out`: all weights, merged ones, or the adapter, see `describe`.

    Args:
        model: the network that was trained, or peft's wrapper of it where there are adapters. It is used up.
        source: the directory that it began as; weights are written in its dtype, beside its tokenizer files.
    """
    if not processes.is_first():
        return
    if lora is not None and not lora.merge:
        model.save_pretrained(str(out))
        tokenizer.save_pretrained(str(out))
        describe(out, source)
        return
    network: PreTrainedModel = model if lora is None else model.merge_and_unload()
    checkpoint.save_like(network, source, out)


def describe(out: Path, source: Path) -> None:
    """Have the adapter in `out` name `source` as its base, and be loaded like a model."""
    about = out / ADAPTER
    named = json.loads(about.read_text(encoding="utf-8")) | {"base_model_name_or_path": str(source.resolve())}
    about.write_text(json.dumps(named, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    checkpoint.copy_description(source, out)
