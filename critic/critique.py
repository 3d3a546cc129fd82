"""Critique and revision, the supervised half of Constitutional AI. Read this first.

    Row -> original (given, or the policy's) -> K rounds: draw a principle, critique, revise -> RevisionChain | Discard

Every round's principle is drawn by a counter-based generator keyed by (seed, prompt id, original, round). A revision
that is no good by its words is rejected with a reason (`critic.revision`). With a judge, each that remains is compared
with the original under the whole constitution in both orders, and kept only when both orders say that it is better; the
comparisons are preference pairs in their own right. A round goes on from the latest kept revision, and every revision
is in the chain, kept or not.

What it is not: it trains nothing, and without a judge "kept" means no more than that nothing speaks against it.

Source: Bai et al. 2022, arXiv:2212.08073, section 3; the comparison with the original is ours.
"""

import hashlib
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import asdict, dataclass, field

from constitution.document import Constitution, Principle
from critic.candidates import Sampling, generate
from critic.concurrency import in_order, together
from critic.drawing import Choice, draw
from critic.examples import critique_shots
from critic.judge import Judge, Usage
from critic.labelling import Labeller, check_scope, origin, spent
from critic.pipeline import Coverage
from critic.revision import Draft, fault, is_benign
from critic.rewriting import Rewriter
from critic.suspicion import labels_of, suspected
from solon.chat import ChatModel
from solon.errors import InvalidInput
from solon.records import (
    INJECTION_SUSPECTED,
    POSITION_INCONSISTENT,
    Comparison,
    Completion,
    Discard,
    PreferencePair,
    Prompt,
    Revision,
    RevisionChain,
    Status,
)
from solon.rows import Row
from solon.seeds import counter_seed

PAPER_ROUNDS = 4


@dataclass(frozen=True)
class Critiqued:
    """What one completion came to."""

    chain: RevisionChain
    pairs: tuple[PreferencePair, ...] = ()
    """The comparisons of its revisions (b) with the original (a), in the order of the rounds."""


@dataclass(frozen=True)
class Plan:
    """How completions are revised."""

    rounds: int = PAPER_ROUNDS
    """At most so many; with `choice` "all", one for each principle that applies, and no more than this."""
    choice: Choice = "random"
    sampling: Sampling = field(default_factory=Sampling)
    """Of critiques, revisions, and originals that the policy writes; the paper samples at temperature 1."""
    seed: int = 0


async def critique(
    rows: Iterable[Row],
    *,
    constitution: Constitution,
    critic: ChatModel,
    policy: ChatModel | None = None,
    judge: Judge | None = None,
    plan: Plan | None = None,
    min_coverage: float = 0.0,
    max_rows_in_flight: int = 16,
) -> AsyncGenerator[Critiqued | Discard]:
    """The chains and discards that the rows come to, in their order: one chain per completion of a row.

    Args:
        critic: writes critiques and revisions; the policy itself in the paper.
        policy: writes the original where a row has none.
        judge: compares each revision with its original; None: all that `critic.revision` lets pass are kept.
        min_coverage: in [0, 1]; share of the comparisons that must be `ok` or `tie`.

    Raises:
        InvalidInput: a row, or the constitution, cannot be worked with.
        ModelUnavailable: a model cannot be reached.
        CoverageTooLow: at the end, after all was yielded.
    """
    if not constitution.principles:
        raise InvalidInput(
            f"the constitution {constitution.id!r} has no principles to critique by",
            field="constitution",
            remedy="name one that has",
        )
    job = _Job(constitution, critic, policy, judge, plan or Plan())
    coverage = Coverage()
    async with aclosing(in_order(rows, job.row, width=max_rows_in_flight)) as results:
        async for items in results:
            for item in items:
                for pair in item.pairs if isinstance(item, Critiqued) else ():
                    coverage.add(pair)
                yield item
    if coverage.pairs:
        coverage.require(min_coverage)


