"""The rules of one constitution, compiled once, applied to one completion at a time.

A judge proposition is asked only where a rule or class of the prompt's scope needs it, and only where it applies. One
that stays unanswered is None: conditions that depend on it do not hold, the reward is still a number, and the None is
in the record.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from constitution.document import Constitution
from constitution.expressions import NOT_APPLICABLE, Condition, Known
from constitution.logic import Logic
from critic.rules.chances import probabilities
from critic.rules.readers import readers
from solon.errors import InvalidInput
from solon.records import Completion, Prompt, RuleScore

Ask = Callable[[Prompt, Completion, str], Awaitable[float | None]]
"""P(yes) of a question about a completion, None when the judge gave no usable answer."""
Propositions = dict[str, Known | None]
"""Values by id, judge propositions as P(yes); None is unanswered."""


@dataclass(frozen=True)
class Classification:
    """What the constitution says of given propositions."""

    derived: dict[str, Known | None]
    completion_class: str | None
    """Id of the class that holds; None when there are no classes or an unknown proposition leaves it open."""
    score: RuleScore


@dataclass(frozen=True)
class Chances:
    """Exact probabilities under the judge's P(yes), its answers taken as independent; None is unknown."""

    propositions: dict[str, float | None]
    """P(it applies and holds) of the propositions that are true or false, derived ones included."""
    classes: dict[str, float | None]
    """Ordered best to worst; known ones sum to 1."""
    rules: dict[str, float | None]
    """P(the rule fires)."""


