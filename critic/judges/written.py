"""Judges that write before they decide: `json`, a reason and a verdict in one object, and `cot`, an argument first.

After a written argument the verdict is nearly always 0 or 1 whatever the judge believes, so its probability is clamped,
to 0.40-0.60 by default, before anything is averaged (Bai et al. 2022, arXiv:2212.08073, section 4.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from constitution.document import Principle
from critic.concurrency import together
from critic.framing import dialogue, fence_of, one_line
from critic.judges.desk import Desk, readable, with_cost
from critic.judges.logprobs import ANSWERS, LABELS, SAMPLING, pair_messages, question_messages, with_fences
from critic.markers import neutralise
from critic.readings import Reading, read_labels
from solon.chat import ChatChoice
from solon.records import Comparison, Completion, Message, Prompt
from solon.seeds import counter_seed
from solon.templates import render

Clamp = tuple[float, float]

CLAMP: Final[Clamp] = (0.40, 0.60)
MAX_TOKENS: Final = 512
TIE: Final = "tie"


def clamped_reading(reading: Reading, clamp: Clamp) -> Reading:
    """The reading with its probability between the bounds of the clamp."""
    p = reading.p_first
    return reading if p is None else replace(reading, p_first=min(max(p, clamp[0]), clamp[1]))


@dataclass(frozen=True)
class JsonVerdict:
    """Asks for {"reason", "verdict"} under a JSON schema; the verdict is read from that field and nowhere else.

    There is no label mass: under a constraint it would be 1 by construction.
    """

    labels: tuple[str, str] = LABELS
    clamp: Clamp = CLAMP
    """(0, 1) takes a verdict as certain."""
    max_tokens: int = MAX_TOKENS
    fences: bool = False
    """Whether frames have a fence, see `critic.framing`."""

    name: ClassVar[str] = "json"
    pair_templates: ClassVar[tuple[str, ...]] = ("judge_json",)
    question_templates: ClassVar[tuple[str, ...]] = ("proposition_json",)
    marks_each: ClassVar[bool] = False

    @property
    def sampling(self) -> Mapping[str, Any]:
        """Method, labels, clamp and the request's parameters."""
        asked = {"method": self.name, "labels": list(self.labels), "clamp": list(self.clamp)}
        return {**asked, **with_fences(self.fences), **self._request}

    @property
    def _request(self) -> dict[str, Any]:
        return {"max_tokens": self.max_tokens, "temperature": 0.0}

    async def prefer(self, listed: Comparison, principle: Principle, desk: Desk) -> Reading:
        """See `Method.prefer`; a tie is 0.5."""
        messages = pair_messages(listed, principle, self.labels, "judge_json", fences=self.fences)
        return clamped_reading(await self._verdict(messages, self.labels, (TIE,), desk), self.clamp)

    async def ask(self, prompt: Prompt, completion: Completion, question: str, desk: Desk) -> Reading:
        """See `Method.ask`."""
        messages = render(
            "proposition_json",
            fence=fence_of(prompt, completion) if self.fences else "",
            conversation=dialogue(prompt.messages),
            response=neutralise(completion.text),
            question=one_line(question),
        )
        return clamped_reading(await self._verdict(messages, ANSWERS, (), desk), self.clamp)

    async def _verdict(
        self, messages: tuple[Message, ...], labels: tuple[str, str], even: tuple[str, ...], desk: Desk
    ) -> Reading:
        async def measure() -> Reading:
            schema = verdict_schema((*labels, *even))
            reply = await desk.model.complete(messages, **self._request, json_schema=schema)
            return with_cost(read_verdict(reply.choices[0], labels), reply)

        return await desk.measured(messages, labels, {"method": self.name, **self._request}, measure)


