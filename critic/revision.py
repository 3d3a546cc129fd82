"""What is wrong with a revision, read off the texts: no model is asked.

no_critique, critique_failed, revision_failed   there was nothing to work with
empty_revision       no text
cut_revision         it ran into the token limit
unchanged_revision   the same words as the original, or as the text that was to be revised
repeats_critique     it holds the critique, or half of its runs of five words
speaks_of_revision   it talks of a critique, a revision or a principle that the dialogue does not mention
refuses_benign       it declines a request that is known to be harmless, and the original did not
injection_suspected  the revision or the original speaks to the judge, or the prompt forges a frame (`critic.suspicion`)
not_better           the judge, asked in both orders, does not say that it beats the original
unverified           the judge could not say
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from critic.markers import LABELS
from critic.refusals import refuses
from critic.suspicion import suspected
from solon.records import INJECTION_SUSPECTED, Completion, Prompt

_RUN: int = 5
"""Words in a row that two texts share by copying rather than by chance."""
_MOST_SHARED = 0.5
_ABOUT_ITSELF = re.compile(
    r"\b(?:critiques?|critiqued|revision|revisions|revised|rewritten|rewrote|principle)\b", re.IGNORECASE
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Draft:
    """A revision with the texts it came from."""

    prompt: Prompt
    original: Completion
    """The completion that the chain began with."""
    revised: str
    """The text that was to be revised: the original, or the latest kept revision."""
    critique: str
    revision: Completion


def fault(draft: Draft, labels: Sequence[str] = LABELS) -> str | None:
    """Why the revision is not worth judging; None when nothing speaks against it.

    Args:
        labels: what the judge calls the completions.
    """
    text = draft.revision.text
    if not text.strip():
        return "empty_revision"
    if draft.revision.finish_reason == "length":
        return "cut_revision"
    if _words(text) in (_words(draft.original.text), _words(draft.revised)):
        return "unchanged_revision"
    if _repeats(text, draft.critique, draft.revised):
        return "repeats_critique"
    if _speaks_of_revision(draft):
        return "speaks_of_revision"
    if is_benign(draft.prompt) and refuses(text) and not refuses(draft.original.text):
        return "refuses_benign"
    if suspected(draft.prompt, draft.original, draft.revision, labels=labels):
        return INJECTION_SUSPECTED
    return None


def is_benign(prompt: Prompt) -> bool:
    """Whether the prompt is known to be harmless: its metadata say `benign: true`."""
    return prompt.metadata.get("benign") is True


def _repeats(text: str, critique: str, revised: str) -> bool:
    """Whether the text copies the critique; what the critique quotes from the text it is about does not count."""
    own = _runs(_words(critique)) - _runs(_words(revised))
    if not own:
        words = _words(critique)
        return bool(words) and len(words) < _RUN and _words(text) == words
    return len(own & _runs(_words(text))) >= _MOST_SHARED * len(own)


def _speaks_of_revision(draft: Draft) -> bool:
    known = " ".join([*(message.content for message in draft.prompt.messages), draft.original.text])
    spoken = {word.lower() for word in _ABOUT_ITSELF.findall(draft.revision.text)}
    return bool(spoken - {word.lower() for word in _ABOUT_ITSELF.findall(known)})


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def _runs(words: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1)}
