"""Verdicts on single completions, good or bad, as KTO learns from them: read from a file or taken from pairs.

Torch-free.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from solon.errors import InvalidInput
from solon.formats import text_lines
from solon.records import Completion, Prompt, Record
from trainer.data import Encoder, Example, Sample, TokenPair


class Vote(Record):
    """What somebody thought of one completion."""

    prompt: Prompt
    completion: Completion
    good: bool
    weight: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    """How much it counts."""


@dataclass(frozen=True)
class TokenVote:
    """A verdict as token ids; the completion carries no part of the prompt."""

    prompt_ids: list[int]
    completion_ids: list[int]
    good: bool
    weight: float

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.completion_ids)


def read_votes(path: Path) -> Iterator[Vote]:
    """The verdicts of a JSONL file; NotFound or InvalidInput names file and line."""
    for number, line in text_lines(path):
        yield _vote(line, f"{path}:{number}")


def _vote(line: bytes, where: str) -> Vote:
    try:
        return Vote.model_validate_json(line)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        remedy = "write prompt, completion, good and, if you like, weight"
        raise InvalidInput(f"no vote: {reason}", field=where, remedy=remedy) from error


def write_votes(path: Path, votes: Iterable[Vote]) -> None:
    """The file that `read_votes` reads."""
    with path.open("w", encoding="utf-8") as file:
        for vote in votes:
            file.write(vote.model_dump_json() + "\n")


def encoded(votes: Iterable[Vote], encoder: Encoder, drops: Counter[str]) -> Iterator[TokenVote]:
    """The verdicts as token ids; `drops` counts the rest under `empty`, `control_tokens` and `too_long`."""
    for vote in votes:
        found = encoder.sample(Sample(prompt=vote.prompt, completion=vote.completion))
        if isinstance(found, str):
            drops[found] += 1
        else:
            yield TokenVote(*found, vote.good, vote.weight)


def of_pairs(
    examples: Iterable[Example], encoder: Encoder, drops: Counter[str], *, min_probability: float, soft: bool
) -> Iterator[TokenVote]:
    """Two verdicts for each pair whose label is surer than `min_probability`; `drops` counts the other pairs.

    With `soft` both weigh 2 p - 1, so that a label that says nothing weighs nothing.
    """
    for example in examples:
        if example.p_chosen <= min_probability:
            drops["not_sure_enough"] += 1
            continue
        pair = encoder.pair(example)
        if not isinstance(pair, TokenPair):
            drops[pair] += 1
            continue
        weight = 2 * pair.p_chosen - 1 if soft else 1.0
        yield TokenVote(pair.prompt_ids, pair.chosen_ids, True, weight)
        yield TokenVote(pair.prompt_ids, pair.rejected_ids, False, weight)
