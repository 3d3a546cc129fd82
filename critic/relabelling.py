"""Stored pairs under another text: votes that still stand are kept, and the judge is asked for nothing else.

A stored vote stands while everything that decided it is the same: the principle's hash, the prompt template, the
judge's model and revision and how it was sampled. The comparison is the same by construction. So ids, weights, vetoes,
scopes, rules and `combine` may change at no cost, and an edit of one principle costs two calls a pair.

What was measured stands, "off format" included; a vote that failed (`timeout`, `error`, `truncated`) is asked for
again where there is a judge to ask.
"""

import hashlib
import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from constitution.digest import principle_hash, question_hashes
from constitution.document import Constitution, Principle
from constitution.expressions import NOT_APPLICABLE
from constitution.weighting import Weights
from critic.concurrency import in_order, together
from critic.judge import Judge, Usage, verdict
from critic.labelling import labelled, spent, text_provenance
from critic.rules import RuleSet
from solon.errors import InvalidInput
from solon.records import (
    Comparison,
    Completion,
    Discard,
    PreferencePair,
    Prompt,
    Provenance,
    RuleScore,
    Status,
    Verdict,
    Vote,
)
from solon.templates import template_hash

MEASURED: Final = frozenset({Status.OK, Status.REFUSED, Status.OFF_FORMAT})
"""Statuses of a vote that would be the same if it were asked for again."""
NOTHING_APPLIES: Final = "nothing_applies"
_JUDGE: Final = ("model", "revision")
"""What tells one judge from another."""
_OF_THE_PAIRING: Final = frozenset({"incomplete_tournament"})
"""Flags that say how the pair was found, which no new label changes."""


@dataclass(frozen=True)
class Standing:
    """What of a stored pair needs no new judgement."""

    votes: Mapping[str, tuple[Vote, Vote]]
    """Votes of both orders, "ab" first, by principle hash."""
    answers: tuple[Mapping[str, float | None], Mapping[str, float | None]]
    """P(yes) by the hash of the question, for a and for b; None is a failure that is kept."""


