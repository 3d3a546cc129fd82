"""Secrets kept out of what the service writes about itself: log lines, spans, shown settings.

Two nets: values that are known to be secret (keys in the environment, passwords in URLs) are taken out wherever they
stand, and what has the shape of a credential is taken out even where nobody knew of it.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from solon.settings import Settings

REDACTED: Final = "[redacted]"

_SHORTEST: Final = 6
"""A known secret shorter than this is a word that stands everywhere."""
_NAMES: Final = re.compile(r"authorization|api[_-]?key|passw(?:or)?d|secret|cookie|(?:^|[_-])token$", re.IGNORECASE)
_SHAPES: Final = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {REDACTED}"),
    (re.compile(r"(?<=://)[^/\s@'\"]+@"), f"{REDACTED}@"),
    (re.compile(r"(?i)\b((?:x-)?api[_-]?key|password|secret|access_token)(['\"]?\s*[=:]\s*)['\"]?[^\s'\",;&]+"),
     rf"\1\2{REDACTED}"),
    (re.compile(r"\b(?:sk|whsec|hf|xox[bp]|gh[pousr])[-_][A-Za-z0-9_+/=-]{12,}"), REDACTED),
    (re.compile(r"\bsolon_[A-Za-z0-9_-]{20,}"), REDACTED),
)  # fmt: skip


class Secrets:
    """Known secrets; more can be added while the process runs."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(*known)

    @classmethod
    def of(cls, settings: Settings, environment: Mapping[str, str] | None = None) -> "Secrets":
        """Those that settings and environment hold."""
        present = os.environ if environment is None else environment
        named = (entry.api_key_env for entry in settings.models.values() if entry.api_key_env is not None)
        keys = [present.get(name, "") for name in named]
        kept = [value for name, value in present.items() if _NAMES.search(name) and not value.isdigit()]
        return cls([*keys, *kept, *_credentials(settings.database)])

    def add(self, *values: str) -> None:
        """Take these out from now on."""
        self._known |= {value for value in values if len(value) >= _SHORTEST}
        longest_first = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def redact(self, text: str) -> str:
        """The text without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(REDACTED, text)
        for shape, instead in _SHAPES:
            text = shape.sub(instead, text)
        return text

    def cleaned(self, value: Any) -> Any:
        """The value without secrets; what a telling name such as `api_key` names is one as a whole."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            entries = cast(Mapping[Any, Any], value).items()
            return {key: self._entry(str(key), entry) for key, entry in entries}
        if isinstance(value, list | tuple):
            return [self.cleaned(each) for each in cast(list[Any], value)]
        return value

    def _entry(self, name: str, value: Any) -> Any:
        named = _NAMES.search(name) is not None and isinstance(value, str | bytes) and not name.endswith("_env")
        return REDACTED if named and value else self.cleaned(value)


def _credentials(url: str) -> list[str]:
    """User's password, and a user without one, in a URL, as written and as meant."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return []
    secret = parts.password if parts.password is not None else parts.username
    return [secret, unquote(secret)] if secret else []
