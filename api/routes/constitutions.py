"""/v1/constitutions: what is published, its versions, labels, history and differences; drafts are in `drafts`."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.callers import PUBLISH, READ
from api.negotiation import preferred
from api.paging import cut, matches
from api.services import NamePaging, Page, Paging, Use
from constitution.differences import Comparison, Side, compared
from constitution.digest import content_hash, principle_hash
from constitution.document import Constitution
from constitution.library import Found, Library, Reference
from constitution.rendering import to_html, to_markdown
from constitution.store import ID_PATTERN, VERSION_PATTERN, Happening, Label, Precondition, Version
from solon.errors import InvalidInput, NotFound
from solon.records import Record

router = APIRouter(prefix="/v1/constitutions", tags=["constitutions"])

YAML, JSON = "application/yaml", "application/json"
_PAGES: dict[str, Callable[[Constitution], str]] = {"text/html": to_html, "text/markdown": to_markdown}

Id = Annotated[str, Path(alias="id", pattern=ID_PATTERN)]
Author = Annotated[str, Field(min_length=1, max_length=202, pattern=r"^[^\x00]*$")]
"""Who makes the change, as in `Ada Example <ada@example.org>`."""
Message = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
"""One line that says what changes."""
Accept = Annotated[str | None, Header()]


class Card(Record):
    """A constitution in a list."""

    object: Literal["constitution"] = "constitution"
    id: str
    title: str | None = None
    version: str | None = None
    """The highest published one; None where there are only drafts."""
    status: str | None = None
    content_hash: str | None = None
    labels: dict[str, str]
    """Version by label."""
    drafts: tuple[str, ...]
    problem: str | None = None
    """Why the published text cannot be read."""


class Published(Record):
    """A published text."""

    object: Literal["constitution"] = "constitution"
    id: str
    version: str
    content_hash: str
    principle_hashes: dict[str, str]
    etag: str
    """Of the YAML text."""
    document: Constitution


class LabelRequest(BaseModel):
    """Where a label goes."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    version: Annotated[str, Field(pattern=VERSION_PATTERN, max_length=40)]
    author: Author = "anonymous"
    message: Message | None = None


