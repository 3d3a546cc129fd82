"""The judge: which of two completions follows a principle better, and whether a statement holds of one.

Every comparison is put in both orders, and the verdict is the mean of the two (Lee et al. 2023, arXiv:2309.00267): a
judge that looks only at the slot comes out at exactly 0.5. How a model is asked is a `critic.judges` method; the
default reads one token's log-probabilities. The principle comes last in the prompt, so all principles of one pair share
a prefix in the server's cache. A reply that cannot be used is a status, never a number.
"""

from collections.abc import Container, Coroutine, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from constitution.document import Principle
from critic.averaging import Swap, averaged
from critic.cache import Cache, MemoryCache
from critic.concurrency import together
from critic.framing import DEFAULT_QUESTION
from critic.judges.desk import Desk, locks
from critic.judges.logprobs import SAMPLING, Logprobs, pair_messages
from critic.judges.method import Marks, Method
from critic.readings import Reading
from critic.usage import Usage
from solon.chat import ChatModel, PromptTooLong, RequestFailed, RequestTimedOut
from solon.errors import InvalidInput
from solon.records import Comparison, Completion, Prompt, Status, Verdict, Vote
from solon.spending import Account

__all__ = [
    "DEFAULT_QUESTION",
    "SAMPLING",
    "Answer",
    "Judge",
    "Mark",
    "Usage",
    "is_decided",
    "pair_messages",
    "verdict",
]

MIN_LABEL_MASS: Final = 0.5

Order = Literal["ab", "ba"]


@dataclass(frozen=True)
class Answer:
    """The judge's answer to a yes/no question about one completion."""

    status: Status
    p_yes: float | None = None
    """In [0, 1]; None unless status is `ok`."""
    label_mass: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Mark:
    """The judge's mark of one completion."""

    status: Status
    score: float | None = None
    """In [-1, 1] from a scale, unbounded from a reward model; None unless status is `ok`."""
    detail: str = ""


@dataclass(frozen=True)
class _Outcome:
    status: Status
    reading: Reading = field(default_factory=lambda: Reading(None, None))
    detail: str = ""
    cache_hit: bool = False

    @property
    def p_first(self) -> float | None:
        return self.reading.p_first if self.status is Status.OK else None


