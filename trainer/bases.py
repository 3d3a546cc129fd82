"""Directories that hold an adapter alone: where its base is, and the two as one network.

An adapter directory has `adapter_config.json` and `adapter_model.safetensors`; one that a training publishes also has
the base's configuration and tokenizer. Its base is a directory of this machine, and may be an adapter's itself.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from solon.errors import InvalidInput, NotFound
from solon.formats import sha256_of
from solon.settings import ADAPTER, holds_model


def is_adapter(path: Path) -> bool:
    """Whether the directory holds an adapter instead of whole weights."""
    return (path / ADAPTER).is_file()


def base_of(path: Path, field: str | None = None) -> Path:
    """The directory of the adapter's base.

    NotFound where it is no longer there, InvalidInput where its weights are not those that the adapter was trained on.
    """
    recorded = provenance(path).get("config", {}).get("model")
    named = [_read(path / ADAPTER).get("base_model_name_or_path"), recorded]
    found = next((Path(name) for name in named if name and holds_model(Path(name))), None)
    if found is None:
        raise NotFound(
            f"{path} is an adapter, and its base {named[0] or named[1]} is not there",
            field=field,
            remedy=f"put it back, or make whole weights: solon model merge {path} OUT --base DIR",
        )
    require_base(path, found, field)
    return found


def require_base(path: Path, base: Path, field: str | None = None) -> None:
    """Raise InvalidInput where the provenance says that the adapter was trained on other weights than `base` has."""
    trained_on = provenance(path).get("base_weights")
    if trained_on is not None and trained_on != weights_digests(base):
        raise InvalidInput(
            f"{path} is an adapter of other weights than those at {base}",
            field=field,
            remedy="give the model that it was trained on; provenance.json has the digests",
        )


def described(path: Path, field: str | None = None) -> Path:
    """The directory with the model's configuration and tokenizer: itself, or the base of an adapter without them.

    NotFound where there is no model.
    """
    if (path / "config.json").is_file():
        return path
    if not is_adapter(path):
        raise NotFound(f"{path} holds no model", field=field, remedy="give a directory with config.json and weights")
    return described(base_of(path, field), field)


def network(path: Path, dtype: torch.dtype, field: str | None = None) -> PreTrainedModel:
    """The causal language model of a directory in `dtype`; an adapter is merged into its base, in float32.

    Only safetensors are read, and no code of the directory is run.
    """
    described(path, field)
    if not is_adapter(path):
        return AutoModelForCausalLM.from_pretrained(
            str(path), dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    return merged(path, base_of(path, field), field).to(dtype)  # pyright: ignore[reportArgumentType] - overloaded


def merged(adapter: Path, base: Path, field: str | None = None) -> PreTrainedModel:
    """The base with the adapter in its weights, in float32."""
    if not (adapter / "adapter_model.safetensors").is_file():  # peft would take a pickle
        raise InvalidInput(
            f"{adapter} holds no adapter_model.safetensors", field=field, remedy="save the adapter as safetensors"
        )
    import peft  # only where there are adapters: it takes a while, and memory

    wrapped: Any = peft.PeftModel.from_pretrained(network(base, torch.float32, field), str(adapter))
    return wrapped.merge_and_unload()


@contextmanager
def whole(path: Path, field: str | None = None) -> Generator[Path]:
    """A directory with all weights: `path` itself, or for as long as it is needed one with the adapter merged."""
    described(path, field)
    if not is_adapter(path):
        yield path
        return
    with TemporaryDirectory(prefix="solon-merged-") as scratch:
        network(path, torch.float32, field).save_pretrained(scratch)
        yield Path(scratch)


def weights_digests(path: Path) -> dict[str, str]:
    """File name to digest for each weight file of a model directory."""
    return {file.name: sha256_of(file) for file in sorted(path.glob("*.safetensors"))}


def provenance(path: Path) -> dict[str, Any]:
    """What made the model of a directory; empty where nothing tells."""
    return _read(path / "provenance.json")


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in the file; empty where there is none."""
    try:
        found: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}
