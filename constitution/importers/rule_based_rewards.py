"""Propositions and completion classes of rule-based rewards (Mu et al. 2024, arXiv:2411.01111), as OpenAI wrote them.

A response type becomes a scope, a table of truth values a conjunction in CEL, and a class of one response type a class
of that scope. Classes keep their published order; what it is worth in reward is not part of the file.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pydantic import Field

from constitution.importers.parts import Foreign, Parts
from solon.documents import validated
from solon.errors import InvalidInput

_ANY_OTHER: Final = {"general": "Any other request; the source defines no classes for it."}
_SPACED: Final = (
    "The rewards are not from the source: they are evenly spaced from 1 for the best class to -1 for the worst."
)
_OWN_PROMPT: Final = "The prompt template is left out: Solon asks each question in its own."

Table = dict[str, bool]
"""Propositions and whether they must hold, all of them."""


class _Question(Foreign):
    prompt: str


class _Published(Foreign):
    prompt_template: str | None = None
    completion_class_order: list[str]
    completion_classes: dict[str, dict[str, Table]]
    derived_propositions: dict[str, Table] = Field(default_factory=dict[str, Table])
    simple_propositions: dict[str, _Question]


def read_rules(data: Any, source: str) -> Parts:
    """Scopes, propositions, classes and evenly spaced rewards."""
    published = validated(_Published, data, source)
    order = _order(published, source)
    types = list(dict.fromkeys(kind for classes in published.completion_classes.values() for kind in classes))
    cells = [(name, kind) for name in order for kind in types if kind in published.completion_classes[name]]
    scopes = _ANY_OTHER | {kind: f"A request whose response type is {kind.replace('_', ' ')}." for kind in types}
    return Parts(
        {
            "scopes": {name: {"description": text} for name, text in scopes.items()},
            "propositions": tuple(_propositions(published, cells)),
            "classes": tuple({"id": name, "when": _cell(name, kind), "scopes": (kind,)} for name, kind in cells),
            "rules": tuple(
                {"id": f"{name}-{kind}", "when": _cell(name, kind), "reward": reward, "scopes": (kind,)}
                for (name, kind), reward in zip(cells, _rewards(order, cells), strict=True)
            ),
        },
        (_SPACED, _OWN_PROMPT) if published.prompt_template else (_SPACED,),
    )


def _propositions(published: _Published, cells: Iterable[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """The questions, what is derived from them, and a name for each class of each response type."""
    for name, each in published.simple_propositions.items():
        yield {"id": name, "kind": "judge", "question": each.prompt}
    for name, table in published.derived_propositions.items():
        yield _derived(name, table)
    for name, kind in cells:
        yield _derived(_cell(name, kind), published.completion_classes[name][kind])


def _rewards(order: Sequence[str], cells: Iterable[tuple[str, str]]) -> list[float]:
    """From 1 for the best class to -1 for the worst, in even steps."""
    step = 2 / max(1, len(order) - 1)
    return [round(1 - step * order.index(name), 4) for name, _ in cells]


def _order(published: _Published, source: str) -> list[str]:
    order = published.completion_class_order
    if sorted(order) != sorted(published.completion_classes):
        raise InvalidInput(
            f"the order and the classes are not the same set [{source}]",
            field="completion_class_order",
            remedy=f"list each of them once: {', '.join(published.completion_classes)}",
        )
    return order


def _derived(name: str, table: Table) -> dict[str, Any]:
    terms = (proposition if holds else f"!{proposition}" for proposition, holds in table.items())
    return {"id": name, "kind": "derived", "when": " && ".join(terms) or "true"}


def _cell(name: str, kind: str) -> str:
    """The proposition that says: this class holds, for this response type."""
    return f"{name}__{kind}"
