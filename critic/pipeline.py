"""From rows to preference pairs. Read this first.

    Row -(given completions, shuffled | the policy's candidates)-> screen -> tournament of comparisons
        -> judge, every principle in both orders; rules on each completion -> PreferencePair | Discard

Everything a row comes to is yielded, in the order of the rows: its pairs, and a `Discard` for each thing that made
none.
Three kinds of failure, three fates: a wrong row or constitution raises `InvalidInput`; a request that failed becomes a
status or a discard (in `critic.judge` and `critic.candidates`, nowhere else); a model that cannot be reached raises
`ModelUnavailable` and ends the job.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from constitution.document import Constitution
from constitution.weighting import Weights
from critic.candidates import Sampling, generate, screen
from critic.concurrency import in_order
from critic.judge import Judge, Usage
from critic.labelling import Labeller, spent
from critic.pairs import USABLE
from critic.schedules import Schedule
from critic.tournament import Pairing, Tournament
from solon.chat import ChatModel
from solon.errors import CoverageTooLow, InvalidInput
from solon.records import Comparison, Completion, Discard, PreferencePair, Prompt
from solon.rows import HumanVote, Row
from solon.seeds import shuffled

HUMAN_VOTES: Final = "human_votes"
"""Key of `PreferencePair.extra` with people's verdicts on its a and b."""

_HOPELESS_AFTER: Final = 64
"""With this many pairs and not one usable, the rest is not tried."""
_MIRRORED: Final[dict[HumanVote, HumanVote]] = {"a": "b", "b": "a", "tie": "tie"}


async def label(
    rows: Iterable[Row],
    *,
    constitution: Constitution,
    judge: Judge | None,
    policy: ChatModel | None = None,
    n: int = 4,
    pairing: Pairing = "max_margin",
    schedule: Schedule | None = None,
    min_margin: float = 0.0,
    seed: int = 0,
    sampling: Sampling | None = None,
    min_coverage: float = 0.5,
    min_principles: int | None = None,
    weights: Weights | None = None,
    max_rows_in_flight: int = 16,
) -> AsyncGenerator[PreferencePair | Discard]:
    """The pairs and discards that the rows come to, in their order.

    Memory is bounded by `max_rows_in_flight` rows; requests by the models' own `max_concurrency`. Close the iterator
    (`contextlib.aclosing`) when leaving it early, and nothing is left running.

    Args:
        judge: None only for a constitution of rules that ask no judge.
        policy: writes `n` completions for each row that has none.
        pairing: which completions of a row meet, see `critic.tournament`; two completions meet once.
        schedule: comparisons to rate all completions by first, see `critic.schedules`; None: only what pairing needs.
        min_margin: of the pairing `threshold`, see `critic.selection`.
        seed: of candidates, of the order in which given completions are listed, and of `random` pairing.
        min_coverage: in [0, 1]; share of pairs that must be `ok` or `tie`. 0 accepts any, for audits.
        min_principles: how many principles suffice when others fail; None: all that apply.
        weights: those that `constitution` was read with (`constitution.weighting`), for provenance.

    Raises:
        InvalidInput: a row, or the constitution, cannot be worked with.
        ModelUnavailable: judge or policy cannot be reached.
        CoverageTooLow: at the end, after all was yielded; earlier when the first 64 pairs all failed.
    """
    sampling = sampling or Sampling()
    by = policy.name if policy else None
    labeller = Labeller(constitution, judge, by, sampling, seed, min_principles, weights or {})
    job = _Job(labeller, policy, n, pairing, schedule, min_margin, seed, sampling)
    coverage = Coverage()
    async with aclosing(in_order(rows, job.label_row, width=max_rows_in_flight)) as results:
        async for items in results:
            for item in items:
                coverage.add(item)
                yield item
            if min_coverage > 0 and coverage.pairs >= _HOPELESS_AFTER and coverage.usable == 0:
                break
    coverage.require(min_coverage)


@dataclass
class Coverage:
    """How much of what was to be judged could be."""

    statuses: Counter[str] = field(default_factory=lambda: Counter[str]())
    """Pairs per status."""
    discards: Counter[str] = field(default_factory=lambda: Counter[str]())
    """Discards per reason."""

    def add(self, item: PreferencePair | Discard) -> None:
        """Count an item."""
        if isinstance(item, Discard):
            self.discards[item.reason] += 1
        else:
            self.statuses[item.status.value] += 1

    @property
    def pairs(self) -> int:
        """Comparisons made, whatever their status."""
        return self.statuses.total()

    @property
    def usable(self) -> int:
        """Pairs with a measured probability."""
        return sum(self.statuses[status.value] for status in USABLE)

    @property
    def share(self) -> float:
        """Usable pairs among all, in [0, 1]; 0 without pairs."""
        return self.usable / self.pairs if self.pairs else 0.0

    def require(self, floor: float) -> None:
        """Raises CoverageTooLow when the share is below `floor`, or when there is nothing but discards."""
        if floor <= 0 or (self.share >= floor and self.pairs > 0) or self.pairs + self.discards.total() == 0:
            return
        raise CoverageTooLow(
            f"{self.usable} of {self.pairs} comparisons could be judged, {floor:.0%} are needed: "
            + (_listing({k: v for k, v in self.statuses.items() if k not in USABLE} | self.discards)),
            remedy="see the votes' `detail` in the output; is this judge fit for these prompts?",
        )


