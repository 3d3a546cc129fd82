"""`solon constitution publish | diff | versions | history | labels | label`: what /v1/constitutions/{id} does, here."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.editing_options import AsJson, Author, DraftName, Id, IfMatch, Message, New, author_of, need_condition
from api.terminal import print_table, run, settings, write, write_json

if TYPE_CHECKING:
    from constitution.differences import Side
    from solon.settings import Settings

app = typer.Typer()

Text = Annotated[
    str, typer.Argument(metavar="TEXT", help="A file, civic, civic@1.0.0, civic@production, civic@draft:work.")
]


@app.command()
def publish(
    context: typer.Context,
    constitution: Id,
    name: DraftName,
    if_match: IfMatch = None,
    message: Message = None,
    version: Annotated[str | None, typer.Option(metavar="X.Y.Z", help="Replaces the version in the text.")] = None,
    judge: Annotated[str | None, typer.Option(metavar="NAME", help="Registered judge that tries the cases.")] = None,
    floor: Annotated[float, typer.Option(min=0, max=1, help="Share of the cases that must pass.")] = 0.0,
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Publish a draft as an immutable version; -m is its line in the changelog."""
    from api import publishing
    from api.libraries import open_editor
    from constitution.store import Precondition

    need_condition(if_match, new=False)
    condition, configured = Precondition(if_match), settings(context)
    request = publishing.PublishRequest(
        constitution, name, condition, author_of(author), message, version, judge, floor
    )
    made = run(publishing.publish(request, open_editor(configured), configured))
    write_json(made.model_dump(mode="json")) if as_json else write(
        f"published {constitution}@{made.version} {made.content_hash}"
    )


@app.command()
def diff(context: typer.Context, before: Text, after: Text, as_json: AsJson = False) -> None:
    """Show what differs between two texts, in meaning and line by line; exit code 0 either way."""
    from constitution.differences import compared

    configured = settings(context)
    found = compared(_side(before, configured), _side(after, configured))
    if as_json:
        write_json(found.model_dump(mode="json"))
        return
    if found.difference is None:
        write("one of the texts is not a valid constitution, see `solon constitution lint`")
    else:
        for change in found.difference.changes:
            write(str(change))
        ids = ", ".join(found.difference.principles_to_judge) or "none"
        may = "may change" if found.difference.labels_may_change else "cannot change"
        write(f"labels {may}; principles to judge again: {ids}")
    if found.text:
        write("\n" + found.text.removesuffix("\n"))


def _side(reference: str, configured: "Settings") -> "Side":
    from api.libraries import load_constitution, read_constitution
    from constitution.differences import Side
    from solon.errors import InvalidInput

    raw = read_constitution(reference, configured)
    try:
        return Side(reference, raw, load_constitution(reference, configured, drafts=True))
    except InvalidInput:
        return Side(reference, raw, None)


@app.command()
def versions(context: typer.Context, constitution: Id, as_json: AsJson = False) -> None:
    """List published versions, newest first."""
    from api.libraries import open_library

    library = open_library(settings(context))
    library.find(constitution)
    rows = [version.model_dump(mode="json") for version in reversed(library.versions(constitution))]
    _show(rows, ("version", "published_at", "author", "message", "content_hash"), as_json)


@app.command()
def history(context: typer.Context, constitution: Id, as_json: AsJson = False) -> None:
    """List what happened to drafts, versions and labels, newest first."""
    from api.libraries import open_library

    library = open_library(settings(context))
    library.require(constitution)
    rows = [event.model_dump(mode="json") for event in library.history(constitution)]
    _show(rows, ("at", "action", "name", "author", "message"), as_json)


@app.command()
def labels(context: typer.Context, constitution: Id, as_json: AsJson = False) -> None:
    """List labels with the versions they name and their ETags."""
    from api.libraries import open_library

    library = open_library(settings(context))
    library.require(constitution)
    rows = [label.model_dump(mode="json") for label in library.labels(constitution)]
    _show(rows, ("label", "version", "etag"), as_json)


@app.command()
def label(
    context: typer.Context,
    constitution: Id,
    name: Annotated[str, typer.Argument(metavar="LABEL", help="Such as production.")],
    version: Annotated[str, typer.Argument(metavar="X.Y.Z")],
    if_match: IfMatch = None,
    new: New = False,
    author: Author = None,
    message: Message = None,
    as_json: AsJson = False,
) -> None:
    """Move a label to a published version."""
    from api.libraries import open_editor
    from constitution.store import Precondition

    need_condition(if_match, new=new)
    precondition = Precondition(if_match, "*" if new else None)
    moved = open_editor(settings(context)).move_label(
        constitution, name, version, precondition, author_of(author), message
    )
    write_json(moved.model_dump(mode="json")) if as_json else write(f"{constitution}@{name} is {version} {moved.etag}")


def _show(rows: Iterable[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    from rich.table import Table

    if as_json:
        for row in rows:
            write_json(row)
        return
    table = Table(*(column.removesuffix("_at") for column in columns))
    for row in rows:
        table.add_row(*(_cell(column, row[column]) for column in columns))
    print_table(table)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column in ("at", "published_at"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
    return str(value)