@dataclass(frozen=True)
class Relabeller:
    """Labels stored comparisons under a constitution.

    Raises InvalidInput when the constitution's rules do not type-check.
    """

    constitution: Constitution
    judge: Judge | None
    """None where no judge call is to be made; every stored vote then counts, whoever gave it."""
    earlier: Constitution | None = None
    """The text of the stored labels, where it is at hand: a principle of which only `critique` or `revise` changed has
    another hash and yet asks the judge the same, so its votes stand too."""
    min_principles: int | None = None
    """See `critic.pairs.label`."""
    weights: Weights = field(default_factory=dict[str, float])
    """Those that `constitution` was read with, for provenance."""
    keep_failed: bool = False
    """Whether failed votes stand too; else they are asked for again."""
    _rules: RuleSet | None = field(init=False)
    _accepted: Mapping[str, tuple[str, ...]] = field(init=False)
    _questions: Mapping[str, str] = field(init=False)
    _text: Provenance = field(init=False)

    def __post_init__(self) -> None:
        rules = RuleSet(self.constitution) if self.constitution.rules else None
        object.__setattr__(self, "_rules", rules)
        object.__setattr__(self, "_accepted", _accepted(self.constitution, self.earlier))
        object.__setattr__(self, "_questions", question_hashes(self.constitution))
        asks = rules is not None and rules.needs_judge
        object.__setattr__(self, "_text", text_provenance(self.constitution, asks, self.weights))

    def calls(self, pair: PreferencePair) -> int:
        """How many judge calls the pair's new label takes."""
        standing = self.standing(pair)
        principles = sum(self._known(each, standing) is None for each in self._principles(pair.prompt))
        questions = self._asked(pair.prompt).values()
        return 2 * principles + sum(asked not in answers for answers in standing.answers for asked in questions)

    def calls_from_scratch(self, pair: PreferencePair) -> int:
        """How many judge calls the pair's label takes without any stored vote."""
        return 2 * len(self._principles(pair.prompt)) + 2 * len(self._asked(pair.prompt))

    def standing(self, pair: PreferencePair) -> Standing:
        """The stored votes and answers that need no new judgement, even those this constitution has no use for."""
        made = pair.provenance
        if self.judge is not None and not same_judge(self.judge, made):
            return Standing({}, ({}, {}))
        templates = made.template_hash.split("+")
        failed_too = self.keep_failed
        votes = dict(_votes(pair, failed_too)) if template_hash("judge_pair") in templates else {}
        if template_hash("proposition") not in templates:
            return Standing(votes, ({}, {}))
        return Standing(votes, (_answers(pair.rules_a, made, failed_too), _answers(pair.rules_b, made, failed_too)))

    async def relabel(self, pair: PreferencePair) -> PreferencePair | Discard:
        """The same comparison with its label under this constitution; a Discard where nothing applies to it.

        Raises:
            InvalidInput: the constitution lacks the pair's scope, or a judge is needed and there is none.
        """
        self._check(pair)
        principles = self._principles(pair.prompt)
        if not principles and not self.constitution.rules_for(pair.prompt.scope):
            return Discard(prompt_id=pair.prompt.id, reason=NOTHING_APPLIES, detail=f"scope {pair.prompt.scope}")
        usage, standing = Usage(), self.standing(pair)
        comparison = Comparison(prompt=pair.prompt, a=pair.a, b=pair.b)
        rules = await self._rule_scores(comparison, standing, usage)
        made_of = self._made_of(pair)
        return labelled(
            comparison,
            await self._verdicts(comparison, principles, standing, usage),
            rules,
            self.constitution,
            pair_id=_id(pair, made_of),
            provenance=spent(made_of, usage),
            extra=pair.extra,
            flags=tuple(flag for flag in pair.flags if flag in _OF_THE_PAIRING),
            min_principles=self.min_principles,
        )

    def _check(self, pair: PreferencePair) -> None:
        known = self.constitution.scopes
        if pair.prompt.scope not in known:
            raise InvalidInput(
                f"the constitution {self.constitution.id!r} has no scope {pair.prompt.scope!r}",
                field=f"pair {pair.id}: scope",
                remedy=f"keep the scope in the constitution; it has: {', '.join(known)}",
            )
        if self.judge is None and self.calls(pair):
            raise InvalidInput(
                "the stored votes do not suffice for this constitution",
                field="judge",
                remedy="label the pairs under it first, with a judge: solon label PAIRS --relabel --judge NAME",
            )

    def _principles(self, prompt: Prompt) -> tuple[Principle, ...]:
        return self.constitution.principles_for(prompt.scope)

    def _asked(self, prompt: Prompt) -> dict[str, str]:
        """Hashes of the questions to the judge that matter for a prompt, by their text."""
        if self._rules is None or not self.constitution.rules_for(prompt.scope):
            return {}
        return {text: self._questions[name] for name, text in self._rules.questions(prompt.scope).items()}

    def _known(self, principle: Principle, standing: Standing) -> tuple[Vote, Vote] | None:
        hashes = self._accepted[principle.id]
        return next((standing.votes[each] for each in hashes if each in standing.votes), None)

    async def _verdicts(
        self, comparison: Comparison, principles: Sequence[Principle], standing: Standing, usage: Usage
    ) -> list[Verdict]:
        margin = self.constitution.combine.tie_margin
        verdicts = dict[str, Verdict]()
        missing: list[Principle] = []
        for principle in principles:
            votes = self._known(principle, standing)
            if votes is None:
                missing.append(principle)
            else:
                verdicts[principle.id] = verdict(_as(principle, votes), margin)
                usage.cache_hits += 2
        if missing:
            assert self.judge is not None, "checked before"  # noqa: S101
            fresh = await self.judge.compare_all(comparison, missing, tie_margin=margin, usage=usage)
            verdicts |= {each.principle: each for each in fresh}
        return [verdicts[each.id] for each in principles]

    async def _rule_scores(
        self, comparison: Comparison, standing: Standing, usage: Usage
    ) -> tuple[RuleScore | None, RuleScore | None]:
        rules, prompt = self._rules, comparison.prompt
        if rules is None or not self.constitution.rules_for(prompt.scope):
            return None, None
        asked = self._asked(prompt)

        async def score(completion: Completion, answers: Mapping[str, float | None]) -> RuleScore:
            async def ask(prompt: Prompt, completion: Completion, question: str) -> float | None:
                if asked[question] in answers:
                    usage.cache_hits += 1
                    return answers[asked[question]]
                assert self.judge is not None, "checked before"  # noqa: S101
                return (await self.judge.ask(prompt, completion, question, usage=usage)).p_yes

            return await rules.score(prompt, completion, ask)

        sides = zip((comparison.a, comparison.b), standing.answers, strict=True)
        a, b = await together(score(completion, answers) for completion, answers in sides)
        return a, b

    def _made_of(self, pair: PreferencePair) -> Provenance:
        """The provenance of the new label before its cost; tokens are those of the new judge calls only."""
        stored = pair.provenance
        policy = {who: values for who, values in stored.sampling.items() if who == "policy"}
        asked = dict(self.judge.sampling) if self.judge is not None else stored.sampling.get("judge")
        by = {
            "judge": self.judge.identity if self.judge is not None else stored.judge,
            "policy": stored.policy,
            "sampling": ({"judge": asked} if asked else {}) | policy,
            "seed": stored.seed,
        }
        return self._text.model_copy(update=by)


