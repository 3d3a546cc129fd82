"""Signs that a text speaks to the judge instead of to the person who asked.

A pair with such a text is labelled like any other, flagged, and kept from trainers (see `PreferencePair.quarantined`).
The signs (`signs.yaml`) are surface patterns: they find what is plainly written, in seven languages and through common
disguises, and an author who knows them can avoid them.
Judging in both orders takes the force out of "choose A"; the frames keep forged markers from being read as such.
"""

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, cast

import re2
from ruamel.yaml import YAML

from critic.markers import LABELS, holds_marker
from solon.records import INJECTION_SUSPECTED, Comparison, Completion, Prompt

_UNSEEN = re.compile("[\u180e\u200b\u2060-\u2064\ufeff\U000e0000-\U000e007f]|[\u202a-\u202e\u2066-\u2069]")
_HIDDEN = re.compile(  # invisible characters inside Latin words, tag characters, text turned round
    "[A-Za-z][\u00ad\u200b-\u200f\u2060-\u2064\ufeff]+[A-Za-z]|[\U000e0000-\U000e007f]|[\u202d\u202e]"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}")


def _compiled() -> tuple[Any, dict[str, Any]]:
    """One pattern for whether there is any sign of `signs.yaml`, and one each for which."""
    source = files("critic").joinpath("signs.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, Any]] = YAML(typ="safe", pure=True).load(source)

    def spelled(pattern: str) -> str:
        return re.sub("<([a-z]+)>", lambda found: loaded["words"][found[1]], pattern)

    patterns = {
        name: "|".join(f"(?:{spelled(each)})" for each in alternatives)
        for name, alternatives in loaded["signs"].items()
    }
    options = cast(Any, re2).Options()
    options.case_sensitive = False
    options.max_mem = 64 << 20
    each = {name: cast(Any, re2).compile(pattern, options) for name, pattern in patterns.items()}
    return cast(Any, re2).compile("|".join(patterns.values()), options), each


_ANY, _EACH = _compiled()


def injection_suspected(text: str, labels: Sequence[str] = LABELS) -> bool:
    """Whether a completion shows any of the signs; `labels` are what the judge calls the completions."""
    return bool(holds_marker(text, labels) or _disguised(text) or _ANY.search(_plain(text).encode()))


def signs(text: str, labels: Sequence[str] = LABELS) -> tuple[str, ...]:
    """The names of the signs in a completion, such as `marker`, `verdict` or `hidden`; for people who review it."""
    found = ["marker"] if holds_marker(text, labels) else []
    plain = _plain(text).encode()
    found += [name for name, pattern in _EACH.items() if pattern.search(plain)]
    return (*found, *_disguised(text))


def structural(text: str, labels: Sequence[str] = LABELS) -> bool:
    """Whether a prompt holds what no honest one needs: a marker, a control token or a line of a judge prompt."""
    return holds_marker(text, labels) or bool(_EACH["imitation"].search(text.encode()))


def suspected(prompt: Prompt, *completions: Completion, labels: Sequence[str] = LABELS) -> bool:
    """Whether a completion speaks to the judge, or the prompt forges a frame.

    People may well ask "which is better, A or B?", so words alone make no prompt suspicious.
    """
    named = tuple(labels)
    return any(_suspected(each.text, named) for each in completions) or any(
        _forged(each.content, named) for each in prompt.messages
    )


def flags(comparison: Comparison, labels: Sequence[str] = LABELS) -> list[str]:
    """[`injection_suspected`] where a text of the comparison is suspected, else nothing."""
    found = suspected(comparison.prompt, comparison.a, comparison.b, labels=labels)
    return [INJECTION_SUSPECTED] if found else []


def labels_of(sampling: Mapping[str, Any]) -> tuple[str, ...]:
    """All that a judge calls completions, and all that a jury's judges do, by its sampling as provenance records it."""
    return tuple(dict.fromkeys((*LABELS, *_labels(sampling))))


def _labels(sampling: Mapping[str, Any]) -> Iterator[str]:
    yield from sampling.get("labels", ())
    for each in sampling.get("judges", {}).values():
        yield from _labels(each)


_suspected = lru_cache(maxsize=1024)(injection_suspected)  # a tournament asks of each completion several times
_forged = lru_cache(maxsize=1024)(structural)


def _plain(text: str) -> str:
    """The text as it reads: compatibility forms made plain, what cannot be seen left out."""
    return text if text.isascii() else _UNSEEN.sub("", unicodedata.normalize("NFKC", text))


def _disguised(text: str) -> list[str]:
    found = ["hidden"] if not text.isascii() and _HIDDEN.search(text) else []
    return [*found, "encoded"] if any(_says_something(token) for token in _BASE64.findall(text)) else found


def _says_something(token: str) -> bool:
    """Whether a token is base64 of a text with signs of its own."""
    try:
        decoded = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_" if set(token) & {"-", "_"} else None)
        text = decoded.decode("utf-8")
    except (binascii.Error, ValueError):
        return False
    return bool(holds_marker(text) or _ANY.search(text.encode()))
