"""Which family a registered model is of: models of one family share their ways of writing, and judges prefer their own.

Known from the registry's `family`, else from the name that the server knows the model by, else unknown.
"""

import re
from collections.abc import Mapping
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
    for text in (entry.model, entry.path, name):
        found = _KNOWN.search(text or "")
        if found is not None:
            return _SAME.get(found[1].lower(), found[1].lower())
    return None


def kin_of(name: str, models: Mapping[str, ModelEntry]) -> frozenset[str]:
    """Registered names of the models of the same family as `name`, itself included, since a judge may write too."""
    family = family_of(name, models[name])
    others = {other for other, entry in models.items() if family is not None and family_of(other, entry) == family}
    return frozenset(others | {name})