@dataclass(frozen=True)
class Argued:
    """Chain of thought: one request writes an argument, a second one reads the label that follows it.

    A question about one completion is answered by one token, without an argument.
    """

    labels: tuple[str, str] = LABELS
    clamp: Clamp = CLAMP
    samples: int = 1
    """Arguments per order, each clamped, then averaged; more than one are sampled at temperature 1."""
    max_tokens: int = MAX_TOKENS
    """Of one argument."""
    seed: int = 0
    fences: bool = False
    """Whether frames have a fence, see `critic.framing`."""

    name: ClassVar[str] = "cot"
    pair_templates: ClassVar[tuple[str, ...]] = ("judge_argue", "judge_conclude")
    question_templates: ClassVar[tuple[str, ...]] = ("proposition",)
    marks_each: ClassVar[bool] = False

    @property
    def sampling(self) -> Mapping[str, Any]:
        """Method, labels, clamp, and how arguments are sampled."""
        clamp = {"labels": list(self.labels), "clamp": list(self.clamp), "samples": self.samples}
        return {"method": self.name, **clamp, **with_fences(self.fences), **self._request(0)}

    def _request(self, sample: int) -> dict[str, Any]:
        if self.samples == 1:
            return {"max_tokens": self.max_tokens, "temperature": 0.0}
        seed = counter_seed(self.seed, sample, "argument")
        return {"max_tokens": self.max_tokens, "temperature": 1.0, "seed": seed}

    async def prefer(self, listed: Comparison, principle: Principle, desk: Desk) -> Reading:
        """See `Method.prefer`."""
        messages = pair_messages(listed, principle, self.labels, "judge_argue", fences=self.fences)
        readings = await together(self._one(messages, sample, desk) for sample in range(self.samples))
        return _mean([clamped_reading(each, self.clamp) for each in readings])

    async def ask(self, prompt: Prompt, completion: Completion, question: str, desk: Desk) -> Reading:
        """See `Method.ask`."""
        asked = question_messages(prompt, completion, question, fences=self.fences)
        return await desk.labels(asked, ANSWERS, SAMPLING)

    async def _one(self, messages: tuple[Message, Message], sample: int, desk: Desk) -> Reading:
        request = self._request(sample)

        async def measure() -> Reading:
            argued = await desk.model.complete(messages, **request)
            argument = argued.choices[0]
            if argument.finish_reason == "content_filter":
                return with_cost(Reading(None, None, refused=True, note="no argument"), argued)
            reply = await desk.model.complete(self._concluding(messages, argument.text), **SAMPLING)
            reading = readable(desk.model, lambda: read_labels(reply.choices[0], self.labels))
            return with_cost(replace(reading, text=argument.text.strip()), argued, reply)

        return await desk.measured(messages, self.labels, {"method": self.name, **request}, measure)

    def _concluding(self, messages: tuple[Message, Message], argument: str) -> tuple[Message, ...]:
        conclude = render("judge_conclude", first=self.labels[0], second=self.labels[1])[1]
        return (
            *messages,
            Message(role="assistant", content=neutralise(argument, labels=self.labels).strip()),
            conclude,
        )


class _Said(BaseModel):
    """What a JSON judge writes."""

    model_config = ConfigDict(strict=True, extra="forbid")

    reason: str = Field(max_length=100_000)
    verdict: str


def verdict_schema(words: tuple[str, ...]) -> dict[str, Any]:
    """The JSON schema of a reason and one of the words."""
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "verdict": {"type": "string", "enum": list(words)}},
        "required": ["reason", "verdict"],
        "additionalProperties": False,
    }


def read_verdict(choice: ChatChoice, labels: tuple[str, str]) -> Reading:
    """1, 0 or (a tie) 0.5; no probability where the text is not the object that was asked for."""
    if choice.finish_reason == "content_filter":
        return Reading(None, None, refused=True, note="the server withheld the text")
    try:
        said = _Said.model_validate_json(choice.text)
    except ValidationError:
        what = "the JSON was cut at max_tokens" if choice.finish_reason == "length" else "not the JSON asked for"
        return Reading(None, None, note=what)
    verdicts = {labels[0]: 1.0, labels[1]: 0.0, TIE: 0.5}
    if said.verdict not in verdicts:
        return Reading(None, None, note="the verdict is none of the words asked for")
    return Reading(verdicts[said.verdict], None, text=said.reason.strip())


def _mean(readings: list[Reading]) -> Reading:
    """The mean of the probabilities; no probability where one of the readings has none."""
    if len(readings) == 1:
        return readings[0]
    failed = next((each for each in readings if each.p_first is None), None)
    found = [each.p_first for each in readings if each.p_first is not None]
    masses = [each.label_mass for each in readings if each.label_mass is not None]
    return Reading(
        p_first=None if failed is not None else sum(found) / len(found),
        label_mass=min(masses) if masses else None,
        refused=failed is not None and failed.refused,
        note=failed.note if failed is not None else "",
        text="\n---\n".join(each.text for each in readings),
    )
