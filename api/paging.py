"""Lists as answers, and answers that a client need not be sent twice."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

from fastapi import Header, Response
from pydantic import BaseModel

from api.services import Item, Page, Paging
from solon.errors import InvalidInput

IfNoneMatch = Annotated[str | None, Header(max_length=1000, description="ETags that the client has.")]

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The client has it: its ETag is the one sent."}}
"""For the OpenAPI document."""


def listed(data: Sequence[Item], more: bool = False, key: Callable[[Item], str | int] | None = None) -> Page[Item]:
    """The items as a page; `key` names an item, its `id` unless given."""
    ids = [key(each) if key is not None else getattr(each, "id", None) for each in data]
    return Page(data=list(data), first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None, has_more=more)


def cut(items: Iterable[Item], paging: Paging, key: Callable[[Item], str]) -> Page[Item]:
    """A page of items that are in their list's own order, which `desc` turns around.

    Raises InvalidInput where `after` names none of them.
    """
    found = list(items) if paging.order == "asc" else list(items)[::-1]
    if paging.after is not None:
        names = [key(each) for each in found]
        if paging.after not in names:
            raise InvalidInput("is nothing in this list", field="after", remedy="give a `last_id` of this list")
        found = found[names.index(paging.after) + 1 :]
    return listed(found[: paging.limit], len(found) > paging.limit, key)


def answered(body: BaseModel, if_none_match: str | None, *, immutable: bool = False) -> Response:
    """The body as JSON with its ETag, or 304 where the client has it.

    Args:
        immutable: it is never another one, so that a client may keep it.
    """
    raw = body.model_dump_json().encode()
    headers = tags(f'"{hashlib.sha256(raw).hexdigest()[:32]}"', immutable=immutable)
    if matches(headers["ETag"], if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(raw, media_type="application/json", headers=headers)


def tags(etag: str, *, immutable: bool = False) -> dict[str, str]:
    """The headers of an answer with this ETag."""
    return {"ETag": etag, "Cache-Control": "private, max-age=31536000, immutable" if immutable else "private, no-cache"}


def matches(etag: str, if_none_match: str | None) -> bool:
    """Whether the client has it, RFC 9110 section 13.1.2; tags are compared weakly."""
    given = [each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")]
    return "*" in given or etag.removeprefix("W/") in given
