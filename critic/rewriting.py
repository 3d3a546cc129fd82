"""One round of critique and revision: two requests to the model that criticises, and what they bring back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from constitution.document import Principle
from critic.candidates import Sampling
from critic.framing import dialogue, one_line
from critic.judge import Usage
from critic.markers import neutralise
from critic.revision import Draft
from solon.chat import ChatModel, RequestRejected
from solon.records import Completion, Message, Prompt, Revision
from solon.templates import render

DEFAULT_CRITIQUE: Final = "Say how the response falls short of the principle."
DEFAULT_REVISION: Final = "Rewrite the response so that it follows the principle."


@dataclass(frozen=True)
class Shots:
    """Solved examples as turns before a request: what was asked, and the answer, in turn."""

    critiques: tuple[Message, ...] = ()
    revisions: tuple[Message, ...] = ()


class Rewriter:
    """Asks a model for critiques and revisions."""

    def __init__(self, model: ChatModel, sampling: Sampling, shots: Shots | None = None) -> None:
        self._model = model
        self._sampling = sampling
        self._shots = shots or Shots()

    async def round(
        self,
        prompt: Prompt,
        original: Completion,
        latest: Completion,
        principle: Principle,
        number: int,
        seed: int,
        usage: Usage,
    ) -> tuple[Revision, Draft | None]:
        """Round `number` of a chain, and its texts where a revision was written.

        A request that failed is a rejected revision. Raises ModelUnavailable when the model cannot be reached.
        """
        blank = Revision(round=number, principle=principle.id)
        try:
            said = await self._write(critique_messages(prompt, latest.text, principle, self._shots), seed, usage)
        except RequestRejected:
            return blank.model_copy(update={"rejected": "critique_failed"}), None
        if said is None or not said.text.strip():
            return blank.model_copy(update={"rejected": "no_critique"}), None
        critiqued = blank.model_copy(update={"critique": said.text.strip()})
        try:
            messages = revision_messages(prompt, latest.text, principle, critiqued.critique, self._shots)
            revision = await self._write(messages, seed, usage)
        except RequestRejected:
            return critiqued.model_copy(update={"rejected": "revision_failed"}), None
        if revision is None:
            return critiqued.model_copy(update={"rejected": "revision_failed"}), None
        draft = Draft(prompt, original, latest.text, critiqued.critique, revision)
        return critiqued.model_copy(update={"completion": revision}), draft

    async def _write(self, messages: Sequence[Message], seed: int, usage: Usage) -> Completion | None:
        """What the model wrote; None where the server withheld it."""
        sampling = self._sampling
        reply = await self._model.complete(
            messages,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=seed,
        )
        usage.add(Usage(reply.prompt_tokens, reply.completion_tokens))
        choice = reply.choices[0]
        if choice.finish_reason == "content_filter":
            return None
        finish: Literal["length", "stop"] = "length" if choice.finish_reason == "length" else "stop"
        return Completion(text=choice.text.strip(), finish_reason=finish, model=self._model.name, seed=seed)


def critique_messages(
    prompt: Prompt, response: str, principle: Principle, shots: Shots | None = None
) -> tuple[Message, ...]:
    """The exact request for a critique."""
    system, request = render(
        "critique",
        conversation=dialogue(prompt.messages),
        response=neutralise(response),
        principle=one_line(principle.text),
        request=one_line(principle.critique or DEFAULT_CRITIQUE),
    )
    return (system, *(shots.critiques if shots else ()), request)


def revision_messages(
    prompt: Prompt, response: str, principle: Principle, critique: str, shots: Shots | None = None
) -> tuple[Message, ...]:
    """The exact request for a revision."""
    system, request = render(
        "revision",
        conversation=dialogue(prompt.messages),
        response=neutralise(response),
        principle=one_line(principle.text),
        critique=one_line(neutralise(critique)),
        request=one_line(principle.revise or DEFAULT_REVISION),
    )
    return (system, *(shots.revisions if shots else ()), request)
