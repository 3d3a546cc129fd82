"""/v1/webhooks: where the events of a project are delivered, signed as Standard Webhooks says."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from api.callers import ADMIN
from api.paging import cut
from api.routes.preferences import Strict
from api.services import Page, Paging, Services, Use
from api.store.webhooks import Delivery, Webhook, WebhookEvent
from api.webhook_signing import Signer
from solon.egress import Rules

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

Id = Annotated[str, Path(alias="id", pattern=r"^wh_[0-9a-z]{26}$")]
Url = Annotated[str, Field(min_length=1, max_length=2000)]
Events = Annotated[list[Annotated[WebhookEvent, Field(strict=False)]], Field(max_length=len(WebhookEvent))]
Description = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class WebhookIn(Strict):
    """A webhook to make."""

    url: Url
    """https:// and a public host."""
    events: Events = Field(default_factory=list[WebhookEvent])
    """Those that are wanted; none: all."""
    description: Description = ""


class WebhookPatch(Strict):
    """What is to be different."""

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: bool | None = None
    """False stops deliveries; true takes them up again, after failures too."""


class RotateIn(Strict):
    """How a secret is replaced."""

    keep_s: Annotated[float, Field(ge=0, le=7 * 86_400)] = 86_400.0
    """Seconds for which the former secret signs too; 0: none, because it is known to others."""


class NewSecret(Webhook):
    """A webhook at a moment when its secret can be read."""

    secret: str
    """Starts with `whsec_`; verifies the signatures. It is shown this once."""


@router.post("", status_code=201, dependencies=[ADMIN])
async def create_webhook(body: WebhookIn, services: Use, response: Response) -> NewSecret:
    """Make a webhook. The answer is the one place where its secret can be read."""
    signer = await asyncio.to_thread(Signer.of, services.settings)
    url = await _rules(services).check(body.url)
    most = services.settings.webhooks.per_project
    made = await asyncio.to_thread(
        lambda: services.webhooks.create(services.project, url, body.events, body.description, most=most)
    )
    response.headers["Location"] = f"/v1/webhooks/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return NewSecret(**dict(made), secret=signer.secret(made.id, 1))


@router.get("", dependencies=[ADMIN])
async def list_webhooks(services: Use, paging: Annotated[Paging, Query()]) -> Page[Webhook]:
    """The project's webhooks, newest first unless `order` says otherwise."""
    found = await asyncio.to_thread(lambda: services.webhooks.webhooks(project=services.project))
    return cut(found, paging, lambda webhook: webhook.id)


@router.get("/{id}", dependencies=[ADMIN])
async def get_webhook(webhook: Id, services: Use) -> Webhook:
    """One webhook; how long it has been failing, or why it is disabled."""
    return await asyncio.to_thread(lambda: services.webhooks.get(webhook, project=services.project))


@router.patch("/{id}", dependencies=[ADMIN])
async def patch_webhook(webhook: Id, body: WebhookPatch, services: Use) -> Webhook:
    """Change a webhook, stop it, or take it up again."""
    changes = body.model_dump(exclude_none=True)
    await asyncio.to_thread(lambda: services.webhooks.get(webhook, project=services.project))
    if body.url is not None:
        changes["url"] = await _rules(services).check(body.url)
    return await asyncio.to_thread(lambda: services.webhooks.change(webhook, changes, project=services.project))


@router.delete("/{id}", status_code=204, dependencies=[ADMIN])
async def delete_webhook(webhook: Id, services: Use) -> None:
    """Remove a webhook and its deliveries."""
    await asyncio.to_thread(lambda: services.webhooks.remove(webhook, project=services.project))


@router.post("/{id}/rotate", dependencies=[ADMIN])
async def rotate_webhook_secret(webhook: Id, body: RotateIn, services: Use, response: Response) -> NewSecret:
    """Replace the secret. For `keep_s` seconds deliveries carry a signature of each, so that receivers can follow."""
    signer = await asyncio.to_thread(Signer.of, services.settings)
    rotated, number = await asyncio.to_thread(
        lambda: services.webhooks.rotate(webhook, body.keep_s, project=services.project)
    )
    response.headers["Cache-Control"] = "no-store"
    return NewSecret(**dict(rotated), secret=signer.secret(rotated.id, number))


@router.post("/{id}/test", status_code=202, dependencies=[ADMIN])
async def test_webhook(webhook: Id, services: Use) -> Delivery:
    """Send a `webhook.test` event to this webhook; the list of deliveries says what became of it."""
    made = await asyncio.to_thread(lambda: services.webhooks.test(webhook, project=services.project))
    services.courier.wake()
    return made


@router.get("/{id}/deliveries", dependencies=[ADMIN])
async def list_deliveries(webhook: Id, services: Use, paging: Annotated[Paging, Query()]) -> Page[Delivery]:
    """Deliveries to a webhook, newest first unless `order` says otherwise."""
    found, more = await asyncio.to_thread(
        lambda: services.webhooks.deliveries(
            webhook, project=services.project, after=paging.after, limit=paging.limit, order=paging.order
        )
    )
    first, last = (found[0].id, found[-1].id) if found else (None, None)
    return Page(data=found, first_id=first, last_id=last, has_more=more)


def _rules(services: Services) -> Rules:
    return Rules(allow_private=services.settings.egress.allow_private)
