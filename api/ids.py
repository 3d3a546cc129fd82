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