class RuleSet:
    """The propositions, classes and rules of a constitution, ready to score completions.

    Raises `InvalidInput` where `constitution.logic` finds something wrong; of a constitution that was loaded from a
    file, nothing is.
    """

    def __init__(self, constitution: Constitution) -> None:
        self._constitution = constitution
        self._scopes = constitution.scopes
        logic = Logic(constitution)
        logic.require()
        self._propositions = logic.propositions
        self._readers = readers(constitution.propositions, logic.propositions.patterns)
        self._rules = logic.rules
        self._classes = logic.classes

    @property
    def needs_judge(self) -> bool:
        """Whether some rule or class, in some scope, depends on a question to the judge."""
        return any(self.questions(scope) for scope in self._scopes)

    def questions(self, scope: str) -> dict[str, str]:
        """Ids and texts of the judge propositions that matter in a scope."""
        needed = self._needed(scope)
        return {name: text for name, text in self._propositions.questions.items() if name in needed}

    def certain_questions(self, scope: str) -> dict[str, str]:
        """Those of `questions` that are asked whatever the answers to others are."""
        return {name: text for name, text in self.questions(scope).items() if name not in self._propositions.only_if}

    async def score(self, prompt: Prompt | None, completion: Completion, ask: Ask | None = None) -> RuleScore:
        """The rules' reward for a completion; without a prompt the scope is `general` and the judge is not asked.

        Args:
            ask: None leaves every judge proposition unanswered.

        Raises:
            InvalidInput: the constitution has no scope of that name, or the prompt's metadata cannot be read.
        """
        scope = prompt.scope if prompt is not None else "general"
        return self.classify(await self.read(prompt, completion, ask), scope).score

    async def read(
        self,
        prompt: Prompt | None,
        completion: Completion,
        ask: Ask | None = None,
        given: Mapping[str, Known | None] | None = None,
    ) -> Propositions:
        """The propositions that matter in the prompt's scope, as given, read, measured and asked; see `score`.

        Args:
            given: values that need not be found out.
        """
        scope = self._known(prompt.scope) if prompt is not None else "general"
        needed = self._needed(scope)
        values: Propositions = {
            name: read(completion.text, prompt) for name, read in self._readers.items() if name in needed
        }
        values.update(given or {})
        questions = {name: text for name, text in self.questions(scope).items() if name not in values}
        if prompt is not None and ask is not None:
            await self._ask(values, questions, lambda question: ask(prompt, completion, question))
        values = {**values, **{name: None for name in questions if name not in values}}
        expanded = self._expanded(values)
        return {name: _recorded(value, expanded[name]) for name, value in values.items()}

    def classify(self, propositions: Mapping[str, Known | None], scope: str = "general") -> Classification:
        """Derived propositions, class and reward that follow from given values, with no model call.

        Args:
            propositions: by id; a judge proposition as true, false or P(yes); what is absent or None is unknown.

        Raises:
            InvalidInput: an unknown scope or proposition, or a value of another type than the proposition has.
        """
        self._known(scope)
        values = self._expanded(propositions)
        fired = [rule for rule, condition in self._rules if rule.applies(scope) and condition.holds(values)]
        holding = [part.id for part, condition in self._classes if part.applies(scope) and condition.holds(values)]
        derived: Propositions = {name: values[name] for name in self._propositions.derived}
        given: Propositions = {name: _recorded(value, values[name]) for name, value in propositions.items()}
        score = RuleScore(
            reward=math.fsum(rule.reward for rule in fired),
            fired=tuple(rule.id for rule in fired),
            propositions={**given, **derived},
        )
        return Classification(derived=derived, completion_class=holding[0] if holding else None, score=score)

    def chances(self, propositions: Mapping[str, Known | None], scope: str = "general") -> Chances:
        """What `classify` decides, as exact probabilities; see there."""
        self._known(scope)
        needed = self._needed(scope)
        of_scope = {name for name in self._propositions.kinds if self._propositions.basic([name]) <= needed}
        statements = {name: condition for name, condition in self._statements.items() if name in of_scope}
        classes = {part.id: condition for part, condition in self._classes if part.applies(scope)}
        rules = {rule.id: condition for rule, condition in self._rules if rule.applies(scope)}
        together = self._probabilities(classes, propositions) if classes else {}
        return Chances(
            propositions=self._each(statements, propositions), classes=together, rules=self._each(rules, propositions)
        )

    def violations(self, propositions: Mapping[str, Known | None], scope: str = "general") -> dict[str, float]:
        """P(it is broken) of each rule with a negative reward, where its propositions are answered.

        Args:
            propositions: as in `RuleScore`; derived ones are worked out anew.
        """
        self._known(scope)
        forbidding = {r.id: when for r, when in self._rules if r.reward < 0 and r.applies(scope)}
        derived = self._propositions.derived
        basic: Propositions = {name: value for name, value in propositions.items() if name not in derived}
        return {name: p for name, p in self._each(forbidding, basic).items() if p is not None}

    @cached_property
    def _statements(self) -> dict[str, Condition]:
        """That a proposition holds, for those that are true or false."""
        kinds = self._propositions.kinds
        return {
            each.id: Condition(each.id, kinds, field=each.id)
            for each in self._constitution.propositions
            if kinds[each.id] == "bool"
        }

    def _each(
        self, conditions: Mapping[str, Condition], propositions: Mapping[str, Known | None]
    ) -> dict[str, float | None]:
        """Probabilities of conditions that have little to do with each other: fewer steps one by one."""
        return {
            name: self._probabilities({name: condition}, propositions)[name] for name, condition in conditions.items()
        }

    def _probabilities(
        self, conditions: Mapping[str, Condition], propositions: Mapping[str, Known | None]
    ) -> dict[str, float | None]:
        needed = self._propositions.basic(name for condition in conditions.values() for name in condition.names)
        asked = {name: _p_yes(value) for name, value in propositions.items() if name in self._propositions.questions}
        uncertain = {name: p for name, p in asked.items() if p is not None and name in needed}
        certain: Propositions = {
            name: self._propositions.typed(name, value)
            for name, value in propositions.items()
            if name in needed and name not in uncertain
        }
        return probabilities(conditions, certain, uncertain, self._propositions.expand)

    async def _ask(
        self, values: Propositions, questions: Mapping[str, str], ask: Callable[[str], Awaitable[float | None]]
    ) -> None:
        """Add the answers to `values`, round by round: a question waits for those that say whether it applies."""
        waiting = dict(questions)
        while waiting:
            ready = self._ready(waiting, self._expanded(values))
            if not ready:
                return
            answers = await asyncio.gather(*(ask(waiting.pop(name)) for name in ready))
            values.update(zip(ready, answers, strict=True))

    def _ready(self, names: Iterable[str], values: Mapping[str, Known | None]) -> list[str]:
        only_if = self._propositions.only_if
        return [name for name in names if name not in only_if or only_if[name].holds(values)]

    def _expanded(self, propositions: Mapping[str, Known | None]) -> dict[str, Known | None]:
        return self._propositions.expand(
            {name: self._propositions.typed(name, value) for name, value in propositions.items()}
        )

    def _known(self, scope: str) -> str:
        if scope not in self._scopes:
            known = ", ".join(self._scopes)
            raise InvalidInput(f"the constitution has no scope {scope!r}", field="scope", remedy=f"known: {known}")
        return scope

    def _needed(self, scope: str) -> frozenset[str]:
        """Basic propositions that a rule or class of this scope depends on."""
        conditions = [condition for part, condition in (*self._rules, *self._classes) if part.applies(scope)]
        return self._propositions.basic(name for condition in conditions for name in condition.names)


def _recorded(given: Known | None, expanded: Known | None) -> Known | None:
    """The value for the record: as it was given (P(yes) and all), unless it does not apply."""
    return NOT_APPLICABLE if expanded == NOT_APPLICABLE else given


def _p_yes(value: Known | None) -> float | None:
    """P(yes) of an answer that is not certain; None for one that is, or is missing."""
    return value if isinstance(value, float) and 0 < value < 1 else None
