"""Before every route: a query parameter that it does not know is refused, and so is a NUL in path or query.

    FastAPI(dependencies=[CHECKED])

No id, cursor or name holds a NUL, and PostgreSQL takes none. What a query may hold is what the route declares; where it
declares a model, the model refuses other names itself, or takes some of them (`metadata[key]`).
"""

from collections.abc import Iterator
from typing import TypeGuard

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel

from solon.errors import InvalidInput


async def _check(request: Request) -> None:
    for name, value in request.path_params.items():
        _require_no_nul(str(value), name)
    if not request.query_params:
        return
    dependant: Dependant = request.scope["route"].dependant
    known = set(_names(dependant))
    for name, value in request.query_params.multi_items():
        if name not in known and not _takes_model(dependant):
            raise InvalidInput("the query has a parameter that is not known here", remedy="/docs shows those that are")
        _require_no_nul(name + value, name if name in known else None)


CHECKED = Depends(_check)
"""A dependency of all routes."""


def _names(dependant: Dependant) -> Iterator[str]:
    """The query parameters of a route."""
    for parameter in dependant.query_params:
        kind = parameter.field_info.annotation
        yield from kind.model_fields if _is_model(kind) else (parameter.alias,)
    for each in dependant.dependencies:
        yield from _names(each)


def _takes_model(dependant: Dependant) -> bool:
    here = any(_is_model(parameter.field_info.annotation) for parameter in dependant.query_params)
    return here or any(map(_takes_model, dependant.dependencies))


def _is_model(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _require_no_nul(text: str, field: str | None) -> None:
    if "\0" in text:
        raise InvalidInput("holds a NUL", field=field, remedy="leave it out")
