"""Pairs that hold a prompt on which a model will be evaluated: taken out, so that the evaluation measures no memory.

A pair is contaminated by an evaluation prompt when
    evaluation_prompt           one of its user turns, or its conversation up to one, is the prompt, word by word
    evaluation_overlap          runs of 8 words that one of the pair's texts shares with it cover half of the prompt
    evaluation_near_duplicate   a user turn is almost the prompt (MinHash)
Case, punctuation and spaces make no difference.

Source: Lambert et al. 2024 (Tulu 3), arXiv:2411.15124, section 3.2 (overlap).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from critic.wording import Index, Sketch, index, runs, shingles, sketch, words
from solon.records import Discard, Message, PreferencePair, Prompt

SAME: Final = "evaluation_prompt"
OVERLAP: Final = "evaluation_overlap"
NEAR: Final = "evaluation_near_duplicate"
RUN_WORDS: Final = 8
COVERED: Final = 0.5
THRESHOLD: Final = 0.8


@dataclass
class Decontaminator:
    """Knows the evaluation prompts; `add` all of them first. Memory grows with them, not with the pairs."""

    run_words: int = RUN_WORDS
    """Length of the runs of words that are compared."""
    covered: float = COVERED
    """Share of an evaluation prompt's words at which it counts as copied."""
    threshold: float = THRESHOLD
    """Least estimated Jaccard similarity of a user turn and a prompt; 1 turns this test off."""
    _names: list[str] = field(default_factory=list[str])
    _lengths: list[int] = field(default_factory=list[int])
    _same: dict[str, int] = field(default_factory=dict[str, int])
    _runs: dict[str, list[tuple[int, int]]] = field(default_factory=dict[str, list[tuple[int, int]]])
    """Where each run of words stands: number of the prompt, place in it."""
    _sketches: list[Sketch] = field(default_factory=list[Sketch])
    _index: Index = field(init=False)

    def __post_init__(self) -> None:
        self._index = index(self.threshold)

    def __len__(self) -> int:
        return len(self._names)

    def add(self, prompt: Prompt, name: str) -> None:
        """Remember an evaluation prompt; `name` is what discards call it."""
        number, turns = len(self._names), _user_turns(prompt.messages)
        found = words(turns[-1])
        self._names.append(name)
        self._lengths.append(len(found))
        self._same.setdefault(_conversation(turns), number)
        for place, run in runs(found, self.run_words):
            self._runs.setdefault(run, []).append((number, place))
        self._sketches.append(sketch(shingles(turns[-1])))
        if len(found) >= self.run_words:  # in a shorter one, another word makes another question
            self._index.insert(number, self._sketches[-1])

    def check(self, pair: PreferencePair) -> Discard | None:
        """Why the pair is contaminated; None where it is clean."""
        found = self.check_prompt(pair.prompt, (pair.a.text, pair.b.text))
        return None if found is None else found.model_copy(update={"pair": pair})

    def check_prompt(self, prompt: Prompt, completions: Sequence[str] = ()) -> Discard | None:
        """The same of a prompt and whatever completions it has."""
        turns = _user_turns(prompt.messages)
        texts = [*(message.content for message in prompt.messages), *completions]
        found = self._is_same(turns) or self._overlap(texts) or self._near(turns)
        if found is None:
            return None
        reason, number, how = found
        return Discard(prompt_id=prompt.id, reason=reason, detail=f"{self._names[number]}{how}")

    def _is_same(self, turns: list[str]) -> tuple[str, int, str] | None:
        for end, turn in enumerate(turns, start=1):
            for key in (_conversation([turn]), _conversation(turns[:end])):
                if key in self._same:
                    return SAME, self._same[key], ""
        return None

    def _overlap(self, texts: list[str]) -> tuple[str, int, str] | None:
        for text in texts:
            copied: dict[int, set[int]] = {}
            for _, run in runs(words(text), self.run_words):
                for number, place in self._runs.get(run, ()):
                    copied.setdefault(number, set()).update(range(place, place + self.run_words))
            for number, places in copied.items():
                share = len(places) / self._lengths[number]
                if share >= self.covered:
                    return OVERLAP, number, f", {share:.0%} of its words"
        return None

    def _near(self, turns: list[str]) -> tuple[str, int, str] | None:
        if self.threshold >= 1:
            return None
        for turn in turns:
            found = sketch(shingles(turn))
            for number in sorted(self._index.query(found)):
                similarity = found.jaccard(self._sketches[number])
                if similarity >= self.threshold:
                    return NEAR, number, f", similarity {similarity:.2f}"
        return None


def decontaminated(pairs: Iterable[PreferencePair], against: Decontaminator) -> Iterator[PreferencePair | Discard]:
    """Each pair, or why it is left out, in order."""
    for pair in pairs:
        yield against.check(pair) or pair


def _user_turns(messages: Iterable[Message]) -> list[str]:
    return [message.content for message in messages if message.role == "user"] or [""]


def _conversation(turns: Iterable[str]) -> str:
    """The turns without what makes no difference; a text without words, such as an emoji, stands for itself."""
    return "\n".join(" ".join(words(turn)) or turn.strip() for turn in turns)
