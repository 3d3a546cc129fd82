"""/v1/constitutions/{id}/drafts: texts that people work on, each change guarded by the ETag it was made from."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.answers import Keyed
from api.callers import EDIT, PUBLISH, READ
from api.negotiation import preferred, require
from api.paging import cut
from api.publishing import PublishRequest, publish
from api.routes.constitutions import JSON, YAML, Accept, Author, Conditional, Id, Message, tag
from api.services import NamePaging, Page, Use
from constitution.patching import parse_patch
from constitution.source import MAX_BYTES, Problem
from constitution.store import ID_PATTERN, VERSION_PATTERN, Draft, Note, Version
from solon.errors import InvalidInput
from solon.records import Record
from solon.settings import ModelName

router = APIRouter(prefix="/v1/constitutions/{id}/drafts", tags=["constitutions"], route_class=Keyed)

MERGE_PATCH = "application/merge-patch+json"

Name = Annotated[str, Path(pattern=ID_PATTERN)]


class DraftText(Draft):
    """A draft with its text."""

    text: str


class Validation(Record):
    """What stands in the way of publishing a draft."""

    object: Literal["constitution.validation"] = "constitution.validation"
    valid: bool
    etag: str
    """Of the text that was looked at."""
    content_hash: str | None
    problems: tuple[Problem, ...]


class PublishBody(BaseModel):
    """How a draft is published."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    message: Message | None = None
    """The line in the changelog; may be left out where the text has one for its version."""
    version: Annotated[str, Field(pattern=VERSION_PATTERN, max_length=40)] | None = None
    """Replaces the version in the text."""
    judge: ModelName | None = None
    """Registered judge that tries the cases; null: the one of the server's settings."""
    floor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of the cases that must pass; the server's settings may demand more."""
    author: Author = "anonymous"


def _note(
    author: Annotated[str, Query(min_length=1, max_length=202)] = "anonymous",
    message: Annotated[str, Query(min_length=1, max_length=500)] = "Edit the draft",
) -> Note:
    return Note(author, message)


Noted = Annotated[Note, Depends(_note)]
"""Who makes a change and why, from the query."""


async def _yaml(request: Request, content_type: Annotated[str | None, Header()] = None) -> bytes:
    require(content_type, (YAML, "text/yaml", "application/x-yaml"))
    return await _body(request)


async def _patch(request: Request, content_type: Annotated[str | None, Header()] = None) -> bytes:
    require(content_type, (MERGE_PATCH, JSON))
    return await _body(request)


async def _body(request: Request) -> bytes:
    body = await request.body()
    if len(body) > MAX_BYTES:
        raise InvalidInput(f"the body has more than {MAX_BYTES} bytes", remedy="send less")
    return body


@router.get("", dependencies=[READ])
def list_drafts(name: Id, services: Use, paging: Annotated[NamePaging, Query()]) -> Page[Draft]:
    """Drafts by name."""
    return cut(services.constitutions.library.drafts(name), paging, lambda draft: draft.name)


@router.get("/{draft}", dependencies=[READ], responses={200: {"model": DraftText, "content": {YAML: {}}}})
def get_draft(name: Id, draft: Name, services: Use, accept: Accept = None) -> Response:
    """A draft; `Accept: application/yaml` gets its bytes. The ETag is what a change must name."""
    found = services.constitutions.draft(name, draft)
    kind = preferred(accept, (JSON, YAML))
    shown = DraftText(**dict(found), text=found.raw.decode("utf-8", errors="replace"))
    body = found.raw if kind == YAML else shown.model_dump_json().encode()
    response = Response(body, media_type=kind, headers={"Vary": "Accept"})
    tag(response, found.etag)
    return response


@router.put(
    "/{draft}",
    dependencies=[EDIT],
    openapi_extra={"requestBody": {"required": True, "content": {YAML: {"schema": {"type": "string"}}}}},
    responses={201: {"model": Draft}},
)
def put_draft(
    name: Id,
    draft: Name,
    services: Use,
    precondition: Conditional,
    note: Noted,
    body: Annotated[bytes, Depends(_yaml)],
    response: Response,
) -> Draft:
    """Save a draft, finished or not: If-Match with its ETag, or If-None-Match: * to create it."""
    saved = services.constitutions.save_draft(name, draft, body, precondition, note)
    response.status_code = 201 if precondition.if_match is None else 200
    tag(response, saved.etag)
    return saved


@router.patch(
    "/{draft}",
    dependencies=[EDIT],
    openapi_extra={"requestBody": {"required": True, "content": {MERGE_PATCH: {"schema": {"type": "object"}}}}},
)
def patch_draft(
    name: Id,
    draft: Name,
    services: Use,
    precondition: Conditional,
    note: Noted,
    body: Annotated[bytes, Depends(_patch)],
    response: Response,
) -> Draft:
    """Change parts of a draft by a JSON merge patch; comments and all that it does not name stay as they are."""
    saved = services.constitutions.patch_draft(name, draft, parse_patch(body), precondition, note)
    tag(response, saved.etag)
    return saved


@router.delete("/{draft}", dependencies=[EDIT], status_code=204)
def delete_draft(name: Id, draft: Name, services: Use, precondition: Conditional, note: Noted) -> None:
    """Remove a draft."""
    services.constitutions.remove_draft(name, draft, precondition, note)


@router.post("/{draft}/validate", dependencies=[READ])
def validate_draft(name: Id, draft: Name, services: Use) -> Validation:
    """All problems of a draft with line, column, field and remedy; that it is not valid is an answer, not an error."""
    checked = services.constitutions.check_draft(name, draft)
    return Validation(
        valid=not checked.problems, etag=checked.etag, content_hash=checked.content_hash, problems=checked.problems
    )


@router.post("/{draft}/publish", dependencies=[PUBLISH], status_code=201)
async def publish_draft(
    name: Id, draft: Name, body: PublishBody, services: Use, precondition: Conditional, response: Response
) -> Version:
    """Publish a draft as an immutable version, with a line in its changelog; the draft is gone."""
    request = PublishRequest(name, draft, precondition, **body.model_dump())
    version = await publish(
        request, services.constitutions, services.settings, models=services.models, gate=services.gate
    )
    tag(response, version.etag)
    response.headers["Location"] = f"/v1/constitutions/{name}?version={version.version}"
    return version
