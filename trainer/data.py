"""From labelled pairs to token sequences, with every pair that is left out counted under a reason. Torch-free.

    PreferencePair -> Example (conversational prompt, chosen, rejected, p_chosen) -> TokenPair | drop reason

A completion that was cut (`finish_reason` "length") is never taught to stop where it was cut: it gets no end-of-turn
token. One that finished gets it exactly once, whatever the chat template does.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from solon.errors import InvalidInput
from solon.formats import text_lines
from solon.records import POSITION_INCONSISTENT, Completion, PreferencePair, Prompt, Record, Status
from solon.seeds import counter_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = "probe"


class Sample(Record):
    """A completion that a policy sampled for a prompt."""

    prompt: Prompt
    completion: Completion


@dataclass(frozen=True)
class Example:
    """A training pair in the conversational form."""

    prompt: list[dict[str, str]]
    chosen: Completion
    rejected: Completion
    p_chosen: float
    """P(chosen is better), in [0, 1]; 0.5 or more, and 1 when labels are hard."""


@dataclass(frozen=True)
class TokenPair:
    """A training pair as token ids; the completions carry no part of the prompt."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    p_chosen: float

    @property
    def length(self) -> int:
        """Tokens of the longer of the two sequences."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


def examples(
    pairs: Iterable[PreferencePair], drops: Counter[str], *, soft_labels: bool, shuffle_seed: int | None = None
) -> Iterator[Example]:
    """The usable pairs in order; `drops` counts the rest under `status:<status>`, `quarantined`, `empty`, `identical`,
    and with hard labels `position_inconsistent`.

    With a `shuffle_seed` the two completions change places when a coin keyed by (seed, pair id) says so: the control.
    """
    for pair in pairs:
        if (label := _label(pair, soft_labels)) is None:
            drops[f"status:{pair.status}"] += 1
            continue
        if pair.quarantined:
            drops["quarantined"] += 1
            continue
        if not soft_labels and POSITION_INCONSISTENT in pair.flags:
            drops[POSITION_INCONSISTENT] += 1
            continue
        side, p_chosen = label
        if shuffle_seed is not None and counter_seed(shuffle_seed, pair.id, "shuffle_labels") & 1:
            side = "b" if side == "a" else "a"
        chosen, rejected = (pair.a, pair.b) if side == "a" else (pair.b, pair.a)
        if not chosen.text.strip() or not rejected.text.strip():
            drops["empty"] += 1
        elif chosen.text == rejected.text:
            drops["identical"] += 1
        else:
            yield Example([m.model_dump() for m in pair.prompt.messages], chosen, rejected, p_chosen)


def _label(pair: PreferencePair, soft_labels: bool) -> tuple[str, float] | None:
    """The better side and P(it is better); None when the pair may not reach a trainer."""
    if pair.status is Status.OK and pair.chosen is not None and pair.p_chosen is not None:
        return pair.chosen, pair.p_chosen if soft_labels else 1.0
    if pair.status is Status.TIE and soft_labels and pair.p_a is not None:
        return ("a", pair.p_a) if pair.p_a >= 0.5 else ("b", 1.0 - pair.p_a)
    return None


class Encoder:
    """Renders conversations through a tokenizer's chat template and separates the completion from the prompt."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", max_length: int) -> None:
        if not tokenizer.chat_template:
            raise InvalidInput(
                "the model's tokenizer has no chat template",
                field="model",
                remedy="add chat_template.jinja to the model directory",
            )
        if tokenizer.eos_token_id is None:
            raise InvalidInput(
                "the model's tokenizer has no EOS token", field="model", remedy="set eos_token in tokenizer_config.json"
            )
        self.max_length = max_length
        self._tokenizer: Any = tokenizer  # typed too loosely in transformers
        self._control_tokens = tuple(t for t in tokenizer.all_special_tokens if t)
        self._tail, self._closing = self._turn_end()

    def _turn_end(self) -> tuple[list[int], list[int]]:
        """Ids the template puts after a completion, and those of them to be learnt: up to the first control token."""
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _PROBE}]
        text = str(self._tokenizer.apply_chat_template(turns, tokenize=False))
        after = text[text.rindex(_PROBE) + len(_PROBE) :]
        tail: list[int] = self._tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
        control = set(self._tokenizer.all_special_ids)
        first = next((i for i, token in enumerate(tail) if token in control), None)
        return tail, tail[: first + 1] if first is not None else [int(self._tokenizer.eos_token_id)]

    def require_one_bos(self) -> None:
        """Raise InvalidInput where a conversation begins with two BOS tokens, the template's and the tokenizer's."""
        bos = self._tokenizer.bos_token_id
        if bos is not None and self.prompt([{"role": "user", "content": _PROBE}])[:2] == [bos, bos]:
            raise InvalidInput(
                "the chat template writes the BOS token twice",
                field="model",
                remedy="remove one of them from chat_template.jinja",
            )

    def prompt(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Ids of a conversation that is about to be answered."""
        return self._ids(messages, add_generation_prompt=True)

    def _ids(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool) -> list[int]:
        return list(
            self._tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=True
            )["input_ids"]
        )

    def _full(self, messages: Sequence[dict[str, str]], completion: Completion) -> list[int]:
        """Ids of the conversation with its answer, without what the template puts after the answer."""
        ids = self._ids([*messages, {"role": "assistant", "content": completion.text}], add_generation_prompt=False)
        return ids[: len(ids) - len(self._tail)] if self._tail and ids[-len(self._tail) :] == self._tail else ids

    def split(self, messages: Sequence[dict[str, str]], *completions: Completion) -> tuple[list[int], list[list[int]]]:
        """Prompt ids and each completion's ids, end of turn included when the completion finished.

        A completion starts where its rendering leaves the prompt's, so a token that merges across the boundary belongs
        to the completion.
        """
        prompt = self.prompt(messages)
        full = [self._full(messages, completion) for completion in completions]
        start = min(_common_prefix(prompt, ids) for ids in full)
        ends = [[] if completion.finish_reason == "length" else self._closing for completion in completions]
        return prompt[:start], [ids[start:] + end for ids, end in zip(full, ends, strict=True)]

    def writes_control_tokens(self, text: str) -> bool:
        """Whether the text would be read as control tokens, such as a forged end of turn."""
        return any(token in text for token in self._control_tokens)

    def pair(self, example: Example) -> TokenPair | str:
        """The pair as token ids, or the reason to drop it: `control_tokens`, `identical`, `empty` or `too_long`."""
        if any(self.writes_control_tokens(c.text) for c in (example.chosen, example.rejected)):
            return "control_tokens"
        prompt_ids, (chosen_ids, rejected_ids) = self.split(example.prompt, example.chosen, example.rejected)
        tokens = TokenPair(prompt_ids, chosen_ids, rejected_ids, example.p_chosen)
        if chosen_ids == rejected_ids:
            return "identical"
        if not chosen_ids or not rejected_ids:
            return "empty"
        return "too_long" if tokens.length > self.max_length else tokens

    def sample(self, sample: Sample) -> tuple[list[int], list[int]] | str:
        """Prompt and completion ids of a sample, or the reason to drop it: `control_tokens`, `empty` or `too_long`."""
        if self.writes_control_tokens(sample.completion.text):
            return "control_tokens"
        prompt_ids, (ids,) = self.split([m.model_dump() for m in sample.prompt.messages], sample.completion)
        if not ids:
            return "empty"
        return "too_long" if len(prompt_ids) + len(ids) > self.max_length else (prompt_ids, ids)


def _common_prefix(ids: Sequence[int], other: Sequence[int]) -> int:
    """How many leading ids the two have in common."""
    return next((i for i, (x, y) in enumerate(zip(ids, other, strict=False)) if x != y), min(len(ids), len(other)))


def read_samples(path: Path) -> Iterator[Sample]:
    """The samples of a JSONL file; NotFound or InvalidInput names file and line."""
    for number, line in text_lines(path):
        yield _sample(line, f"{path}:{number}")


def _sample(line: bytes, where: str) -> Sample:
    try:
        return Sample.model_validate_json(line)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise InvalidInput(
            f"no sample: {reason}", field=where, remedy="write it with trainer.data.write_samples"
        ) from error


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """The file that `read_samples` reads."""
    with path.open("w", encoding="utf-8") as file:
        for sample in samples:
            file.write(sample.model_dump_json() + "\n")