def _precondition(
    if_match: Annotated[str | None, Header(max_length=1000)] = None,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Precondition:
    return Precondition(if_match, if_none_match)


Conditional = Annotated[Precondition, Depends(_precondition)]
"""The precondition of a change, from If-Match and If-None-Match; 428 without either."""


def tag(response: Response, etag: str) -> None:
    """Give the response its ETag."""
    response.headers["ETag"] = f'"{etag}"'


@router.get("", dependencies=[READ])
def list_constitutions(services: Use, paging: Annotated[NamePaging, Query()]) -> Page[Card]:
    """Every constitution: shipped, published here, or a draft so far."""
    library = services.constitutions.library
    cards = [_card(library, name) for name in library.ids()]
    return cut(cards, paging, lambda card: card.id)


def _card(library: Library, name: str) -> Card:
    labels = {label.label: label.version for label in library.labels(name)}
    card = Card(id=name, labels=labels, drafts=tuple(draft.name for draft in library.drafts(name)))
    if not library.versions(name):
        return card
    version = library.find(name).reference.name
    try:
        found = library.load(name)
    except (InvalidInput, NotFound) as error:  # put there by hand, or derived from what is gone
        return card.model_copy(update={"version": version, "problem": error.message})
    about = {"title": found.title, "status": found.status, "content_hash": content_hash(found)}
    return card.model_copy(update={"version": version} | about)


@router.get(
    "/{id}",
    dependencies=[READ],
    responses={200: {"model": Published, "content": {kind: {} for kind in (YAML, *_PAGES)}}},
)
def get_constitution(
    name: Id,
    services: Use,
    version: Annotated[str | None, Query(pattern=VERSION_PATTERN)] = None,
    label: Annotated[str | None, Query(pattern=ID_PATTERN)] = None,
    content: Annotated[str | None, Query(alias="hash", pattern=r"^sha256:[0-9a-f]{64}$")] = None,
    accept: Accept = None,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """A published text: the highest version, or the one that `version`, `label` or content `hash` names.

    `Accept: application/yaml` gets the bytes that were published, text/html and text/markdown a page for people.
    """
    if sum(given is not None for given in (version, label, content)) > 1:
        raise InvalidInput("only one of version, label and hash can be asked for", field="version")
    library = services.constitutions.library
    if content is not None:
        found = library.with_hash(name, content)
    elif label is not None:
        found = library.find(Reference(name, "label", label))
    else:
        found = library.find(Reference(name, "version", version) if version is not None else Reference(name))
    kind = preferred(accept, (JSON, YAML, *_PAGES))
    etag = f'"{found.etag}"' if kind == YAML else f'"{found.etag}.{kind.partition("/")[2]}"'
    headers = {
        "ETag": etag,
        "Vary": "Accept",
        "Content-Location": f"{router.prefix}/{name}?version={found.reference.name}",
    }
    if matches(etag, if_none_match):
        return Response(status_code=304, headers=headers)
    if kind == "text/html":
        headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return Response(_represented(found, kind, library), media_type=kind, headers=headers)


def _represented(found: Found, kind: str, library: Library) -> bytes:
    if kind == YAML:
        return found.raw
    document = library.load(found.reference)
    if kind in _PAGES:
        return _PAGES[kind](document).encode()
    published = Published(
        id=document.id,
        version=found.reference.name,
        content_hash=content_hash(document),
        principle_hashes={principle.id: principle_hash(principle) for principle in document.principles},
        etag=found.etag,
        document=document,
    )
    return published.model_dump_json().encode()


@router.get("/{id}/versions", dependencies=[READ])
def list_versions(name: Id, services: Use, paging: Annotated[Paging, Query()]) -> Page[Version]:
    """Published versions, newest first unless `order` says otherwise, each with author and line of the changelog."""
    versions = services.constitutions.library.versions(name)
    _require(bool(versions))
    return cut(versions, paging, lambda version: version.version)


@router.get("/{id}/history", dependencies=[READ])
def list_history(name: Id, services: Use, paging: Annotated[Paging, Query()]) -> Page[Happening]:
    """What happened to drafts, versions and labels here, newest first unless `order` says otherwise."""
    services.constitutions.library.require(name)
    return cut(services.constitutions.library.history(name)[::-1], paging, lambda happening: str(happening.id))


@router.get("/{id}/diff", dependencies=[READ])
def get_diff(
    name: Id,
    services: Use,
    before: Annotated[str, Query(alias="from", max_length=80)],
    after: Annotated[str, Query(alias="to", max_length=80)],
) -> Comparison:
    """What differs between two texts, each a version, a label, or `draft:` and a name; in meaning and line by line."""
    library = services.constitutions.library
    return compared(side(library, f"{name}@{before}"), side(library, f"{name}@{after}"))


def side(library: Library, reference: str) -> Side:
    """A text to compare; one that is not a valid constitution can be compared line by line."""
    found = library.find(reference, drafts=True)
    try:
        constitution = library.load(found.reference, drafts=True)
    except InvalidInput:
        constitution = None
    return Side(str(found.reference), found.raw, constitution)


@router.get("/{id}/labels", dependencies=[READ])
def list_labels(name: Id, services: Use, paging: Annotated[NamePaging, Query()]) -> Page[Label]:
    """Labels by name, each with the ETag that moves it."""
    services.constitutions.library.require(name)
    return cut(services.constitutions.library.labels(name), paging, lambda label: label.label)


@router.put("/{id}/labels/{label}", dependencies=[PUBLISH])
def put_label(
    name: Id,
    label: Annotated[str, Path(pattern=ID_PATTERN)],
    request: LabelRequest,
    services: Use,
    precondition: Conditional,
    response: Response,
) -> Label:
    """Move a label to a published version; If-Match with its ETag, or If-None-Match: * to make it."""
    moved = services.constitutions.move_label(
        name, label, request.version, precondition, request.author, request.message
    )
    tag(response, moved.etag)
    return moved


def _require(there: bool) -> None:
    if not there:
        raise NotFound("there is no such constitution", remedy="GET /v1/constitutions lists them")
