"""The judge: which of two completions follows a principle better, and whether a statement holds of one.

Every comparison is put in both orders, one token each, and the verdict is the mean of the two (Lee et al. 2023,
arXiv:2309.00267): a judge that looks only at the slot comes out at exactly 0.5. The principle comes last in the prompt,
so all principles of one pair share a prefix in the server's cache. A reply that cannot be used is a status, never a
number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from constitution.document import Principle
from critic.cache import Cache, judgement_key
from critic.concurrency import together
from critic.framing import dialogue, one_line
from critic.markers import neutralise
from critic.readings import Reading, read_labels
from solon.chat import ChatModel, PromptTooLong, RequestFailed, RequestTimedOut
from solon.records import Comparison, Completion, Message, Prompt, Status, Verdict, Vote
from solon.templates import render

DEFAULT_QUESTION: Final = "Which response follows the principle better?"
SAMPLING: Final[dict[str, Any]] = {"max_tokens": 1, "temperature": 0.0, "top_logprobs": 20}
"""Of every judge call: the log-probabilities of a tempered distribution would not be the judge's beliefs."""

Order = Literal["ab", "ba"]


@dataclass
class Usage:
    """What judging cost, added up by the calls that were given it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    judge_calls: int = 0
    cache_hits: int = 0

    def add(self, other: "Usage") -> None:
        """Add another account to this one."""
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.judge_calls += other.judge_calls
        self.cache_hits += other.cache_hits


@dataclass(frozen=True)
class Answer:
    """The judge's answer to a yes/no question about one completion."""

    status: Status
    p_yes: float | None = None
    """In [0, 1]; None unless status is `ok`."""
    label_mass: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class _Outcome:
    status: Status
    p_first: float | None = None
    label_mass: float | None = None
    detail: str = ""
    cache_hit: bool = False


