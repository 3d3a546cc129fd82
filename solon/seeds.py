"""Random numbers that depend on what they are for and on nothing else.

A draw is keyed by (job seed, prompt id, index, purpose), never taken from a shared generator: it is the same whatever
ran before it, in whatever order, before or after a restart.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def counter_seed(*key: str | int) -> int:
    """A seed in [0, 2^31), by SHA-256 of the key."""
    return int.from_bytes(hashlib.sha256(json.dumps(key).encode()).digest()[:4], "big") >> 1


def shuffled(items: Sequence[T], *key: str | int) -> tuple[T, ...]:
    """`items` in a random order that depends on the key only."""
    order = sorted(range(len(items)), key=lambda i: (counter_seed(*key, i), i))
    return tuple(items[i] for i in order)
