"""Rows as other programs write them, one class per format: what is read is checked, what is written can be read again.

    trl_preference     {"prompt": [turns], "chosen": [turn], "rejected": [turn]}; also texts, implicit prompts
    trl_unpaired       {"prompt": [turns], "completion": [turn], "label": true}; two rows a pair
    openai_preference  {"input": {"messages": [turns]}, "preferred_output": [turn], "non_preferred_output": [turn]}
    sharegpt           {"conversations": [{"from": "human", "value": ...}], "chosen": {...}, "rejected": {...}}
    votes              {"messages": [turns], "response_a": ..., "response_b": ..., "votes": ["a", "tie"]}; written only
    hh                 {"chosen": "\\n\\nHuman: ...\\n\\nAssistant: ...", "rejected": ...}; read only

All but openai_preference, votes and hh keep `id`, `prompt_id`, `scope` and `p_chosen` beside; other programs
pass them over. (`margin` is not written: TRL's reward trainer would add it to its loss.)
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from critic.audit import human_votes
from critic.exchange.given import Given
from solon.records import Message, PreferencePair, Probability

_FROM: Final = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_TO: Final = {"system": "system", "user": "human", "assistant": "gpt"}


class Shape(BaseModel):
    """Strict about types; keys that we do not know are left aside."""

    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)


class Turn(Shape):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str

    def message(self) -> Message:
        """As a record."""
        return Message(role=self.role, content=self.content)


class Ours(Shape):
    """What we keep beside, so that a pair that was written can be read again."""

    id: str | None = None
    prompt_id: str | None = None
    scope: str | None = None
    p_chosen: Probability = 1.0

    def given(self, messages: Sequence[Message], chosen: str, rejected: str) -> Given:
        """The chosen completion as a."""
        return Given(tuple(messages), chosen, rejected, self.p_chosen, self.id, self.prompt_id, self.scope)


Said = str | list[Turn]


class TrlPreference(Ours):
    """TRL's preference format, with an explicit or an implicit prompt."""

    prompt: Said | None = None
    chosen: Said
    rejected: Said

    def read(self) -> Given:
        """The pair; ValueError where the prompt or an answer cannot be told."""
        if self.prompt is None:
            return self.given(*split(_turns(self.chosen, "assistant"), _turns(self.rejected, "assistant")))
        messages = _turns(self.prompt, "user")
        return self.given(messages, _answer(self.chosen, "chosen"), _answer(self.rejected, "rejected"))

    @staticmethod
    def write(pair: PreferencePair) -> Iterator[dict[str, Any]]:
        """One row."""
        prompt, chosen, rejected = _parts(pair)
        yield _ours(pair) | {"prompt": prompt, "chosen": [_turn(chosen)], "rejected": [_turn(rejected)]}


class TrlUnpaired(Ours):
    """TRL's unpaired format, as KTO reads it; `critic.exchange.files` joins two rows of one prompt."""

    prompt: Said
    completion: Said
    label: bool

    @property
    def messages(self) -> list[Message]:
        """The conversation."""
        return _turns(self.prompt, "user")

    @property
    def text(self) -> str:
        """The completion; ValueError where it is not one turn."""
        return _answer(self.completion, "completion")

    @staticmethod
    def write(pair: PreferencePair) -> Iterator[dict[str, Any]]:
        """Two rows, the chosen one first."""
        prompt, chosen, rejected = _parts(pair)
        for text, label in ((chosen, True), (rejected, False)):
            yield _ours(pair) | {"prompt": prompt, "completion": [_turn(text)], "label": label}


class _Input(Shape):
    messages: list[Turn] = Field(min_length=1)


class OpenAIPreference(Shape):
    """OpenAI's format for direct preference optimisation; labels are hard."""

    input: _Input
    preferred_output: list[Turn]
    non_preferred_output: list[Turn]

    def read(self) -> Given:
        """The pair; ValueError where an output is not one answer."""
        messages = tuple(turn.message() for turn in self.input.messages)
        chosen = _answer(self.preferred_output, "preferred_output")
        return Given(messages, chosen, _answer(self.non_preferred_output, "non_preferred_output"), 1.0)

    @staticmethod
    def write(pair: PreferencePair) -> Iterator[dict[str, Any]]:
        """One row, with no key of ours: the service refuses unknown ones."""
        prompt, chosen, rejected = _parts(pair)
        outputs = {"preferred_output": [_turn(chosen)], "non_preferred_output": [_turn(rejected)]}
        yield {"input": {"messages": prompt}, **outputs}


