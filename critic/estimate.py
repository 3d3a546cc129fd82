"""What labelling would cost: the pipeline's own questions, put to a model that only counts them.

Rows are screened, completions paired and prompts rendered as in a run, with the judge's own method, examples, jury and
cache; so where the number of comparisons does not depend on verdicts, the number of calls is exact. Where it does
(`max_margin` among more than two, `swiss`), or where a policy has yet to write the completions (some may be alike),
there is a least and a most.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from critic.cache import Cache, MemoryCache
from critic.candidates import Sampling, screen
from critic.labelling import Labeller, total
from critic.readings import Reading
from critic.rules import RuleSet
from critic.schedules import Schedule
from critic.tournament import Pairing, Tournament, comparisons
from critic.usage import Usage
from solon.chat import ChatChoice, ChatReply, TokenLogprob
from solon.records import Comparison, Completion, Message, PreferencePair
from solon.rows import Row
from solon.scoring import ScoreReply
from solon.seeds import counter_seed

TokenCount = Callable[[str], int]
"""Tokens of a text, for some model."""

_WORD: Final = "text "
_TURN_TOKENS: Final = 4
"""About what a chat template adds to a message."""
_ANSWERS: Final = tuple(TokenLogprob(each, -2.5) for each in ("A", "B", "Yes", "No", *map(str, range(1, 10))))


@dataclass
class Tokens:
    """Requests and their tokens."""

    requests: float = 0
    prompt: float = 0
    shared: float = 0
    """Of the prompt tokens, those of a beginning that an earlier prompt of the same row, or the last one of the row
    before, has too: a server with a prefix cache computes them once."""
    completion: float = 0
    """At most: what the requests allow."""

    def add(self, other: "Tokens", times: float = 1) -> None:
        """Add another account, so many times."""
        self.requests += other.requests * times
        self.prompt += other.prompt * times
        self.shared += other.shared * times
        self.completion += other.completion * times


class Counting:
    """A `ChatModel` and `RewardModel` that counts what it is asked and answers nothing in particular."""

    def __init__(self, name: str, model: str, count: TokenCount) -> None:
        self.name = name
        self.model = model
        self.tokens = Tokens()
        self._count = count
        self._known: list[str] = []

    def next_row(self) -> None:
        """Forget all prompts but the last, with which later ones share at least the instructions."""
        del self._known[:-1]

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        top_logprobs: int = 0,
        json_schema: Mapping[str, Any] | None = None,
    ) -> ChatReply:
        """Texts as long as the request allows, different for each seed."""
        prompt = self._enter(messages)
        self.tokens.completion += n * max_tokens
        text = f"{seed} {_WORD * max_tokens}"
        choice = ChatChoice(text, "stop", _ANSWERS[:top_logprobs])
        return ChatReply((choice,) * n, prompt, n * max_tokens)

    async def score(self, messages: Sequence[Message]) -> ScoreReply:
        """See `RewardModel.score`."""
        return ScoreReply(0.0, self._enter(messages))

    def _enter(self, messages: Sequence[Message]) -> int:
        text = "\0".join(f"{each.role}\0{each.content}" for each in messages)
        shared = self._shared(text)
        prompt = self._count(text) + _TURN_TOKENS * len(messages)
        self.tokens.add(Tokens(1, prompt, min(prompt, self._count(text[:shared])) if shared else 0))
        return prompt

    def _shared(self, text: str) -> int:
        """Length of the longest beginning that a known prompt has too; the text is known from now on."""
        place = bisect_left(self._known, text)
        neighbours = self._known[max(place - 1, 0) : place + 1]  # the longest common prefix is with one of them
        self._known.insert(place, text)
        return max((common_prefix(text, each) for each in neighbours), default=0)


def common_prefix(one: str, other: str) -> int:
    """Number of characters that two texts begin with in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


class Unwritten(MemoryCache):
    """A cache over another one that it does not change."""

    def __init__(self, kept: Cache | None = None) -> None:
        super().__init__()
        self._kept = kept

    def get(self, key: str) -> Reading | None:
        """The reading kept under the key, here or below."""
        found = super().get(key)
        return found if found is not None or self._kept is None else self._kept.get(key)


