"""The rules of one constitution, compiled once, applied to one completion at a time.

A judge proposition is asked only where a rule or class of the prompt's scope needs it. One that stays unanswered is
None: conditions that depend on it do not hold, the reward is still a number, and the None is in the record.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from constitution.document import Constitution
from constitution.expressions import Value
from constitution.logic import Logic
from critic.rules.readers import readers
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
    """The propositions, classes and rules of a constitution, ready to score completions.

    Raises `InvalidInput` where `constitution.logic` finds something wrong; of a constitution that was loaded from a
    file, nothing is.
    """

    def __init__(self, constitution: Constitution) -> None:
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

    async def score(self, prompt: Prompt | None, completion: Completion, ask: Ask | None = None) -> RuleScore:
        """The rules' reward for a completion; without a prompt the scope is `general` and the judge is not asked.

        Args:
            ask: None leaves every judge proposition unanswered.

        Raises:
            InvalidInput: the constitution has no scope of that name.
        """
        scope = self._known(prompt.scope) if prompt is not None else "general"
        needed = self._needed(scope)
        values: dict[str, Value | None] = {
            name: read(completion.text) for name, read in self._readers.items() if name in needed
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
