"""The rules of one constitution, compiled once, applied to one completion at a time.

A judge proposition is asked only where a rule or class of the prompt's scope needs it. One that stays unanswered is
None: conditions that depend on it do not hold, the reward is still a number, and the None is in the record.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from constitution.document import CompletionClass, Constitution, Rule
from critic.rules.classes import check_partition
from critic.rules.expressions import Condition, Value
from critic.rules.propositions import PropositionSet
from solon.errors import InvalidInput
from solon.records import Completion, Prompt, RuleScore

Ask = Callable[[Prompt, Completion, str], Awaitable[float | None]]
"""P(yes) of a question about a completion, None when the judge gave no usable answer."""


@dataclass(frozen=True)
class Classification:
    """What the constitution says of given propositions."""

    derived: dict[str, Value | None]
    completion_class: str | None
    """Id of the class that holds; None when there are no classes or an unknown proposition leaves it open."""
    score: RuleScore


class RuleSet:
    """The propositions, classes and rules of a constitution, type-checked.

    Raises `InvalidInput` with the field when an expression is not CEL over the propositions, a pattern is not RE2, or
    the classes of a scope do not partition.
    """

    def __init__(self, constitution: Constitution) -> None:
        self._scopes = constitution.scopes
        self._propositions = PropositionSet(constitution)
        kinds = self._propositions.kinds
        self._rules: list[tuple[Rule, Condition]] = [
            (rule, Condition(rule.when, kinds, field=f"rules[{index}].when"))
            for index, rule in enumerate(constitution.rules)
        ]
        self._classes: list[tuple[CompletionClass, Condition]] = [
            (part, Condition(part.when, kinds, field=f"classes[{index}].when"))
            for index, part in enumerate(constitution.classes)
        ]
        for scope in self._scopes:
            self._check_classes(scope)

    @property
    def needs_judge(self) -> bool:
        """Whether some rule or class, in some scope, depends on a question to the judge."""
        return any(self.questions(scope) for scope in self._scopes)

    def questions(self, scope: str) -> dict[str, str]:
        """Ids and texts of the judge propositions that matter in a scope."""
        needed = self._needed(scope)
        return {name: text for name, text in self._propositions.questions.items() if name in needed}

    async def score(self, prompt: Prompt | None, completion: Completion, ask: Ask | None = None) -> RuleScore:
        """The rules' reward for a completion; without a prompt the scope is `general` and the judge is not asked.

        Args:
            ask: None leaves every judge proposition unanswered.

        Raises:
            InvalidInput: the constitution has no scope of that name.
        """
        scope = self._known(prompt.scope) if prompt is not None else "general"
        needed = self._needed(scope)
        readers = self._propositions.readers
        values: dict[str, Value | None] = {
            name: read(completion.text) for name, read in readers.items() if name in needed
        }
        questions = self.questions(scope)
        values |= dict.fromkeys(questions)
        if prompt is not None and ask is not None:
            answers = await asyncio.gather(*(ask(prompt, completion, text) for text in questions.values()))
            values |= zip(questions, answers, strict=True)
        return self.classify(values, scope).score

    def classify(self, propositions: Mapping[str, Value | None], scope: str = "general") -> Classification:
        """Derived propositions, class and reward that follow from given values, with no model call.

        Args:
            propositions: by id; a judge proposition as true, false or P(yes); what is absent or None is unknown.

        Raises:
            InvalidInput: an unknown scope or proposition, or a value of another type than the proposition has.
        """
        self._known(scope)
        basic = {name: self._propositions.typed(name, value) for name, value in propositions.items()}
        values = self._propositions.expand(basic)
        fired = [rule for rule, condition in self._rules if rule.applies(scope) and condition.holds(values)]
        holding = [part.id for part, condition in self._classes if part.applies(scope) and condition.holds(values)]
        derived = {name: values[name] for name in self._propositions.derived}
        score = RuleScore(
            reward=math.fsum(rule.reward for rule in fired),
            fired=tuple(rule.id for rule in fired),
            propositions={**propositions, **derived},
        )
        return Classification(derived=derived, completion_class=holding[0] if holding else None, score=score)

    def _known(self, scope: str) -> str:
        if scope not in self._scopes:
            known = ", ".join(self._scopes)
            raise InvalidInput(f"the constitution has no scope {scope!r}", field="scope", remedy=f"known: {known}")
        return scope

    def _needed(self, scope: str) -> frozenset[str]:
        """Basic propositions that a rule or class of this scope depends on."""
        conditions = [condition for part, condition in (*self._rules, *self._classes) if part.applies(scope)]
        return self._propositions.basic(name for condition in conditions for name in condition.names)

    def _check_classes(self, scope: str) -> None:
        labels = {
            f"{part.id} (classes[{index}])": condition
            for index, (part, condition) in enumerate(self._classes)
            if part.applies(scope)
        }
        if not labels:
            return
        names = self._propositions.basic(name for condition in labels.values() for name in condition.names)
        kinds = self._propositions.kinds
        numbers = sorted(name for name in names if kinds[name] != "bool")
        if numbers:
            raise InvalidInput(
                f"classes depend on the number {numbers[0]!r}",
                field="classes",
                remedy="give that proposition `op` and `value`",
            )
        ordered = [name for name in kinds if name in names]
        check_partition(labels, ordered, self._propositions.expand, field="classes")
