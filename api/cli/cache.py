"""`solon cache stats|export|import`: the judgement cache that all jobs share."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from api.store.judgements import JudgementStore

app = typer.Typer(no_args_is_help=True)

CacheFile = Annotated[Path | None, typer.Option("--cache", metavar="FILE", help="Instead of the shared one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def root() -> None:
    """What judges answered, so that no question is put twice."""


@app.command()
def stats(context: typer.Context, cache: CacheFile = None, as_json: AsJson = False) -> None:
    """How many judgements there are, and what a replay saves."""
    from api.terminal import write, write_json

    with _opened(context, cache) as store:
        found = store.stats()
    if as_json:
        write_json(asdict(found))
        return
    write(f"{found.judgements} judgements, {found.file_bytes / 1e6:.1f} MB: {found.path}")
    write(f"{found.prompt_tokens} prompt tokens and {found.completion_tokens} completion tokens need not be paid again")


@app.command()
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl")],
    cache: CacheFile = None,
    as_json: AsJson = False,
) -> None:
    """Write all judgements as JSON lines, sorted by key: the same judgements give the same bytes."""
    from api.judgement_files import export_judgements
    from api.terminal import write, write_json

    with _opened(context, cache) as store:
        count = export_judgements(store, out)
    write_json({"judgements": count, "out": str(out)}) if as_json else write(f"{count} judgements: {out}")


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Written by `solon cache export`.")],
    cache: CacheFile = None,
    as_json: AsJson = False,
) -> None:
    """Add judgements from elsewhere; what is here already stays. Import only what you would believe."""
    from api.judgement_files import import_judgements
    from api.terminal import write, write_json

    with _opened(context, cache, new=True) as store:
        found = import_judgements(store, file)
    if as_json:
        write_json(asdict(found))
    else:
        write(f"{found.added} added, {found.known} known, {found.differing} known with another answer, which stays")


def _opened(context: typer.Context, cache: Path | None, *, new: bool = False) -> "JudgementStore":
    """The cache that was asked for; raises where there is none yet, unless it may be `new`."""
    from api.store.judgements import JudgementStore
    from api.terminal import settings
    from solon.errors import InvalidInput, NotFound

    path = cache or settings(context).judgements()
    if path is None:
        raise InvalidInput("the cache is turned off", field="cache", remedy="name a file (--cache)")
    if not new and not path.exists():
        raise NotFound(f"there is no judgement cache {path}", remedy="label something first, or name a file (--cache)")
    return JudgementStore(path)
