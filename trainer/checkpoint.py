"""Model directories: load one in float32, save one like the one it came from."""

import shutil
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from solon.errors import InvalidInput, NotFound
from solon.formats import sha256_of
from trainer import attention

_NOT_COPIED = (
    "*.safetensors",
    "*.bin",
    "*.pt",
    "*.index.json",
    "README.md",
    "provenance.json",
    "bars.json",
    "*.jsonl",
    "checkpoint-*",
)


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
        raise InvalidInput(
            f"{path}: {reason}", field=field, remedy="give a causal language model's directory"
        ) from error
    attention.install(model)
    return model, tokenizer


def load_tokenizer(path: Path, field: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a local Hugging Face directory; NotFound or InvalidInput, naming `field`, without one."""
    if not (path / "config.json").is_file():
        raise NotFound(f"{path} holds no model", field=field, remedy="give a directory with config.json and weights")
    try:
        return AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"{path}: {reason}", field=field, remedy="give a language model's directory") from error


def context(path: Path) -> int:
    """Tokens that fit the model in a directory; very many where its configuration states no bound."""
    return context_of(AutoConfig.from_pretrained(str(path), local_files_only=True))


def context_of(config: PreTrainedConfig) -> int:
    """The same of a configuration."""
    return getattr(config.get_text_config(), "max_position_embeddings", None) or 1 << 20


def stored_dtype(path: Path) -> torch.dtype:
    """The dtype of the weights on disk, as the model's config states it; float32 where it states none."""
    dtype = AutoConfig.from_pretrained(str(path), local_files_only=True).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def save_like(model: PreTrainedModel, source: Path, out: Path) -> None:
    """Write the weights into `out` in the dtype of `source`, beside `source`'s own config and tokenizer files."""
    model.to(stored_dtype(source)).save_pretrained(str(out))  # pyright: ignore[reportArgumentType] - overloaded in torch
    shutil.copytree(source, out, ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True)


def save_classifier(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: Path, out: Path) -> None:
    """Write a sequence classifier into `out`, in the dtype of `source`, beside its tokenizer files.

    The model is left with the weights as they were saved, rounded, in float32. Its configuration names a pad token,
    which servers ask for.
    """
    model.config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    model.to(stored_dtype(source)).save_pretrained(str(out))  # pyright: ignore[reportArgumentType] - overloaded in torch
    ignored = shutil.ignore_patterns(*_NOT_COPIED, "config.json", "generation_config.json")
    shutil.copytree(source, out, ignore=ignored, dirs_exist_ok=True)
    model.to(torch.float32)  # pyright: ignore[reportArgumentType] - overloaded in torch


def weights_digests(path: Path) -> dict[str, str]:
    """File name to digest for each weight file of a model directory."""
    return {file.name: sha256_of(file) for file in sorted(path.glob("*.safetensors"))}
