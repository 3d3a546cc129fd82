"""`solon constitution import | render`: constitutions of other programs in, pages for people out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

_FORMATS: dict[str, Literal["html", "markdown"]] = {
    **{".html": "html", ".htm": "html"},
    **{".md": "markdown", ".markdown": "markdown"},
}
"""Of a page, by the ending of its file."""
Form = Literal["critique-revision", "llm-swarm", "rule-based-rewards", "markdown"]


def import_foreign(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="JSON, YAML or Markdown of another program.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DRAFT.yaml", help="Default: print it.")] = None,
    form: Annotated[Form | None, typer.Option("--format", help="Default: found out.")] = None,
    name: Annotated[str | None, typer.Option("--id", help="Id of the draft. Default: after the file.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the draft. Default: after the file.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the source, such as CC0-1.0.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over a file that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a draft constitution of critique-revision JSON, llm-swarm JSON, rule-based rewards or Markdown."""
    from api.terminal import write, write_file, write_json
    from constitution.importing import Heading, read_foreign
    from constitution.writing import dump
    from solon.errors import Conflict, NotFound

    try:
        raw = source.read_bytes()
    except OSError as error:
        raise NotFound(f"cannot read {source}: {error.strerror}", remedy="check the path") from error
    imported = read_foreign(raw, source.name, Heading(name, title, licence), form)
    draft = imported.constitution
    if out is not None and out.exists() and not replace:
        raise Conflict(f"{out} is there already", field="--out", remedy="give another path, or --replace")
    if out is not None:
        write_file(out, dump(draft))
    if as_json:
        counts = {
            part: len(getattr(draft, part)) for part in ("principles", "propositions", "classes", "rules", "cases")
        }
        shown = {"id": draft.id, "format": imported.format, **counts, "notes": imported.notes}
        write_json(shown | ({"out": str(out)} if out else {"draft": dump(draft)}))
        return
    if out is None:
        write(dump(draft).rstrip())
    for note in imported.notes:
        typer.echo(note, err=True)


def render(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="ID_OR_FILE", help="A published id (civic, civic@1.0.0) or a file.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Default: print it.")] = None,
    form: Annotated[
        Literal["html", "markdown"] | None,
        typer.Option("--format", help="Default: as --out ends, .html or .md; Markdown without it."),
    ] = None,
) -> None:
    """Write a constitution as a page that people read, in HTML or Markdown."""
    from api.libraries import load_constitution
    from api.terminal import settings, write, write_file
    from constitution.rendering import to_html, to_markdown
    from solon.errors import InvalidInput

    if form is None and out is not None and out.suffix.lower() not in _FORMATS:
        raise InvalidInput(f"cannot tell what {out.name} is to be", field="--out", remedy="end it in .html or .md")
    form = form or (_FORMATS[out.suffix.lower()] if out is not None else "markdown")
    page = (to_html if form == "html" else to_markdown)(load_constitution(ref, settings(context), drafts=True))
    if out is None:
        write(page.rstrip())
    else:
        write_file(out, page)
