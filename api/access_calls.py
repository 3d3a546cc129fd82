"""Requests about keys, projects, quotas, changes and webhooks, a function for each; see `api.calls`."""

from typing import Any

from api.routes.projects import ProjectUsage
from api.routes.webhooks import NewSecret
from api.sending import Call, Json, at, get, post
from api.services import Page
from api.store.changes import Change
from api.store.keys import Key, NewKey, Project
from api.store.webhooks import Delivery, Webhook


def create_key(name: str, scopes: list[str], **more: Any) -> Call[NewKey]:
    """POST /v1/keys; never sent twice, since the answer holds a secret."""
    return Call("POST", "/v1/keys", NewKey, body={"name": name, "scopes": scopes} | more)


def keys(**query: Any) -> Call[Page[Key]]:
    """GET /v1/keys."""
    return get("/v1/keys", Page[Key], **query)


def key(key_id: str) -> Call[Key]:
    """GET /v1/keys/{id}."""
    return get(at("/v1/keys/{key}", key=key_id), Key)


def revoke_key(key_id: str) -> Call[Key]:
    """DELETE /v1/keys/{id}."""
    return Call("DELETE", at("/v1/keys/{key}", key=key_id), Key)


def create_project(project: str, **more: Any) -> Call[Project]:
    """POST /v1/projects."""
    return post("/v1/projects", Project, {"id": project} | more)


def projects(**query: Any) -> Call[Page[Project]]:
    """GET /v1/projects."""
    return get("/v1/projects", Page[Project], **query)


def project(project: str) -> Call[Project]:
    """GET /v1/projects/{id}."""
    return get(at("/v1/projects/{project}", project=project), Project)


def set_quota(project: str, quota: Json | None) -> Call[Project]:
    """PUT /v1/projects/{id}/quota."""
    return Call("PUT", at("/v1/projects/{project}/quota", project=project), Project, body={"quota": quota})


def project_usage(project: str) -> Call[ProjectUsage]:
    """GET /v1/projects/{id}/usage."""
    return get(at("/v1/projects/{project}/usage", project=project), ProjectUsage)


def usage() -> Call[ProjectUsage]:
    """GET /v1/usage."""
    return get("/v1/usage", ProjectUsage)


def changes(**query: Any) -> Call[Page[Change]]:
    """GET /v1/changes."""
    return get("/v1/changes", Page[Change], **query)


def create_webhook(url: str, **more: Any) -> Call[NewSecret]:
    """POST /v1/webhooks; never sent twice, since the answer holds a secret."""
    return Call("POST", "/v1/webhooks", NewSecret, body={"url": url} | more)


def webhooks(**query: Any) -> Call[Page[Webhook]]:
    """GET /v1/webhooks."""
    return get("/v1/webhooks", Page[Webhook], **query)


def webhook(webhook_id: str) -> Call[Webhook]:
    """GET /v1/webhooks/{id}."""
    return get(at("/v1/webhooks/{webhook}", webhook=webhook_id), Webhook)


def change_webhook(webhook_id: str, **changed: Any) -> Call[Webhook]:
    """PATCH /v1/webhooks/{id}."""
    return Call("PATCH", at("/v1/webhooks/{webhook}", webhook=webhook_id), Webhook, body=changed)


def delete_webhook(webhook_id: str) -> Call[None]:
    """DELETE /v1/webhooks/{id}."""
    return Call("DELETE", at("/v1/webhooks/{webhook}", webhook=webhook_id), None)


def rotate_webhook(webhook_id: str, **request: Any) -> Call[NewSecret]:
    """POST /v1/webhooks/{id}/rotate; never sent twice, since the answer holds a secret."""
    return Call("POST", at("/v1/webhooks/{webhook}/rotate", webhook=webhook_id), NewSecret, body=request)


def try_webhook(webhook_id: str) -> Call[Delivery]:
    """POST /v1/webhooks/{id}/test."""
    return Call("POST", at("/v1/webhooks/{webhook}/test", webhook=webhook_id), Delivery)


def deliveries(webhook_id: str, **query: Any) -> Call[Page[Delivery]]:
    """GET /v1/webhooks/{id}/deliveries."""
    return get(at("/v1/webhooks/{webhook}/deliveries", webhook=webhook_id), Page[Delivery], **query)