class Judge:
    """A chat model that judges. `usage` adds up all it was asked."""

    def __init__(
        self,
        model: ChatModel,
        *,
        min_label_mass: float = 0.5,
        tie_margin: float = 0.1,
        cache: Cache | None = None,
        revision: str | None = None,
        server: str | None = None,
    ) -> None:
        """Args:
        min_label_mass: with less probability than this on the two labels together, a reply is `off_format`.
        tie_margin: |p - 0.5| * 2 below this is a tie, unless a call says otherwise.
        revision: of the model's weights; part of the cache key, so give one that changes with them.
        server: what serves the model, such as "vllm 0.32"; for provenance only.
        """
        self.model = model
        self.min_label_mass = min_label_mass
        self.tie_margin = tie_margin
        self.cache = cache
        self.revision = revision
        self.server = server
        self.usage = Usage()

    @property
    def identity(self) -> dict[str, str | None]:
        """name, model, revision and server, as provenance records them."""
        return {
            "name": self.model.name,
            "model": self.model.model,
            "revision": self.revision,
            "server": self.server,
        }

    async def compare(
        self,
        comparison: Comparison,
        principle: Principle,
        *,
        tie_margin: float | None = None,
        usage: Usage | None = None,
    ) -> Verdict:
        """The verdict under one principle, from both orders."""
        ab, ba = await together(
            (self._vote(comparison, principle, "ab", usage), self._vote(comparison.swap(), principle, "ba", usage))
        )
        return verdict((ab, ba), self.tie_margin if tie_margin is None else tie_margin)

    async def compare_all(
        self,
        comparison: Comparison,
        principles: Sequence[Principle],
        *,
        tie_margin: float | None = None,
        usage: Usage | None = None,
    ) -> tuple[Verdict, ...]:
        """The verdicts under each principle, in their order.

        The first principle goes ahead in both orders and fills the server's prefix cache; the others follow together.
        """
        if not principles:
            return ()
        head = await self.compare(comparison, principles[0], tie_margin=tie_margin, usage=usage)
        tail = (self.compare(comparison, each, tie_margin=tie_margin, usage=usage) for each in principles[1:])
        return (head, *await together(tail))

    async def ask(self, prompt: Prompt, completion: Completion, question: str, *, usage: Usage | None = None) -> Answer:
        """P(yes) for a question about one completion."""
        messages = render(
            "proposition",
            conversation=dialogue(prompt.messages),
            response=neutralise(completion.text),
            question=one_line(question),
        )
        outcome = await self._choose(messages, ("Yes", "No"), usage)
        return Answer(outcome.status, outcome.p_first, outcome.label_mass, outcome.detail)

    async def _vote(self, listed: Comparison, principle: Principle, order: Order, usage: Usage | None) -> Vote:
        outcome = await self._choose(pair_messages(listed, principle), ("A", "B"), usage)
        return Vote(
            principle=principle.id,
            order=order,
            status=outcome.status,
            p_first=outcome.p_first,
            label_mass=outcome.label_mass,
            detail=outcome.detail,
            cache_hit=outcome.cache_hit,
        )

    async def _choose(self, messages: Sequence[Message], labels: tuple[str, str], usage: Usage | None) -> _Outcome:
        """One judge call: the only place where a failed request becomes a status. A dead judge still raises."""
        spent = Usage()
        try:
            reading = await self._reading(messages, labels, spent)
        except PromptTooLong as error:
            return _Outcome(Status.TRUNCATED, detail=error.message)
        except RequestTimedOut as error:
            return _Outcome(Status.TIMEOUT, detail=error.message)
        except RequestFailed as error:
            return _Outcome(Status.ERROR, detail=error.message)
        finally:
            self.usage.add(spent)
            if usage is not None:
                usage.add(spent)
        hit = spent.cache_hits > 0
        if reading.p_first is None or reading.label_mass < self.min_label_mass:
            status = Status.REFUSED if reading.refused else Status.OFF_FORMAT
            return _Outcome(status, None, reading.label_mass, reading.note, hit)
        return _Outcome(Status.OK, reading.p_first, reading.label_mass, reading.note, hit)

    async def _reading(self, messages: Sequence[Message], labels: tuple[str, str], spent: Usage) -> Reading:
        key = judgement_key(
            model=self.model.model, revision=self.revision, sampling=SAMPLING, labels=labels, messages=messages
        )
        reading = self.cache.get(key) if self.cache is not None else None
        if reading is not None:
            spent.cache_hits += 1
        else:
            spent.judge_calls += 1
            reading = await self._measure(messages, labels)
            if self.cache is not None:
                self.cache.put(key, reading)
        spent.prompt_tokens += reading.prompt_tokens
        spent.completion_tokens += reading.completion_tokens
        return reading

    async def _measure(self, messages: Sequence[Message], labels: tuple[str, str]) -> Reading:
        reply = await self.model.complete(messages, **SAMPLING)
        try:
            reading = read_labels(reply.choices[0], labels)
        except ValueError as error:
            raise RequestFailed(
                f"model {self.model.name!r}: {error}", remedy="serve it with log-probabilities (20 or more)"
            ) from error
        return Reading(
            reading.p_first,
            reading.label_mass,
            reading.refused,
            reading.note,
            reply.prompt_tokens,
            reply.completion_tokens,
        )


def verdict(votes: tuple[Vote, Vote], tie_margin: float) -> Verdict:
    """What two votes on one principle, order "ab" then "ba", come to.

    p_a = (p_ab + 1 - p_ba) / 2. One failed order makes it `incomplete_swap`; the other order alone is never used.
    """
    ab, ba = votes
    if ab.p_first is None or ba.p_first is None:
        both = ab.p_first is None and ba.p_first is None
        return Verdict(principle=ab.principle, status=ab.status if both else Status.INCOMPLETE_SWAP, votes=votes)
    p_a = 0.5 + (ab.p_first - ba.p_first) / 2
    return Verdict(
        principle=ab.principle,
        status=Status.OK if is_decided(p_a, tie_margin) else Status.TIE,
        p_a=p_a,
        consistent=(ab.p_first > 0.5) == (1 - ba.p_first > 0.5),
        votes=votes,
    )


def is_decided(p: float, tie_margin: float) -> bool:
    """Whether |p - 0.5| * 2 reaches the tie margin; exactly 0.5 never does."""
    return p != 0.5 and abs(p - 0.5) * 2 >= tie_margin - 1e-9


def pair_messages(listed: Comparison, principle: Principle) -> tuple[Message, Message]:
    """The exact prompt of one vote. The principle is shown as one line, so wrapping it differently changes nothing."""
    return render(
        "judge_pair",
        conversation=dialogue(listed.prompt.messages),
        a=neutralise(listed.a.text),
        b=neutralise(listed.b.text),
        principle=one_line(principle.text),
        question=one_line(principle.compare or DEFAULT_QUESTION),
    )
