"""The default: the completions side by side, one token, and the log-probabilities of two labels.

Source: Bai et al. 2022, arXiv:2212.08073, section 4 (soft labels); Lee et al. 2023, arXiv:2309.00267.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from constitution.document import Principle
from critic.framing import DEFAULT_QUESTION, dialogue, fence_of, framed, one_line
from critic.judges.desk import Desk
from critic.markers import LABELS, neutralise
from critic.readings import Reading
from solon.records import Comparison, Completion, Message, Prompt
from solon.templates import render

SAMPLING: Final[dict[str, Any]] = {"max_tokens": 1, "temperature": 0.0, "top_logprobs": 20}
"""Of a one-token judge call: the log-probabilities of a tempered distribution would not be the judge's beliefs."""
ANSWERS: Final = ("Yes", "No")


@dataclass(frozen=True)
class Logprobs:
    """Reads the first token."""

    labels: tuple[str, str] = LABELS
    """What the completions are called in the prompt, first and second."""
    shots: tuple[Message, ...] = ()
    """Solved comparisons as turns before each one, see `critic.examples`."""
    fences: bool = False
    """Whether frames have a fence, see `critic.framing`."""

    name: ClassVar[str] = "logprobs"
    pair_templates: ClassVar[tuple[str, ...]] = ("judge_pair",)
    question_templates: ClassVar[tuple[str, ...]] = ("proposition",)
    marks_each: ClassVar[bool] = False

    @property
    def sampling(self) -> Mapping[str, Any]:
        """The request's parameters; the labels where they are not A and B, fences, and a digest of examples."""
        labels = {} if self.labels == LABELS else {"labels": list(self.labels)}
        turns = [[shot.role, shot.content] for shot in self.shots]
        digest = hashlib.sha256(json.dumps(turns).encode()).hexdigest()[:16]
        return {**SAMPLING, **labels, **with_fences(self.fences), **({"examples": digest} if turns else {})}

    async def prefer(self, listed: Comparison, principle: Principle, desk: Desk) -> Reading:
        """See `Method.prefer`."""
        system, request = pair_messages(listed, principle, self.labels, fences=self.fences)
        return await desk.labels((system, *self.shots, request), self.labels, SAMPLING)

    async def ask(self, prompt: Prompt, completion: Completion, question: str, desk: Desk) -> Reading:
        """See `Method.ask`."""
        return await desk.labels(question_messages(prompt, completion, question, fences=self.fences), ANSWERS, SAMPLING)


def with_fences(fences: bool) -> dict[str, bool]:
    """What a method's sampling says of them: nothing where there are none."""
    return {"fences": True} if fences else {}


def pair_messages(
    listed: Comparison,
    principle: Principle,
    labels: tuple[str, str] = LABELS,
    template: str = "judge_pair",
    *,
    fences: bool = False,
) -> tuple[Message, Message]:
    """The exact prompt of one vote. The principle is shown as one line, so wrapping it differently changes nothing."""
    return render(
        template,
        fence=fence_of(listed.prompt, listed.a, listed.b) if fences else "",
        conversation=dialogue(listed.prompt.messages, labels),
        a=framed(listed.a.text, labels),
        b=framed(listed.b.text, labels),
        first=labels[0],
        second=labels[1],
        principle=one_line(principle.text),
        question=one_line(principle.compare or DEFAULT_QUESTION),
    )


def question_messages(
    prompt: Prompt, completion: Completion, question: str, *, fences: bool = False
) -> tuple[Message, Message]:
    """The exact prompt of a yes/no question."""
    return render(
        "proposition",
        fence=fence_of(prompt, completion) if fences else "",
        conversation=dialogue(prompt.messages),
        response=neutralise(completion.text),
        question=one_line(question),
    )
