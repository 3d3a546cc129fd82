"""What the expressions of a constitution mean: propositions, rules and classes compiled and type-checked.

The check that completion classes partition is part of it, so a constitution that could be loaded always gives a
completion exactly one class.
"""

from constitution.classes import check_partition
from constitution.expressions import Condition
from constitution.propositions import PropositionSet
from constitution.schema import CompletionClass, Constitution, Rule
from solon.errors import InvalidInput

ConditionalPart = Rule | CompletionClass


class Logic:
    """The compiled expressions of one constitution; with `errors`, only those that are right."""

    def __init__(self, constitution: Constitution) -> None:
        self.errors: list[InvalidInput] = []
        """Everything wrong, each with its field, in the order of the file's sections."""
        self.propositions = PropositionSet(constitution.propositions)
        self.errors += self.propositions.errors
        self.classes: list[tuple[CompletionClass, Condition]] = [
            (part, condition)
            for index, part in enumerate(constitution.classes)
            if (condition := self._compiled(part, f"classes[{index}].when")) is not None
        ]
        """Ordered best to worst."""
        self.rules: list[tuple[Rule, Condition]] = [
            (rule, condition)
            for index, rule in enumerate(constitution.rules)
            if (condition := self._compiled(rule, f"rules[{index}].when")) is not None
        ]
        if not self.errors:
            self.errors += self._partition_errors(constitution)

    def require(self) -> None:
        """Raises the first error, if there is one."""
        if self.errors:
            raise self.errors[0]

    def _compiled(self, part: ConditionalPart, field: str) -> Condition | None:
        try:
            return Condition(part.when, self.propositions.kinds, field=field)
        except InvalidInput as error:
            self.errors.append(error)
            return None

    def _partition_errors(self, constitution: Constitution) -> list[InvalidInput]:
        """The first violation, if the classes of some scope do not partition."""
        for scope in constitution.scopes:
            try:
                self._check_classes(scope)
            except InvalidInput as error:
                return [error]
        return []

    def _check_classes(self, scope: str) -> None:
        applying = [(index, part, condition) for index, (part, condition) in enumerate(self.classes)]
        labels = {
            f"{part.id} (classes[{index}])": condition for index, part, condition in applying if part.applies(scope)
        }
        if not labels:
            return
        names = self.propositions.basic(name for condition in labels.values() for name in condition.names)
        kinds = self.propositions.kinds
        numbers = sorted(name for name in names if kinds[name] != "bool")
        if numbers:
            raise InvalidInput(
                f"classes depend on the number {numbers[0]!r}",
                field="classes",
                remedy="give that proposition `op` and `value`",
            )
        ordered = [name for name in kinds if name in names]
        check_partition(labels, ordered, self.propositions.expand, self.propositions.choices, field="classes")
