"""`solon key create | ls | revoke` and `solon project create | ls | quota`: on the server's machine, by its database.

Whoever may open the database may do this: that is how the first key is made. Elsewhere use /v1/keys and /v1/projects.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.terminal import print_table, settings, write, write_json
from solon.errors import InvalidInput

if TYPE_CHECKING:
    from api.store.changes import ChangeStore
    from api.store.keys import KeyStore, Project

app = typer.Typer(no_args_is_help=True)
project_app = typer.Typer(no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ProjectOption = Annotated[str | None, typer.Option("--project", metavar="ID", help="Default: the setting `project`.")]
ProjectName = Annotated[str, typer.Argument(metavar="ID", help="Small letters, digits and hyphens.")]

_DAY_S = 86_400.0


@app.command("create")
def create_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom the key is for.")],
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="May be repeated; default: read, label, edit, publish, train."),
    ] = None,
    project: ProjectOption = None,
    days: Annotated[float | None, typer.Option(min=0.01, help="Days until it expires; default: never.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it; it can be read this once only. From the first key on every request needs one."""
    from api.callers import USER_SCOPES, KeyScope
    from api.store.keys import KeyRequest

    wanted = scopes or sorted(USER_SCOPES)
    if unknown := sorted(set(wanted) - set(KeyScope)):
        raise InvalidInput(f"no scope is called {unknown[0]!r}", field="--scope", remedy=f"use {', '.join(KeyScope)}")
    until = None if days is None else time.time() + days * _DAY_S
    with _stores(context) as (keys, changes):
        request = KeyRequest(name, wanted, project or settings(context).project, until)
        made = keys.create(request)
        _log(changes, made.project, "solon key create", made.id)
    if as_json:
        write_json(made.model_dump(mode="json"))
    else:
        write(f"{made.id}  {made.name}  project {made.project}  {' '.join(made.scopes)}")
        write(made.key)


@app.command("ls")
def list_keys(
    context: typer.Context,
    project: Annotated[str | None, typer.Option("--project", metavar="ID", help="Default: all projects.")] = None,
    as_json: AsJson = False,
) -> None:
    """List keys, revoked ones too."""
    from rich.table import Table

    with _stores(context) as (keys, _):
        found = keys.keys(project=project)
    if as_json:
        write_json([key.model_dump(mode="json") for key in found])
        return
    table = Table("key", "ends in", "name", "project", "scopes", "last used", "state")
    now = time.time()
    for key in found:
        expired = key.expires_at is not None and key.expires_at <= now
        state = "revoked" if key.revoked_at is not None else "expired" if expired else "valid"
        table.add_row(
            key.id, key.hint, key.name, key.project, " ".join(key.scopes), _day(key.last_used_at) or "never", state
        )
    print_table(table)


@app.command("revoke")
def revoke_key(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Id of a key, such as key_01k...")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key at once; one that was revoked before stays as it is."""
    with _stores(context) as (keys, changes):
        key = keys.revoke(key_id, project=None)
        _log(changes, key.project, "solon key revoke", key.id)
    write_json(key.model_dump(mode="json")) if as_json else write(f"{key.id}  {key.name}  revoked")


@project_app.command("create")
def create_project(context: typer.Context, project: ProjectName, as_json: AsJson = False) -> None:
    """Make a project: what its keys make, only its keys see."""
    from api.routes.projects import ProjectIn
    from solon.documents import validated

    validated(ProjectIn, {"id": project}, "the project")
    with _stores(context) as (keys, changes):
        made = keys.create_project(project)
        _log(changes, project, "solon project create", project)
    write_json(made.model_dump(mode="json")) if as_json else write(made.id)


@project_app.command("ls")
def list_projects(context: typer.Context, as_json: AsJson = False) -> None:
    """List the projects with their quotas."""
    from rich.table import Table

    with _stores(context) as (keys, _):
        found = keys.projects()
    if as_json:
        write_json([project.model_dump(mode="json") for project in found])
        return
    table = Table("project", "quota", "created")
    for project in found:
        table.add_row(project.id, _limits(project), _day(project.created_at))
    print_table(table)


@project_app.command("quota")
def set_quota(
    context: typer.Context,
    project: ProjectName,
    limits: Annotated[
        list[str] | None, typer.Option("--set", metavar="LIMIT=N", help="Such as calls_per_day=10000; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replace a project's quota; without --set it has that of the settings."""
    from solon.documents import override, validated
    from solon.settings import Quota

    quota = validated(Quota, override({}, limits), "quota") if limits else None
    with _stores(context) as (keys, changes):
        found = keys.set_quota(project, quota)
        _log(changes, project, "solon project quota", project)
    write_json(found.model_dump(mode="json")) if as_json else write(f"{project}  {_limits(found)}")


@contextmanager
def _stores(context: typer.Context) -> "Generator[tuple[KeyStore, ChangeStore]]":
    from api.store.changes import ChangeStore
    from api.store.database import open_database
    from api.store.keys import KeyStore

    database = open_database(settings(context).database)
    try:
        yield KeyStore(database), ChangeStore(database)
    finally:
        database.dispose()


def _log(changes: "ChangeStore", project: str, action: str, target: str) -> Any:
    return changes.append(project=project, key=None, name="command line", action=action, target=target)


def _limits(project: "Project") -> str:
    limits = {} if project.quota is None else project.quota.model_dump(exclude_none=True)
    return ", ".join(f"{name} {value:g}" for name, value in limits.items()) or "that of the settings"


def _day(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