async def relabel(
    pairs: Iterable[PreferencePair], relabeller: Relabeller, *, max_pairs_in_flight: int = 64
) -> AsyncGenerator[PreferencePair | Discard]:
    """What each pair comes to, in their order; see `Relabeller.relabel`. Close the iterator when leaving it early."""
    async with aclosing(in_order(pairs, relabeller.relabel, width=max_pairs_in_flight)) as items:
        async for item in items:
            yield item


def _accepted(constitution: Constitution, earlier: Constitution | None) -> dict[str, tuple[str, ...]]:
    """By principle id: hashes of the texts that ask the judge exactly what the principle asks, its own first."""
    known = [*constitution.principles, *(earlier.principles if earlier is not None else ())]
    return {
        each.id: (principle_hash(each), *(principle_hash(other) for other in known if _asks_the_same(each, other)))
        for each in constitution.principles
    }


def _asks_the_same(one: Principle, other: Principle) -> bool:
    return (one.text, one.compare) == (other.text, other.compare)


def same_judge(judge: Judge, made: Provenance) -> bool:
    """Whether a label's votes are what this judge would be asked for: the same model, weights and sampling."""
    same = all(made.judge.get(key) == judge.identity[key] for key in _JUDGE)
    return same and made.sampling.get("judge") == dict(judge.sampling)


def _votes(pair: PreferencePair, failed_too: bool) -> Iterable[tuple[str, tuple[Vote, Vote]]]:
    for stored in pair.verdicts:
        by_order = {vote.order: vote for vote in stored.votes if failed_too or vote.status in MEASURED}
        digest = pair.provenance.principle_hashes.get(stored.principle)
        if digest is not None and len(by_order) == 2:
            yield digest, (by_order["ab"], by_order["ba"])


def _answers(score: RuleScore | None, made: Provenance, failed_too: bool) -> dict[str, float | None]:
    values = score.propositions if score is not None else {}
    found = {digest: values[name] for name, digest in made.proposition_hashes.items() if name in values}
    return {
        digest: None if value is None else float(value)
        for digest, value in found.items()
        if value != NOT_APPLICABLE and (failed_too or value is not None)
    }


def _as(principle: Principle, votes: tuple[Vote, Vote]) -> tuple[Vote, Vote]:
    """The votes under the principle's present id."""
    ab, ba = (vote.model_copy(update={"principle": principle.id, "cache_hit": True}) for vote in votes)
    return ab, ba


def _id(pair: PreferencePair, made_of: Provenance) -> str:
    """The stored id where the text and the judge are the same, else one that follows from both."""
    stored = pair.provenance
    judge = [made_of.judge.get(key) for key in _JUDGE]
    if stored.constitution_hash == made_of.constitution_hash and [stored.judge.get(key) for key in _JUDGE] == judge:
        return pair.id
    parts = json.dumps([pair.id, made_of.constitution_hash, judge])
    return "pref_" + hashlib.sha256(parts.encode()).hexdigest()[:26]
