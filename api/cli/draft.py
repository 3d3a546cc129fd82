"""`solon constitution draft ls | show | save | patch | check | rm`: what /v1/constitutions/{id}/drafts does, here."""

from typing import Annotated

import typer

from api.cli.editing_options import AsJson, Author, DraftName, Id, IfMatch, Message, New, author_of, need_condition
from api.terminal import print_table, settings, write, write_json

app = typer.Typer(name="draft", help="Drafts of constitutions: list, show, save, patch, check.", no_args_is_help=True)


@app.command("ls")
def list_drafts(
    context: typer.Context,
    constitution: Annotated[str | None, typer.Argument(metavar="[ID]", help="Only of this constitution.")] = None,
    as_json: AsJson = False,
) -> None:
    """List drafts with their ETags."""
    from rich.table import Table

    from api.libraries import open_library

    library = open_library(settings(context))
    if constitution is not None:
        library.require(constitution)
    ids = library.ids() if constitution is None else (constitution,)
    drafts = [draft for name in ids for draft in library.drafts(name)]
    if as_json:
        for draft in drafts:
            write_json(draft.model_dump(mode="json"))
        return
    table = Table("constitution", "draft", "author", "etag")
    for draft in drafts:
        table.add_row(draft.constitution, draft.name, draft.author, draft.etag)
    print_table(table)


@app.command()
def show(context: typer.Context, constitution: Id, name: DraftName, as_json: AsJson = False) -> None:
    """Print a draft's text; with --json also its ETag."""
    from api.libraries import open_editor

    draft = open_editor(settings(context)).draft(constitution, name)
    text = draft.raw.decode("utf-8", errors="replace")
    if as_json:
        write_json(draft.model_dump(mode="json") | {"text": text})
    else:
        write(text.removesuffix("\n"))


@app.command()
def save(
    context: typer.Context,
    constitution: Id,
    name: DraftName,
    source: Annotated[str, typer.Argument(metavar="FILE", help="A file, or a text that is there: civic@1.0.0.")],
    if_match: IfMatch = None,
    new: New = False,
    author: Author = None,
    message: Message = None,
    as_json: AsJson = False,
) -> None:
    """Save a text as a draft, finished or not, and print its ETag."""
    from api.libraries import open_editor, read_constitution
    from constitution.store import Note, Precondition

    need_condition(if_match, new=new)
    configured = settings(context)
    raw = read_constitution(source, configured)
    note = Note(author_of(author), message or "Edit the draft")
    precondition = Precondition(if_match, "*" if new else None)
    saved = open_editor(configured).save_draft(constitution, name, raw, precondition, note)
    write_json(saved.model_dump(mode="json")) if as_json else write(f"saved {constitution}@draft:{name} {saved.etag}")


@app.command()
def patch(
    context: typer.Context,
    constitution: Id,
    name: DraftName,
    change: Annotated[
        str, typer.Argument(metavar="PATCH", help='JSON merge patch: \'{"principles": {"kind": {"weight": 2}}}\'.')
    ],
    if_match: IfMatch = None,
    author: Author = None,
    message: Message = None,
    as_json: AsJson = False,
) -> None:
    """Change parts of a draft; comments and everything else stay as they are. Prints the lines that changed."""
    from api.libraries import open_editor
    from constitution.differences import text_difference
    from constitution.patching import parse_patch
    from constitution.store import Note, Precondition

    need_condition(if_match, new=False)
    editor = open_editor(settings(context))
    before = editor.draft(constitution, name)
    note = Note(author_of(author), message or "Patch the draft")
    saved = editor.patch_draft(constitution, name, parse_patch(change.encode()), Precondition(if_match), note)
    if as_json:
        write_json(saved.model_dump(mode="json"))
        return
    write(text_difference(before.raw, saved.raw, (before.etag[:12], saved.etag[:12])) + f"saved {saved.etag}")


@app.command()
def check(context: typer.Context, constitution: Id, name: DraftName, as_json: AsJson = False) -> None:
    """List what stands in the way of publishing a draft; exit code 1 when there is something."""
    from api.libraries import open_editor

    checked = open_editor(settings(context)).check_draft(constitution, name)
    problems = [vars(problem) for problem in checked.problems]
    if as_json:
        write_json({"etag": checked.etag, "content_hash": checked.content_hash, "problems": problems})
    else:
        for problem in checked.problems:
            write(str(problem))
        write(f"{len(problems)} problems" if problems else f"no problems, {checked.content_hash}")
    if problems:
        raise typer.Exit(1)


@app.command("rm")
def remove(
    context: typer.Context,
    constitution: Id,
    name: DraftName,
    if_match: IfMatch = None,
    author: Author = None,
    message: Message = None,
) -> None:
    """Remove a draft."""
    from api.libraries import open_editor
    from constitution.store import Note, Precondition

    need_condition(if_match, new=False)
    note = Note(author_of(author), message or "Remove the draft")
    open_editor(settings(context)).remove_draft(constitution, name, Precondition(if_match), note)
    write(f"removed {constitution}@draft:{name}")