class _Job:
    """What all rows share."""

    def __init__(
        self,
        constitution: Constitution,
        critic: ChatModel,
        policy: ChatModel | None,
        judge: Judge | None,
        plan: Plan,
    ) -> None:
        self.plan = plan
        self._constitution = constitution
        self._policy = policy
        self._labels = labels_of(judge.sampling if judge else {})
        self._rewriter = Rewriter(critic, plan.sampling, critique_shots(constitution))
        self._labeller = Labeller(constitution, judge, critic.name, plan.sampling, plan.seed) if judge else None
        self._made_by = origin(constitution, ("critique", "revision")).model_copy(
            update={
                "judge": judge.identity if judge else {},
                "policy": critic.name,
                "sampling": {"policy": asdict(plan.sampling), "rounds": plan.rounds, "choice": plan.choice},
                "seed": plan.seed,
            }
        )

    async def row(self, row: Row) -> list[Critiqued | Discard]:
        """All that one row comes to."""
        check_scope(self._constitution, row.prompt)
        if not self._constitution.principles_for(row.prompt.scope):
            return [Discard(prompt_id=row.prompt.id, reason="nothing_applies", detail=f"scope {row.prompt.scope}")]
        originals, discards = await self._originals(row)
        chains = await together(self._chain(row, index, each) for index, each in enumerate(originals))
        return [*discards, *chains]

    async def _originals(self, row: Row) -> tuple[tuple[Completion, ...], tuple[Discard, ...]]:
        if row.completions:
            return row.completions, ()
        if self._policy is None:
            raise InvalidInput(
                "the row has no completion and there is no policy to write one",
                field=f"row {row.prompt.id}",
                remedy="name a policy (--policy NAME), or give completions",
            )
        return await generate(self._policy, row.prompt, 1, seed=self.plan.seed, sampling=self.plan.sampling)

    async def _chain(self, row: Row, index: int, original: Completion) -> Critiqued | Discard:
        if not original.text.strip():
            return Discard(prompt_id=row.prompt.id, reason="empty_completion", detail=f"completion {index + 1}")
        plan, key = self.plan, (self.plan.seed, row.prompt.id, index)
        usage = Usage()
        latest, revisions, pairs = original, list[Revision](), list[PreferencePair]()
        applicable = self._constitution.principles_for(row.prompt.scope)
        for number, principle in enumerate(draw(applicable, row.prompt.scope, plan.choice, plan.rounds, *key), start=1):
            seed = counter_seed(*key, number, "round")
            revision, draft = await self._rewriter.round(row.prompt, original, latest, principle, number, seed, usage)
            if draft is not None and revision.rejected is None:
                revision = revision.model_copy(update={"rejected": fault(draft, self._labels)})
                if revision.rejected is None and self._labeller is not None:
                    revision, pair = await _verified(self._labeller, row, draft, revision, principle, index)
                    pairs.append(pair)
            if revision.kept and revision.completion is not None:
                latest = revision.completion
            revisions.append(revision)
        return Critiqued(self._record(row, index, original, revisions, usage), tuple(pairs))

    def _record(
        self, row: Row, index: int, original: Completion, revisions: list[Revision], usage: Usage
    ) -> RevisionChain:
        made_by = self._made_by
        turns = [[message.role, message.content] for message in row.prompt.messages]
        parts = [made_by.model_dump(mode="json"), row.prompt.id, row.prompt.scope, turns, original.text, index]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return RevisionChain(
            id=f"crit_{digest[:26]}",
            prompt=row.prompt,
            original=original,
            revisions=tuple(revisions),
            flags=self._flags(row.prompt, original),
            provenance=spent(made_by, usage),
            extra=row.extra,
        )

    def _flags(self, prompt: Prompt, original: Completion) -> tuple[str, ...]:
        known = ("known_benign",) if is_benign(prompt) else ()
        return (*known, INJECTION_SUSPECTED) if suspected(prompt, original, labels=self._labels) else known


async def _verified(
    labeller: Labeller, row: Row, draft: Draft, revision: Revision, principle: Principle, index: int
) -> tuple[Revision, PreferencePair]:
    """The revision with what the judge says of it beside the original, and that comparison."""
    comparison = Comparison(prompt=row.prompt, a=draft.original, b=draft.revision)
    rules = await labeller.rule_scores(row.prompt, (comparison.a, comparison.b), usage := Usage())
    key = ("revision", index, revision.round)
    pair = await labeller.compare(comparison, (rules[0], rules[1]), key=key, extra=row.extra)
    pair = pair.model_copy(update={"provenance": spent(pair.provenance, usage)})
    under = next((verdict for verdict in pair.verdicts if verdict.principle == principle.id), None)
    changes = {
        "status": pair.status,
        "p_better": None if pair.p_a is None else 1 - pair.p_a,
        "p_better_under_principle": None if under is None or under.p_a is None else 1 - under.p_a,
        "pair": pair.id,
        "rejected": _verdict_on(pair),
    }
    return revision.model_copy(update=changes), pair


def _verdict_on(pair: PreferencePair) -> str | None:
    """Why a revision, b of the pair, is not kept; both orders must say that it is better."""
    if pair.status not in (Status.OK, Status.TIE):
        return "unverified"
    wins = pair.chosen == "b" and POSITION_INCONSISTENT not in pair.flags
    return None if wins else "not_better"