@dataclass(frozen=True)
class _Job:
    """What all rows share."""

    labeller: Labeller
    policy: ChatModel | None
    n: int
    pairing: Pairing
    schedule: Schedule | None
    min_margin: float
    seed: int
    sampling: Sampling

    async def label_row(self, row: Row) -> list[PreferencePair | Discard]:
        """All that one row comes to."""
        if not self.labeller.applies_to(row.prompt):
            return [Discard(prompt_id=row.prompt.id, reason="nothing_applies", detail=f"scope {row.prompt.scope}")]
        completions, votes, lost = await self._completions(row)
        kept, dropped = screen(row.prompt.id, completions, keep_cut=self.sampling.keep_cut)
        discards = [*lost, *dropped]
        if len(kept) < 2:
            return [_no_pair(row.prompt.id, len(completions) + len(lost), discards)]
        pairs = await self._pairs(row.prompt, kept, row.extra | ({HUMAN_VOTES: list(votes)} if votes else {}))
        return [*discards, *pairs]

    async def _completions(self, row: Row) -> tuple[tuple[Completion, ...], tuple[HumanVote, ...], tuple[Discard, ...]]:
        """The completions in the order of listing, people's votes on the first two, and what could not be had."""
        if not row.completions:
            if self.policy is None:
                raise InvalidInput(
                    "the row has no completions and there is no policy to write them",
                    field=f"row {row.prompt.id}",
                    remedy="name a policy (--policy NAME), or give completions",
                )
            written, lost = await generate(self.policy, row.prompt, self.n, seed=self.seed, sampling=self.sampling)
            return written, (), lost
        order = shuffled(range(len(row.completions)), self.seed, row.prompt.id, "listing")
        swapped = order.index(0) > order.index(1) if len(order) > 1 else False
        votes: tuple[HumanVote, ...] = tuple(_MIRRORED[vote] if swapped else vote for vote in row.human_votes)
        return tuple(row.completions[i] for i in order), votes, ()

    async def _pairs(
        self, prompt: Prompt, completions: tuple[Completion, ...], extra: dict[str, Any]
    ) -> list[PreferencePair | Discard]:
        usage = Usage()
        rules = await self.labeller.rule_scores(prompt, completions, usage)

        async def compare(i: int, j: int) -> PreferencePair:
            comparison = Comparison(prompt=prompt, a=completions[i], b=completions[j])
            return await self.labeller.compare(comparison, (rules[i], rules[j]), key=(i, j), extra=extra)

        tournament = Tournament(len(completions), compare)
        pairs = await tournament.play(
            self.pairing, self.seed, prompt.id, schedule=self.schedule, min_margin=self.min_margin
        )
        if not pairs:
            failed = [pair for pair in tournament.met.values() if pair.status not in USABLE]
            nothing = Discard(prompt_id=prompt.id, reason="no_pair_selected", detail="no two ratings far enough apart")
            return [*failed] if failed else [nothing]
        emitted = {pair.id for pair in pairs}
        others = [pair for pair in tournament.met.values() if pair.id not in emitted]
        for other in others:
            usage.add(_usage(other))
        changes: dict[str, object] = {"provenance": spent(pairs[0].provenance, usage)}
        if any(other.status not in USABLE for other in others):
            changes["flags"] = (*pairs[0].flags, "incomplete_tournament")
        return [pairs[0].model_copy(update=changes), *pairs[1:]]


def _usage(pair: PreferencePair) -> Usage:
    made = pair.provenance
    return Usage(made.prompt_tokens, made.completion_tokens, made.judge_calls, made.cache_hits)


def _no_pair(prompt_id: str, n: int, discards: list[Discard]) -> Discard:
    """The one discard of a row that made no comparison, named after what was most often wrong."""
    reasons = Counter(each.reason for each in discards)
    reason = reasons.most_common(1)[0][0] if reasons else "too_few_completions"
    detail = f"{n - len(discards)} of {n} completions can be compared"
    causes = "; ".join(dict.fromkeys(each.detail for each in discards))
    return Discard(
        prompt_id=prompt_id, reason=reason, detail=f"{detail}: {_listing(reasons)} ({causes})" if reasons else detail
    )


def _listing(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing to judge"
