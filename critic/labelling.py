"""One comparison, labelled: votes, rules, the label they come to, and what made it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from constitution.digest import content_hash, principle_hash, question_hashes
from constitution.document import Constitution, Principle
from constitution.weighting import Weights
from critic.candidates import Sampling
from critic.concurrency import together
from critic.judge import Judge, Usage
from critic.pairs import label
from critic.rules import RuleSet
from critic.suspicion import flags as suspicion_flags
from critic.suspicion import labels_of
from solon.errors import InvalidInput
from solon.records import Comparison, Completion, PreferencePair, Prompt, Provenance, RuleScore, Status, Verdict
from solon.templates import template_hash


@dataclass(frozen=True)
class Labeller:
    """Labels comparisons under one constitution; what all rows of a job share.

    Raises InvalidInput when the constitution needs a judge and there is none, or its rules do not type-check.
    """

    constitution: Constitution
    judge: Judge | None
    policy: str | None = None
    """Registered name of the policy that writes completions where none are given."""
    sampling: Sampling | None = None
    """Of the policy; recorded, like its name, only for completions that a model wrote."""
    seed: int = 0
    min_principles: int | None = None
    """See `critic.pairs.label`."""
    weights: Weights = field(default_factory=dict[str, float])
    """Those that `constitution` was read with, for provenance."""
    _rules: RuleSet | None = field(init=False)
    _made_by: Provenance = field(init=False)
    _made_of_given: Provenance = field(init=False)

    def __post_init__(self) -> None:
        rules = RuleSet(self.constitution) if self.constitution.rules else None
        asks = rules is not None and rules.needs_judge
        if self.judge is None and (self.constitution.principles or asks):
            raise InvalidInput(
                f"the constitution {self.constitution.id!r} needs a judge", field="judge", remedy="name a judge model"
            )
        object.__setattr__(self, "_rules", rules)
        made_by = self._provenance(asks)
        sampling = {who: values for who, values in made_by.sampling.items() if who != "policy"}
        object.__setattr__(self, "_made_by", made_by)
        object.__setattr__(self, "_made_of_given", made_by.model_copy(update={"policy": None, "sampling": sampling}))

    def principles(self, prompt: Prompt) -> tuple[Principle, ...]:
        """The principles that apply to a prompt."""
        return self.constitution.principles_for(prompt.scope)

    def applies_to(self, prompt: Prompt) -> bool:
        """Whether any principle or rule applies; InvalidInput when the constitution has no such scope."""
        check_scope(self.constitution, prompt)
        return bool(self.principles(prompt) or self.constitution.rules_for(prompt.scope))

    async def rule_scores(
        self, prompt: Prompt, completions: Sequence[Completion], usage: Usage
    ) -> list[RuleScore | None]:
        """What the rules say of each completion; None where the constitution has no rules for the prompt."""
        rules = self._rules
        if rules is None or not self.constitution.rules_for(prompt.scope):
            return [None] * len(completions)

        async def ask(prompt: Prompt, completion: Completion, question: str) -> float | None:
            assert self.judge is not None, "checked when the labeller was made"  # noqa: S101
            return (await self.judge.ask(prompt, completion, question, usage=usage)).p_yes

        return list(
            await together(rules.score(prompt, each, ask if rules.needs_judge else None) for each in completions)
        )

    async def compare(
        self,
        comparison: Comparison,
        rules: tuple[RuleScore | None, RuleScore | None],
        *,
        key: Sequence[str | int] = (),
        extra: dict[str, Any] | None = None,
    ) -> PreferencePair:
        """The labelled comparison; `key` tells comparisons of the same texts apart in their ids."""
        usage = Usage()
        principles = self.principles(comparison.prompt)
        verdicts: tuple[Verdict, ...] = ()
        if self.judge is not None:
            margin = self.constitution.combine.tie_margin
            verdicts = await self.judge.compare_all(comparison, principles, tie_margin=margin, usage=usage)
        return labelled(
            comparison,
            verdicts,
            rules,
            self.constitution,
            pair_id=self._id(comparison, key),
            provenance=spent(self._made_of(comparison), usage),
            extra=extra or {},
            flags=self._kinship(comparison),
            min_principles=self.min_principles,
        )

    def _kinship(self, comparison: Comparison) -> tuple[str, ...]:
        """`own_family` where one side, and not the other, was written by a policy of the judge's family.

        With both sides from it, self-preference favours neither.
        """
        kin = self.judge.kin if self.judge is not None else ()
        a, b = (each.model is not None and each.model in kin for each in (comparison.a, comparison.b))
        return ("own_family",) if a != b else ()

    def _provenance(self, asks: bool) -> Provenance:
        judge = self.judge
        sampling = {"judge": dict(judge.sampling)} if judge is not None else {}
        by: dict[str, Any] = {
            "judge": judge.identity if judge is not None else {},
            "policy": self.policy,
            "sampling": sampling | ({"policy": asdict(self.sampling)} if self.sampling is not None else {}),
            "seed": self.seed,
        }
        if judge is None:
            return text_provenance(self.constitution, asks, self.weights).model_copy(update=by)
        templates = (judge.pair_templates, judge.question_templates)
        return text_provenance(self.constitution, asks, self.weights, *templates).model_copy(update=by)

    def _made_of(self, comparison: Comparison) -> Provenance:
        if any(each.finish_reason != "given" for each in (comparison.a, comparison.b)):
            return self._made_by
        return self._made_of_given

    def _id(self, comparison: Comparison, key: Sequence[str | int]) -> str:
        """The same for the same comparison under the same constitution, judge and seed."""
        made_by = self._made_by
        turns = [[message.role, message.content] for message in comparison.prompt.messages]
        texts = [comparison.prompt.id, comparison.prompt.scope, turns, comparison.a.text, comparison.b.text]
        parts = [made_by.constitution_hash, made_by.judge, made_by.template_hash, self.seed, *texts, *key]
        return "pref_" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:26]


def text_provenance(
    constitution: Constitution,
    asks: bool,
    weights: Weights,
    pair_templates: Sequence[str] = ("judge_pair",),
    question_templates: Sequence[str] = ("proposition",),
) -> Provenance:
    """The part of a label's provenance that is text: the constitution, its parts, and the templates.

    Args:
        asks: whether some rule depends on a question to the judge.
        weights: those that the constitution was read with.
        pair_templates, question_templates: of the judge's method.
    """
    templates = [*(pair_templates if constitution.principles else ()), *(question_templates if asks else ())]
    asked = {"proposition_hashes": question_hashes(constitution) if asks else {}, "weights": dict(weights)}
    return origin(constitution, templates).model_copy(update=asked)


def labelled(
    comparison: Comparison,
    verdicts: Sequence[Verdict],
    rules: tuple[RuleScore | None, RuleScore | None],
    constitution: Constitution,
    *,
    pair_id: str,
    provenance: Provenance,
    extra: dict[str, Any],
    flags: Sequence[str] = (),
    min_principles: int | None = None,
) -> PreferencePair:
    """The pair that measured verdicts and rule scores come to under a constitution; no model is asked.

    Args:
        verdicts: one for each principle that applies to the prompt, in the constitution's order; none without a judge.
        flags: what else is to be said of the pair.
    """
    principles = constitution.principles_for(comparison.prompt.scope)
    scores = (rules[0], rules[1]) if rules[0] is not None and rules[1] is not None else None
    outcome = label(verdicts, principles, constitution.combine, rules=scores, min_principles=min_principles)
    p_a, decided = outcome.p_a, outcome.status is Status.OK
    return PreferencePair(
        id=pair_id,
        status=outcome.status,
        prompt=comparison.prompt,
        a=comparison.a,
        b=comparison.b,
        p_a=p_a,
        chosen=None if p_a is None or not decided else "a" if p_a > 0.5 else "b",
        p_chosen=None if p_a is None or not decided else max(p_a, 1 - p_a),
        margin=None if p_a is None else abs(p_a - 0.5) * 2,
        verdicts=tuple(verdicts),
        rules_a=rules[0],
        rules_b=rules[1],
        flags=(*outcome.flags, *_text_flags(comparison, provenance), *flags),
        provenance=provenance,
        extra=extra,
    )


def check_scope(constitution: Constitution, prompt: Prompt) -> None:
    """Raises InvalidInput when the constitution has no such scope."""
    if prompt.scope not in constitution.scopes:
        raise InvalidInput(
            f"the constitution {constitution.id!r} has no scope {prompt.scope!r}",
            field=f"row {prompt.id}: scope",
            remedy=f"use one of: {', '.join(constitution.scopes)}",
        )


def origin(constitution: Constitution, templates: Sequence[str]) -> Provenance:
    """The provenance of what a constitution and these templates make, before any model is named."""
    return Provenance(
        constitution=constitution.id,
        constitution_version=constitution.version,
        constitution_hash=content_hash(constitution),
        principle_hashes={each.id: principle_hash(each) for each in constitution.principles},
        template_hash="+".join(template_hash(name) for name in templates),
    )


def spent(provenance: Provenance, usage: Usage) -> Provenance:
    """The provenance with what `usage` cost added to it."""
    return provenance.model_copy(
        update={
            "prompt_tokens": provenance.prompt_tokens + usage.prompt_tokens,
            "completion_tokens": provenance.completion_tokens + usage.completion_tokens,
            "judge_calls": provenance.judge_calls + usage.judge_calls,
            "cache_hits": provenance.cache_hits + usage.cache_hits,
        }
    )


def total(pairs: Iterable[PreferencePair]) -> Usage:
    """What the labels of all pairs cost together."""
    usage = Usage()
    for made in (pair.provenance for pair in pairs):
        usage.add(Usage(made.prompt_tokens, made.completion_tokens, made.judge_calls, made.cache_hits))
    return usage


def _text_flags(comparison: Comparison, made_by: Provenance) -> list[str]:
    """`injection_suspected` and `cut_completion`, where they hold."""
    suspicions = suspicion_flags(comparison, labels_of(made_by.sampling.get("judge", {})))
    cut = "length" in (comparison.a.finish_reason, comparison.b.finish_reason)
    return [*suspicions, "cut_completion"] if cut else suspicions
