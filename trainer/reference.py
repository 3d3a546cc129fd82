"""What the reference says of completions, computed once and kept by a digest of all that it depends on."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import datasets
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from solon.formats import sha256_of
from trainer import hardware, processes
from trainer.bases import weights_digests
from trainer.config.child import Precision

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja")


def digest(
    model: Path, rows: Sequence[Sequence[Sequence[int]]], precision: Precision = "auto", context: str = ""
) -> str:
    """Of reference weights, tokenizer, chat template, precision and the rows' token ids.

    Args:
        rows: per row the prompt's ids and those of each completion.
        precision: what the reference is to compute in.
        context: anything else the numbers depend on.
    """
    tokenizer = {name: sha256_of(model / name) for name in _TOKENIZER_FILES if (model / name).is_file()}
    taken = "bfloat16" if hardware.takes_bfloat16(precision) else "float32"
    about = [weights_digests(model), tokenizer, taken, torch.__version__, context, rows]
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


class KeptReferences:
    """Gives a trainer of TRL the reference's log-probabilities as columns of its dataset, kept in a folder."""

    references: References
    reference_batch: int
    """Rows that are scored at once; without gradient there is room."""

    def reference_scorer(self) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        """From a batch to its columns, each [row], on the CPU."""
        raise NotImplementedError

    def _precompute_ref_logps(self, dataset: datasets.Dataset, *_: Any, **__: Any) -> datasets.Dataset:
        """The dataset with the columns, from the folder where an earlier training kept them."""
        found = self.references.read()
        everywhere = all(processes.gathered(found is not None))
        if found is None or not everywhere:
            found = self._score_references(dataset)
            if processes.is_first():
                self.references.keep(found)
        for name, values in found.items():
            dataset = dataset.add_column(name, values.tolist())  # pyright: ignore[reportCallIssue]
        return dataset

    def _score_references(self, dataset: datasets.Dataset) -> dict[str, Tensor]:
        """Each process scores every n-th batch; all have all of it afterwards."""
        trainer, score = cast(Any, self), self.reference_scorer()
        starts = range(0, len(dataset), self.reference_batch)
        own: dict[int, dict[str, Tensor]] = {}
        for number in list(range(len(starts)))[processes.rank() :: processes.count()]:
            stop = min(starts[number] + self.reference_batch, len(dataset))
            rows = [dataset[i] for i in range(starts[number], stop)]
            own[number] = score(trainer._prepare_inputs(trainer.data_collator(rows)))
        scored = {number: found for part in processes.gathered(own) for number, found in part.items()}
        return {name: torch.cat([scored[number][name] for number in range(len(starts))]) for name in scored[0]}
