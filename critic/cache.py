"""The judgement cache: what a judge answered to an exact prompt, so that no prompt is judged twice.

The key is a digest of everything the answer depends on: judge model and revision, sampling parameters, the two labels
and the rendered messages. The messages hold the template, the principle's text, the prompt and the completions in
their order, so editing one principle leaves the judgements of all others valid. Only measurements are kept: a failed
request is asked again.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from critic.readings import Reading
from solon.errors import InvalidInput
from solon.records import Message

_FORMAT = 1
"""Part of every key: raise it when `critic.readings` reads the same reply differently."""


class Cache(Protocol):
    """Where readings are kept. `put` of a key that is there already may do nothing: both readings are the same."""

    def get(self, key: str) -> Reading | None:
        """The reading kept under the key."""
        ...

    def put(self, key: str, reading: Reading) -> None:
        """Keep the reading."""
        ...


def judgement_key(
    *,
    model: str,
    revision: str | None,
    sampling: Mapping[str, Any],
    labels: Sequence[str],
    messages: Sequence[Message],
) -> str:
    """SHA-256, in hex, of all that decides a judgement."""
    turns = [[message.role, message.content] for message in messages]
    parts = json.dumps([_FORMAT, model, revision, sampling, labels, turns], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


class MemoryCache:
    """A cache that ends with the process."""

    def __init__(self) -> None:
        self._readings: dict[str, Reading] = {}

    def __len__(self) -> int:
        return len(self._readings)

    def get(self, key: str) -> Reading | None:
        """The reading kept under the key."""
        return self._readings.get(key)

    def put(self, key: str, reading: Reading) -> None:
        """Keep the reading."""
        self._readings.setdefault(key, reading)


class FileCache(MemoryCache):
    """A cache in one append-only JSONL file, read whole when opened. Use as `with FileCache(path) as cache`.

    Each reading is appended by a single write of one line, so several processes may share the file; they see what
    others added when they next open it. A line that a crash cut short is skipped, and judged again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise InvalidInput(
                f"cannot open the judgement cache {path}: {error.strerror}", remedy="give a writable file"
            ) from error
        self._load()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was put is already written."""
        os.close(self._file)

    def put(self, key: str, reading: Reading) -> None:
        """Keep the reading and append it to the file."""
        if self.get(key) is None:
            super().put(key, reading)
            os.write(self._file, json.dumps({"key": key, **_written(reading)}).encode() + b"\n")

    def _load(self) -> None:
        whole = True
        with self.path.open("rb") as lines:
            for line in lines:
                whole = line.endswith(b"\n")
                entry = _entry(line)
                if entry is not None:
                    super().put(*entry)
        if not whole:  # so that the next line does not continue the torn one
            os.write(self._file, b"\n")


_MOSTLY_EMPTY = ("text", "score", "scale")


def _written(reading: Reading) -> dict[str, Any]:
    """The reading's fields, without those that most methods leave empty."""
    return {
        name: value
        for name, value in asdict(reading).items()
        if name not in _MOSTLY_EMPTY or value not in ("", None, ())
    }


def _entry(line: bytes) -> tuple[str, Reading] | None:
    try:
        values = json.loads(line)
        return values.pop("key"), Reading(**values | {"scale": tuple(values.get("scale", ()))})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