@dataclass
class Estimate:
    """What a job would ask for."""

    rows: int = 0
    completions: int = 0
    """That the policy writes."""
    policy: Tokens = field(default_factory=Tokens)
    comparisons: tuple[int, int] = (0, 0)
    """The fewest and the most."""
    judge_calls: tuple[int, int] = (0, 0)
    """The fewest and the most judgements that no cache has."""
    cache_hits: int = 0
    judge: Tokens = field(default_factory=Tokens)
    """For the most."""

    def widen(self, least: int, most: int, fewest_calls: int, most_calls: int) -> None:
        """Add the bounds of one row."""
        self.comparisons = (self.comparisons[0] + least, self.comparisons[1] + most)
        self.judge_calls = (self.judge_calls[0] + fewest_calls, self.judge_calls[1] + most_calls)

    @property
    def exact(self) -> bool:
        """Whether the number of judge calls is known."""
        return self.judge_calls[0] == self.judge_calls[1]


@dataclass(frozen=True)
class Estimator:
    """Adds up what rows would ask for, one after the other."""

    labeller: Labeller
    judges: Sequence[Counting]
    """The models behind the labeller's judge."""
    policy: Counting | None = None
    n: int = 4
    pairing: Pairing = "max_margin"
    schedule: Schedule | None = None
    sampling: Sampling = field(default_factory=Sampling)

    async def rows(self, rows: Iterable[Row]) -> Estimate:
        """The estimate for all rows; raises InvalidInput as a run would."""
        found = Estimate()
        for row in rows:
            found.rows += 1
            await self._row(row, found)
            for each in self.judges:
                each.next_row()
        return found

    async def _row(self, row: Row, found: Estimate) -> None:
        if not self.labeller.applies_to(row.prompt):
            return
        completions = row.completions or await self._written(row, found)
        kept, _ = screen(row.prompt.id, completions, keep_cut=True)
        if len(kept) < 2:
            return
        await self._rules_and_comparisons(row, kept, found)

    async def _rules_and_comparisons(self, row: Row, kept: Sequence[Completion], found: Estimate) -> None:
        asked, begun = Usage(), self._tokens()
        rules = await self.labeller.rule_scores(row.prompt, kept, asked)
        ruled = self._tokens()

        async def compare(i: int, j: int) -> PreferencePair:
            comparison = Comparison(prompt=row.prompt, a=kept[i], b=kept[j])
            return await self.labeller.compare(comparison, (rules[i], rules[j]), key=(i, j))

        tournament = Tournament(len(kept), compare)
        await tournament.play(self.pairing, self.labeller.seed, row.prompt.id, schedule=self.schedule)
        compared = total(tournament.met.values())
        made, (least, most) = len(tournament.met), comparisons(len(kept), self.pairing, self.schedule)
        # A method that marks completions has marked them all by now, so further comparisons cost nothing.
        flat = self.labeller.judge is None or self.labeller.judge.method.marks_each
        few, many = (1.0, 1.0) if flat else (least / made, most / made)
        fewest_asked, most_asked = self._questions(row, len(kept), asked.judge_calls)
        found.judge.add(_difference(ruled, begun), most_asked / (asked.judge_calls or 1))
        found.judge.add(_difference(self._tokens(), ruled), many)
        low = fewest_asked + round(compared.judge_calls * few)
        known = 1 if row.completions else 0  # what is yet to be written may all be alike, and then nothing is compared
        found.widen(known * least, most, known * low, most_asked + round(compared.judge_calls * many))
        found.cache_hits += asked.cache_hits + compared.cache_hits

    def _questions(self, row: Row, completions: int, asked: int) -> tuple[int, int]:
        """The fewest and the most yes/no questions, of which some wait for the answers to others."""
        constitution = self.labeller.constitution
        if not asked or not constitution.rules:
            return asked, asked
        rules = RuleSet(constitution)
        certain, all_of_them = len(rules.certain_questions(row.prompt.scope)), len(rules.questions(row.prompt.scope))
        return (asked, asked) if certain == all_of_them else (certain * completions, all_of_them * completions)

    async def _written(self, row: Row, found: Estimate) -> tuple[Completion, ...]:
        """Stand-ins for what the policy would write."""
        if self.policy is None:
            return ()
        texts: list[Completion] = []
        for index in range(self.n):
            seed = counter_seed(self.labeller.seed, row.prompt.id, index)
            reply = await self.policy.complete(row.prompt.messages, max_tokens=self.sampling.max_tokens, seed=seed)
            texts.append(Completion(text=reply.choices[0].text, finish_reason="stop", model=self.policy.name))
        found.completions += self.n
        found.policy = self.policy.tokens
        self.policy.next_row()
        return tuple(texts)

    def _tokens(self) -> Tokens:
        so_far = Tokens()
        for each in self.judges:
            so_far.add(each.tokens)
        return so_far


def _difference(later: Tokens, earlier: Tokens) -> Tokens:
    found = Tokens()
    found.add(later)
    found.add(earlier, -1)
    return found
