"""The judgement cache: what a judge answered to an exact prompt, so that no prompt is judged twice.

The key is a digest of everything the answer depends on: judge model and revision, sampling parameters, the two labels
and the rendered messages. The messages hold the template, the principle's text, the prompt and the completions in
their order, so editing one principle leaves the judgements of all others valid. Only measurements are kept: a failed
request is asked again. `api.store.judgements` is the cache that all jobs share.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import TypeAdapter

from critic.readings import Reading
from solon.records import Message

_FORMAT = 1
"""Part of every key: raise it when `critic.readings` reads the same reply differently."""


class Cache(Protocol):
    """Where readings are kept, by many at once."""

    def get(self, key: str) -> Reading | None:
        """The reading kept under the key."""
        ...

    def put(self, key: str, reading: Reading) -> Reading:
        """The reading that is kept: this one, or the one that came first.

        Two servers' answers to one question differ in the last digits. Whoever asks goes on with what is kept, so a
        replay finds what the job used.
        """
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

    def put(self, key: str, reading: Reading) -> Reading:
        """The reading that came first."""
        return self._readings.setdefault(key, reading)


def packed(reading: Reading) -> str:
    """The reading as JSON, without the fields that most methods leave empty."""
    return _READING.dump_json(reading, exclude_defaults=True).decode()


def unpacked(text: str | bytes) -> Reading:
    """The reading in JSON, exactly; raises ValueError where it is none."""
    return _READING.validate_json(text)


_READING = TypeAdapter(Reading)
