"""Model directories: load one for arithmetic in float32 or bfloat16, and publish one that appears complete or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from solon.errors import Conflict, InvalidInput, NotFound
from solon.formats import sha256_of

_NOT_COPIED = ("*.safetensors", "*.bin", "*.pt", "*.index.json", "README.md", "provenance.json", "*.jsonl", "checkpoint-*")


def load(path: Path, field: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The causal language model in a local Hugging Face directory, weights in float32, and its tokenizer.

    NotFound or InvalidInput, naming `field`, when there is none.
    """
    if not (path / "config.json").is_file():
        raise NotFound(f"{path} holds no model", field=field, remedy="give a directory with config.json and weights")
    try:
        model = AutoModelForCausalLM.from_pretrained(str(path), dtype=torch.float32, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"{path}: {reason}", field=field, remedy="give a causal language model's directory") from error
    return model, tokenizer


def stored_dtype(path: Path) -> torch.dtype:
    """The dtype of the weights on disk, as the model's config states it; float32 where it states none."""
    dtype = AutoConfig.from_pretrained(str(path), local_files_only=True).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def save_like(model: PreTrainedModel, source: Path, out: Path) -> None:
    """Write the model's weights into `out` in the dtype of `source`, beside `source`'s own config and tokenizer files."""
    model.to(stored_dtype(source)).save_pretrained(str(out))  # pyright: ignore[reportArgumentType] - overloaded in torch
    shutil.copytree(source, out, ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True)


def weights_digests(path: Path) -> dict[str, str]:
    """File name to digest for each weight file of a model directory."""
    return {file.name: sha256_of(file) for file in sorted(path.glob("*.safetensors"))}


def claim(output: Path) -> None:
    """Refuse, with Conflict, to build what is already there."""
    if output.exists():
        raise Conflict(f"{output} exists already", field="output", remedy="name a new directory or remove this one")


@contextmanager
def published(output: Path) -> Iterator[Path]:
    """A scratch directory that becomes `output` by one rename at the end, and vanishes when anything fails before."""
    claim(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.rename(output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
