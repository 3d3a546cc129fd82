"""Prefixed ids that sort by the time they were made, like UUIDv7: `job_` + 26 letters and digits."""

import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_LENGTH = 26
_RANDOM_BITS = 80

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """A new id; within one process each is greater than the one before, even in the same millisecond."""
    global _last
    made = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    with _lock:
        _last = made = max(made, _last + 1)
    digits = (_ALPHABET[(made >> 5 * place) & 31] for place in reversed(range(_LENGTH)))
    return f"{prefix}_{''.join(digits)}"


def made_at(made: str) -> float:
    """Unix time in seconds at which an id was made, to the millisecond; 0 where it is none of ours."""
    digits = made.partition("_")[2]
    if len(digits) != _LENGTH or not set(digits) <= set(_ALPHABET):
        return 0.0
    value = 0
    for digit in digits:
        value = value << 5 | _ALPHABET.index(digit)
    return (value >> _RANDOM_BITS) / 1000