class _Value(Shape):
    source: str = Field(alias="from")
    value: str

    def message(self) -> Message:
        role: Any = _FROM.get(self.source)
        if role is None:
            raise ValueError(f"`from` is none of {', '.join(_FROM)}")
        return Message(role=role, content=self.value)


class ShareGPT(Ours):
    """ShareGPT conversations with a chosen and a rejected answer, as LLaMA-Factory reads them."""

    conversations: list[_Value] = Field(min_length=1)
    chosen: _Value
    rejected: _Value
    system: str | None = None

    def read(self) -> Given:
        """The pair; ValueError where a side is unknown."""
        system = [Message(role="system", content=self.system)] if self.system else []
        messages = system + [each.message() for each in self.conversations]
        if {each.message().role for each in (self.chosen, self.rejected)} != {"assistant"}:
            raise ValueError("`chosen` and `rejected` must be from gpt")
        return self.given(messages, self.chosen.value, self.rejected.value)

    @staticmethod
    def write(pair: PreferencePair) -> Iterator[dict[str, Any]]:
        """One row."""
        prompt, chosen, rejected = _parts(pair)
        conversation = [{"from": _TO[turn["role"]], "value": turn["content"]} for turn in prompt]
        sides = {name: {"from": "gpt", "value": text} for name, text in (("chosen", chosen), ("rejected", rejected))}
        yield _ours(pair) | {"conversations": conversation, **sides}


class Votes:
    """People's verdicts as rows that `solon audit judge` and `solon label` read; the judge's label is not in them."""

    @staticmethod
    def write(pair: PreferencePair) -> Iterator[dict[str, Any]]:
        """One row."""
        turns = [message.model_dump() for message in pair.prompt.messages]
        sides = {"response_a": pair.a.text, "response_b": pair.b.text, "models": [pair.a.model, pair.b.model]}
        row = {"id": pair.id, "messages": turns, **sides, "votes": list(human_votes(pair))}
        yield row | {"scope": pair.prompt.scope, "metadata": pair.prompt.metadata}


class Transcripts(Shape):
    """Anthropic's hh-rlhf: two transcripts that differ in the last answer."""

    chosen: str
    rejected: str

    def read(self) -> Given:
        """The pair; ValueError where the transcripts are none, or differ before the last answer."""
        messages, chosen, rejected = split(transcript(self.chosen), transcript(self.rejected))
        return Given(tuple(messages), chosen, rejected, 1.0)


def transcript(text: str) -> list[Message]:
    """The turns of `\\n\\nHuman: ...\\n\\nAssistant: ...`; ValueError where it does not begin with one."""
    parts = text.replace("\n\nHuman:", "\0user\0").replace("\n\nAssistant:", "\0assistant\0").split("\0")
    if "\0" in text or len(parts) < 2 or parts[0].strip():
        raise ValueError("a transcript does not begin with a turn of Human or Assistant")
    turns = zip(parts[1::2], parts[2::2], strict=True)
    return [Message(role=role, content=said.strip()) for role, said in turns]  # type: ignore[arg-type]


def split(one: Sequence[Message], other: Sequence[Message]) -> tuple[Sequence[Message], str, str]:
    """The conversation that both have, and the answer with which each ends; ValueError where they differ before."""
    if len(one) != len(other) or one[:-1] != other[:-1]:
        raise ValueError("`chosen` and `rejected` differ before the last answer")
    if not one or one[-1].role != "assistant" or other[-1].role != "assistant":
        raise ValueError("`chosen` and `rejected` do not end with an answer")
    return one[:-1], one[-1].content, other[-1].content


def _turns(said: Said, role: Literal["user", "assistant"]) -> list[Message]:
    return [Message(role=role, content=said)] if isinstance(said, str) else [turn.message() for turn in said]


def _answer(said: Said, name: str) -> str:
    """The text of the one turn that an answer is."""
    turns = _turns(said, "assistant")
    if len(turns) != 1 or turns[0].role != "assistant":
        raise ValueError(f"`{name}` is not one turn of the assistant")
    return turns[0].content


def _parts(pair: PreferencePair) -> tuple[list[dict[str, Any]], str, str]:
    """Conversation, chosen and rejected text of a labelled pair."""
    chosen, rejected = pair.chosen_text, pair.rejected_text
    if chosen is None or rejected is None:
        raise ValueError("the pair has no label")
    return [message.model_dump() for message in pair.prompt.messages], chosen, rejected


def _turn(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _ours(pair: PreferencePair) -> dict[str, Any]:
    made = {"id": pair.id, "prompt_id": pair.prompt.id, "scope": pair.prompt.scope}
    return made | {"p_chosen": 1.0 if pair.p_chosen is None else pair.p_chosen}
