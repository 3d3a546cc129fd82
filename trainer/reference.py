"""What the reference says of completions, computed once and kept by a digest of all that it depends on."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from solon.formats import sha256_of
from trainer import hardware
from trainer.checkpoint import weights_digests

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja")


def digest(model: Path, rows: Sequence[Sequence[Sequence[int]]], context: str = "") -> str:
    """Of reference weights, tokenizer, chat template, precision and the rows' token ids.

    Args:
        rows: per row the prompt's ids and those of each completion.
        context: anything else the numbers depend on.
    """
    tokenizer = {name: sha256_of(model / name) for name in _TOKENIZER_FILES if (model / name).is_file()}
    precision = "bfloat16" if hardware.fast_bfloat16() else "float32"
    about = [weights_digests(model), tokenizer, precision, torch.__version__, context, rows]
    return hashlib.sha256(json.dumps(about, separators=(",", ":")).encode()).hexdigest()


class References:
    """Log-probabilities in a folder, one file per digest; with no folder nothing is kept."""

    def __init__(self, folder: Path | None, key: str) -> None:
        self._path = folder / f"{key}.safetensors" if folder is not None else None

    def read(self) -> dict[str, Tensor] | None:
        """What an earlier training kept; None where there is nothing, or where a file cannot be read."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            return load_file(self._path)
        except Exception:  # noqa: BLE001 - a cache that is damaged, in whatever way, is computed again
            return None

    def keep(self, values: dict[str, Tensor]) -> None:
        """Write them, complete or not at all."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_name(f".{self._path.name}")
        save_file(values, scratch)
        scratch.rename(self._path)