class Judge:
    """A model that judges. `usage` adds up all it was asked."""

    def __init__(
        self,
        model: ChatModel,
        *,
        method: Method | None = None,
        min_label_mass: float = MIN_LABEL_MASS,
        tie_margin: float = 0.1,
        swap: Swap = "probability",
        calibration_temperature: float = 1.0,
        cache: Cache | None = None,
        revision: str | None = None,
        server: str | None = None,
        source: str | None = None,
        kin: Container[str] = (),
        account: Account | None = None,
    ) -> None:
        """Args:
        method: how it is asked; by default one token with log-probabilities.
        min_label_mass: with less probability than this on the two labels together, a reply is `off_format`.
        tie_margin: |p - 0.5| * 2 below this is a tie, unless a call says otherwise.
        swap: where the two orders are averaged, see `critic.averaging`.
        calibration_temperature: > 0; divides the log-odds of the average (`critic.temperature` fits it).
        revision: of the model's weights; part of the cache key, so give one that changes with them.
        server: what serves the model, such as "vllm 0.32"; for provenance only.
        source: where the model is found; in the cache key of a model without revision, since two servers may serve
            different models under one name.
        kin: names of models of its own family, which it may prefer.
        account: that its calls are paid from.
        """
        self.model = model
        self.method: Method = method or Logprobs()
        self.min_label_mass = min_label_mass
        self.tie_margin = tie_margin
        self.swap: Swap = swap
        self.calibration_temperature = calibration_temperature
        self.cache = self._memory() if cache is None else cache
        self.revision = revision
        self.server = server
        self.source = source
        self.kin = kin
        self.usage = Usage()
        self.account = account or Account()
        self._locks = locks()

    @property
    def identity(self) -> dict[str, str | None]:
        """name, model, revision and server, as provenance records them."""
        return {
            "name": self.model.name,
            "model": self.model.model,
            "revision": self.revision,
            "server": self.server,
        }

    @property
    def sampling(self) -> Mapping[str, Any]:
        """All that decides a verdict besides the model, the templates and the texts, as provenance records it."""
        averaging: dict[str, Any] = {} if self.swap == "probability" else {"swap": self.swap}
        if self.calibration_temperature != 1.0:
            averaging["calibration_temperature"] = self.calibration_temperature
        return {**self.method.sampling, **averaging}

    @property
    def pair_templates(self) -> tuple[str, ...]:
        """Names of the templates that comparisons use."""
        return self.method.pair_templates

    @property
    def question_templates(self) -> tuple[str, ...]:
        """Names of the templates that yes/no questions use."""
        return self.method.question_templates

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
        margin = self.tie_margin if tie_margin is None else tie_margin
        return verdict((ab, ba), margin, swap=self.swap, temperature=self.calibration_temperature)

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
        desk = self._desk()
        outcome = await self._outcome(self.method.ask(prompt, completion, question, desk), desk, usage)
        return Answer(outcome.status, outcome.p_first, outcome.reading.label_mass, outcome.detail)

    async def mark(
        self, prompt: Prompt, completion: Completion, principle: Principle, *, usage: Usage | None = None
    ) -> Mark:
        """The mark of one completion, as direct RLAIF uses it for a reward.

        Raises InvalidInput when the judge's method compares and gives no marks.
        """
        method: Any = self.method
        if not isinstance(method, Marks):
            raise InvalidInput(
                f"the judge {self.model.name!r} compares and gives no marks",
                field="judge",
                remedy="name one whose method is `score` or `reward_model`",
            )
        desk = self._desk()
        outcome = await self._outcome(method.mark(prompt, completion, principle, desk), desk, usage)
        score = outcome.reading.score if outcome.status is Status.OK else None
        return Mark(outcome.status, score, outcome.detail)

    def afresh(self) -> "Judge":
        """This judge without what it remembers: every question is put to the model again."""
        other = copy(self)
        other.cache, other.usage, other._locks = self._memory(), Usage(), locks()
        return other

    def _memory(self) -> Cache | None:
        """Both orders need the same marks: each is asked for once, even where nothing else is remembered."""
        return MemoryCache() if self.method.marks_each else None

    def _desk(self) -> Desk:
        return Desk(self.model, self.cache, self.revision or self.source, self._locks, self.account)

    async def _vote(self, listed: Comparison, principle: Principle, order: Order, usage: Usage | None) -> Vote:
        desk = self._desk()
        outcome = await self._outcome(self.method.prefer(listed, principle, desk), desk, usage)
        return Vote(
            principle=principle.id,
            order=order,
            status=outcome.status,
            p_first=outcome.p_first,
            label_mass=outcome.reading.label_mass,
            detail=outcome.detail,
            cache_hit=outcome.cache_hit,
            reason=outcome.reading.text,
        )

    async def _outcome(self, asking: Coroutine[Any, Any, Reading], desk: Desk, usage: Usage | None) -> _Outcome:
        """One judge call: the only place where a failed request becomes a status. A dead judge still raises."""
        try:
            reading = await asking
        except PromptTooLong as error:
            return _Outcome(Status.TRUNCATED, detail=error.message)
        except RequestTimedOut as error:
            return _Outcome(Status.TIMEOUT, detail=error.message)
        except RequestFailed as error:
            return _Outcome(Status.ERROR, detail=error.message)
        finally:
            self.usage.add(desk.spent)
            if usage is not None:
                usage.add(desk.spent)
        hit = desk.spent.cache_hits > 0 and desk.spent.judge_calls == 0
        return _Outcome(self._status(reading), reading, reading.note, hit)

    def _status(self, reading: Reading) -> Status:
        measured = reading.p_first is not None or reading.score is not None
        enough = reading.label_mass is None or reading.label_mass >= self.min_label_mass
        if measured and enough:
            return Status.OK
        return Status.REFUSED if reading.refused else Status.OFF_FORMAT


def verdict(
    votes: tuple[Vote, Vote], tie_margin: float, *, swap: Swap = "probability", temperature: float = 1.0
) -> Verdict:
    """What two votes on one principle, order "ab" then "ba", come to.

    p_a = (p_ab + 1 - p_ba) / 2. One failed order makes it `incomplete_swap`; the other order alone is never used.
    """
    ab, ba = votes
    if ab.p_first is None or ba.p_first is None:
        both = ab.p_first is None and ba.p_first is None
        return Verdict(principle=ab.principle, status=ab.status if both else Status.INCOMPLETE_SWAP, votes=votes)
    p_a = averaged(ab.p_first, ba.p_first, swap, temperature)
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
