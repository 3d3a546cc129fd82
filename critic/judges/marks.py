"""Judges that mark each completion on its own: `score`, on a scale, and `reward_model`, a trained model's reward.

The order of listing cannot matter to them. `score` is direct RLAIF's: the expectation over the numbers of a scale,
rescaled to [-1, 1] (Lee et al. 2023, arXiv:2309.00267, section 2.2.2). Side by side, P(a is better) is the probability
that a number drawn for a is above one drawn for b, an equal one counting half: no scale factor is made up. Rewards
compare as in Bradley-Terry: s(r_a - r_b).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from constitution.document import Principle
from critic.concurrency import together
from critic.framing import dialogue, fence_of, one_line
from critic.judges.desk import Desk, readable, with_cost
from critic.judges.logprobs import ANSWERS, SAMPLING, question_messages, with_fences
from critic.markers import neutralise
from critic.readings import Reading, read_scale
from solon.chat import RequestFailed
from solon.errors import InvalidInput
from solon.records import Comparison, Completion, Message, Prompt
from solon.scoring import RewardModel
from solon.templates import render

SCALE: Final = 10


@dataclass(frozen=True)
class Score:
    """One token on a scale from 1 to `scale`, read from its log-probabilities."""

    scale: int = SCALE
    """2 to 10. A tokenizer that writes 10 as two tokens wants 9 at most."""
    fences: bool = False
    """Whether frames have a fence, see `critic.framing`."""

    name: ClassVar[str] = "score"
    pair_templates: ClassVar[tuple[str, ...]] = ("score",)
    question_templates: ClassVar[tuple[str, ...]] = ("proposition",)
    marks_each: ClassVar[bool] = True

    @property
    def sampling(self) -> Mapping[str, Any]:
        """Method, scale and the request's parameters."""
        return {"method": self.name, "scale": self.scale, **with_fences(self.fences), **SAMPLING}

    async def prefer(self, listed: Comparison, principle: Principle, desk: Desk) -> Reading:
        """See `Method.prefer`."""
        a, b = await together(self.mark(listed.prompt, each, principle, desk) for each in (listed.a, listed.b))
        return side_by_side(a, b, None if not (a.scale and b.scale) else beats(a.scale, b.scale))

    async def mark(self, prompt: Prompt, completion: Completion, principle: Principle, desk: Desk) -> Reading:
        """The completion's mark in [-1, 1], with the probabilities of the numbers."""
        messages = self._messages(prompt, completion, principle)

        async def measure() -> Reading:
            reply = await desk.model.complete(messages, **SAMPLING)
            return with_cost(readable(desk.model, lambda: read_scale(reply.choices[0], self.scale)), reply)

        return await desk.measured(messages, self._numbers, SAMPLING, measure)

    async def ask(self, prompt: Prompt, completion: Completion, question: str, desk: Desk) -> Reading:
        """See `Method.ask`."""
        asked = question_messages(prompt, completion, question, fences=self.fences)
        return await desk.labels(asked, ANSWERS, SAMPLING)

    @property
    def _numbers(self) -> tuple[str, ...]:
        return tuple(str(number) for number in range(1, self.scale + 1))

    def _messages(self, prompt: Prompt, completion: Completion, principle: Principle) -> tuple[Message, Message]:
        return render(
            "score",
            fence=fence_of(prompt, completion) if self.fences else "",
            conversation=dialogue(prompt.messages),
            response=neutralise(completion.text),
            principle=one_line(principle.text),
            most=str(self.scale),
        )


@dataclass(frozen=True)
class Reward:
    """A trained reward model; it knows no principles, so each principle has the same verdict."""

    name: ClassVar[str] = "reward_model"
    pair_templates: ClassVar[tuple[str, ...]] = ()
    question_templates: ClassVar[tuple[str, ...]] = ()
    marks_each: ClassVar[bool] = True

    @property
    def sampling(self) -> Mapping[str, Any]:
        """Method and scale of the reward."""
        return {"method": self.name, "use_activation": False}

    async def prefer(self, listed: Comparison, principle: Principle, desk: Desk) -> Reading:
        """See `Method.prefer`."""
        a, b = await together(self.mark(listed.prompt, each, principle, desk) for each in (listed.a, listed.b))
        return side_by_side(a, b, None if a.score is None or b.score is None else _sigmoid(a.score - b.score))

    async def mark(self, prompt: Prompt, completion: Completion, principle: Principle, desk: Desk) -> Reading:
        """The completion's reward, an unbounded number."""
        model = desk.model
        if not isinstance(model, RewardModel):
            raise RequestFailed(f"model {model.name!r} gives no rewards", remedy="serve it with a /classify route")
        messages = (*prompt.messages, Message(role="assistant", content=completion.text))

        async def measure() -> Reading:
            found = await model.score(messages)
            return Reading(None, None, score=found.reward, prompt_tokens=found.prompt_tokens)

        return await desk.measured(messages, (), self.sampling, measure)

    async def ask(self, prompt: Prompt, completion: Completion, question: str, desk: Desk) -> Reading:
        """Refused: a reward model answers no questions."""
        raise InvalidInput(
            f"the reward model {desk.model.name!r} answers no questions",
            field="judge",
            remedy="name a judge that does, or a constitution whose rules ask none",
        )


def side_by_side(a: Reading, b: Reading, p_first: float | None) -> Reading:
    """The reading of a comparison from the marks of its completions; what was wrong with one is wrong with it."""
    masses = [each.label_mass for each in (a, b) if each.label_mass is not None]
    return Reading(
        p_first,
        min(masses) if masses else None,
        refused=a.refused or b.refused,
        note=a.note or b.note,
    )


def beats(a: Sequence[float], b: Sequence[float]) -> float:
    """P(a number drawn from a is above one drawn from b) + P(they are equal) / 2; both sum to 1."""
    above = below = below_a = below_b = 0.0
    for p_a, p_b in zip(a, b, strict=True):
        above += p_a * below_b
        below += p_b * below_a
        below_a, below_b = below_a + p_a, below_b + p_b
    return 0.5 + (above - below) / 2  # exactly 0.5 for the same marks, exactly mirrored for exchanged ones


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))
