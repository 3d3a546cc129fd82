"""Which family a registered model is of: models of one family share their ways of writing, and judges prefer their own.

Known from the registry's `family`, else from the name that the server knows the model by, else unknown.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from solon.settings import ModelEntry

_KNOWN: Final = re.compile(
    r"(?<![a-z])(llama|qwen|qwq|mistral|mixtral|gemma|phi|deepseek|gpt-oss|gpt|claude|gemini|command-r|olmo|yi|glm|"
    r"granite|falcon|smollm|nemotron|kimi|internlm)(?![a-z])",
    re.IGNORECASE,
)
_SAME: Final = {"qwq": "qwen", "mixtral": "mistral", "gpt-oss": "gpt"}


def family_of(name: str, entry: ModelEntry) -> str | None:
    """The family in small letters; None where neither the entry nor a name tells."""
    if entry.family is not None:
        return entry.family.lower()
    return next((found for text in (entry.model, entry.path, name) if (found := _told(text or ""))), None)


def family_named(model: str, models: Mapping[str, ModelEntry]) -> str | None:
    """The family of what a row says wrote a text: a registered name, one that a server knows, or one that tells."""
    for name, entry in models.items():
        if model in (name, entry.model):
            return family_of(name, entry)
    registered = {entry.family.lower() for entry in models.values() if entry.family is not None}
    return _told(model) or next((each for each in sorted(registered) if _is_in(each, model.lower())), None)


class Kin:
    """The models that a judge may favour, by name: those of its family, and itself, since a judge may write too."""

    def __init__(self, judge: str, models: Mapping[str, ModelEntry]) -> None:
        members = models[judge].members or (judge,)
        self._models = models
        self._names = {judge, *members}
        self.families = _known(family_of(each, models[each]) for each in members)
        """Of the judge, or of all judges of a jury, as far as they are known."""
        self._seen: dict[str, bool] = {}

    def __contains__(self, model: object) -> bool:
        """Whether a model of this name, registered or not, is one of them."""
        if not isinstance(model, str):
            return False
        if model not in self._seen:
            family = family_named(model, self._models)
            self._seen[model] = model in self._names or family in self.families
        return self._seen[model]

    def __str__(self) -> str:
        return ", ".join(sorted(self.families or self._names))


def _known(families: Iterable[str | None]) -> frozenset[str]:
    return frozenset(each for each in families if each is not None)


def _told(text: str) -> str | None:
    found = _KNOWN.search(text)
    return None if found is None else _SAME.get(found[1].lower(), found[1].lower())


def _is_in(family: str, model: str) -> bool:
    return re.search(rf"(?<![a-z]){re.escape(family)}(?![a-z])", model) is not None
