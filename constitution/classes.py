"""The partition law of completion classes: for every assignment of the propositions exactly one class holds.

The search assigns one proposition at a time and lets CEL decide what is already decided, so a branch ends as soon as
one class holds and the others do not: a few hundred steps where 17 propositions have 131,072 assignments.
"""

from collections.abc import Callable, Mapping, Sequence

from constitution.expressions import NOT_APPLICABLE, Condition, Known
from solon.errors import InvalidInput

MAX_STEPS = 20_000

Expand = Callable[[Mapping[str, Known | None]], Mapping[str, Known | None]]
"""Adds the derived propositions that are decided by the values at hand."""
Choices = Callable[[str, Mapping[str, Known | None]], Sequence[Known]]
"""Values that a proposition can have, given (expanded) values of those before it."""


def check_partition(
    classes: Mapping[str, Condition], names: Sequence[str], expand: Expand, choices: Choices, *, field: str
) -> None:
    """Raises `InvalidInput` with a counterexample unless exactly one class holds for every assignment of `names`.

    The error names the field of the second of two classes that both hold, and else `field`.

    Args:
        classes: conditions by a label that tells them apart.
        names: the Boolean propositions that the classes depend on, derived ones excluded.
        expand: see `Expand`.
        choices: see `Choices`.
    """
    steps = 0
    open_branches: list[dict[str, Known | None]] = [{}]
    while open_branches:
        assignment = open_branches.pop()
        steps += 1
        if steps > MAX_STEPS:
            raise InvalidInput(
                f"the classes depend on {len(names)} propositions in too tangled a way to check",
                field=field,
                remedy="use fewer propositions per class, or name parts with `kind: derived`",
            )
        values = expand(assignment)
        holding = {label: condition.holds(values) for label, condition in classes.items()}
        finding = _finding(holding, complete=len(assignment) == len(names))
        if finding is not None:
            message, label = finding
            raise InvalidInput(
                f"{message} when {_written(assignment)}",
                field=classes[label].field if label else field,
                remedy="exactly one class must hold, whatever the propositions say",
            )
        if None in holding.values():
            name = names[len(assignment)]
            for value in choices(name, values):
                open_branches.append({**assignment, name: value})


def _finding(holding: Mapping[str, bool | None], *, complete: bool) -> tuple[str, str | None] | None:
    """What is already wrong with a (partial) assignment and the class to correct, or None."""
    true = [label for label, holds in holding.items() if holds]
    if len(true) > 1:
        return f"both {true[0]} and {true[1]} hold", true[1]
    undecided = [label for label, holds in holding.items() if holds is None]
    if not true and not undecided:
        return "no class holds", None
    if complete and undecided:
        return f"{undecided[0]} cannot be decided", undecided[0]
    return None


def _written(assignment: Mapping[str, Known | None]) -> str:
    return ", ".join(map(_literal, assignment.items())) or "nothing is known"


def _literal(assigned: tuple[str, Known | None]) -> str:
    name, value = assigned
    return f"{name} does not apply" if value == NOT_APPLICABLE else name if value else f"!{name}"
