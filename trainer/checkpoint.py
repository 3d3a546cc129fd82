"""Model directories: load one in float32, save one like the one it came from."""

import shutil
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from solon.errors import InvalidInput
from trainer import attention, bases

_NOT_COPIED = (
    "*.safetensors",
    "*.bin",
    "*.pt",
    "*.index.json",
    "README.md",
    "provenance.json",
    "bars.json",
    "adapter_config.json",
    "*.jsonl",
    "checkpoint-*",
)


def load(path: Path, field: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The causal language model in a local Hugging Face directory, weights in float32, and its tokenizer.

    An adapter is merged into its base. NotFound or InvalidInput, naming `field`, when there is none.
    """
    try:
        model = bases.network(path, torch.float32, field)
        tokenizer = AutoTokenizer.from_pretrained(str(bases.described(path, field)), local_files_only=True)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(
            f"{path}: {reason}", field=field, remedy="give a causal language model's directory"
        ) from error
    attention.install(model)
    return model, tokenizer


def load_tokenizer(path: Path, field: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a local Hugging Face directory; NotFound or InvalidInput, naming `field`, without one."""
    try:
        return AutoTokenizer.from_pretrained(str(bases.described(path, field)), local_files_only=True)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"{path}: {reason}", field=field, remedy="give a language model's directory") from error


def context(path: Path) -> int:
    """Tokens that fit the model in a directory; very many where its configuration states no bound."""
    return context_of(configuration(path))


def configuration(path: Path) -> PreTrainedConfig:
    """Of the model in a directory, or of an adapter's base; NotFound where there is none."""
    return AutoConfig.from_pretrained(str(bases.described(path)), local_files_only=True)


def context_of(config: PreTrainedConfig) -> int:
    """The same of a configuration."""
    return getattr(config.get_text_config(), "max_position_embeddings", None) or 1 << 20


def stored_dtype(path: Path) -> torch.dtype:
    """The dtype of the weights on disk, as the model's config states it; float32 where it states none."""
    dtype = configuration(path).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def save_like(model: PreTrainedModel, source: Path, out: Path) -> None:
    """Write the weights into `out` in the dtype of `source`, beside `source`'s own config and tokenizer files."""
    model.to(stored_dtype(source)).save_pretrained(str(out))  # pyright: ignore[reportArgumentType] - overloaded in torch
    copy_description(source, out)


def copy_description(source: Path, out: Path) -> None:
    """Copy what a directory has besides weights and what tells of their training: configuration and tokenizer."""
    ignored = shutil.ignore_patterns(*_NOT_COPIED)
    shutil.copytree(bases.described(source), out, ignore=ignored, dirs_exist_ok=True)


def save_classifier(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: Path, out: Path) -> None:
    """Write a sequence classifier into `out`, in the dtype of `source`, beside its tokenizer files.

    The model is left with the weights as they were saved, rounded, in float32. Its configuration names a pad token,
    which servers ask for.
    """
    model.config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    model.to(stored_dtype(source)).save_pretrained(str(out))  # pyright: ignore[reportArgumentType] - overloaded in torch
    ignored = shutil.ignore_patterns(*_NOT_COPIED, "config.json", "generation_config.json")
    shutil.copytree(bases.described(source), out, ignore=ignored, dirs_exist_ok=True)
    model.to(torch.float32)  # pyright: ignore[reportArgumentType] - overloaded in torch
