"""Digests of what goes into a step: the same inputs give the same digest, and the step need not be done again."""

import hashlib
import json
from pathlib import Path
from typing import Any

from solon.settings import ModelEntry

_WEIGHED = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model")
_ABOUT_THE_RUN = frozenset({"provenance.json"})


def of_json(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return _named(hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()))


def of_path(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a model directory's weights, configuration and tokenizer."""
    if path.is_dir():
        return of_json({str(file.relative_to(path)): of_path(file) for file in _model_files(path)})
    with path.open("rb") as file:
        return _named(hashlib.file_digest(file, "sha256"))


def of_model(entry: ModelEntry) -> str:
    """What tells this model from others: its files where they are here, else what it is registered as."""
    if entry.profile:  # it writes something else under each
        plain = of_model(entry.model_copy(update={"profile": {}}))
        return of_json({"model": plain, "profile": entry.profile})
    if entry.engine == "local":
        return of_path(entry.directory())
    return of_json(entry.model_dump(mode="json", include={"engine", "endpoint", "model", "revision", "path"}))


def _model_files(folder: Path) -> list[Path]:
    found = {file for pattern in _WEIGHED for file in folder.rglob(pattern) if file.name not in _ABOUT_THE_RUN}
    return sorted(found)


def _named(hashed: "hashlib._Hash") -> str:  # pyright: ignore[reportPrivateUsage] - typeshed has no public name
    return f"sha256:{hashed.hexdigest()}"
