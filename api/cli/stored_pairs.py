"""`solon pairs ls | show | review`: stored preferences, of a server or of this machine's database."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.terminal import print_table, settings, write, write_json

if TYPE_CHECKING:
    from api.routes.stored_preferences import PreferenceDetail
    from api.store.preferences import StoredPreference

Server = Annotated[
    str | None, typer.Option(metavar="URL", help="Service to ask, with SOLON_API_KEY; default: this one's database.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Of a preference, such as pref_0a...")]


def list_pairs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    constitution: Annotated[str | None, typer.Option(metavar="ID[@VERSION]")] = None,
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATUS", help="Such as ok or tie; may be repeated.")
    ] = None,
    min_margin: Annotated[float | None, typer.Option(min=0.0, max=1.0)] = None,
    judge: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    source: Annotated[str | None, typer.Option(metavar="JOB", help="The job that labelled it, or `request`.")] = None,
    disputed: Annotated[bool, typer.Option("--disputed", help="Where people differ, or say otherwise.")] = False,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List stored preferences, the newest first."""
    from itertools import islice

    from api import calls
    from api.inprocess import connected

    wanted = {"constitution": constitution, "status": status, "min_margin": min_margin, "judge": judge}
    wanted |= {"source": source, "disputed": disputed or None, "limit": min(limit, 100)}
    with connected(settings(context), server) as service:
        found = list(islice(service.each(calls.preferences(**wanted)), limit))
    if as_json:
        for each in found:
            write(each.model_dump_json())
        return
    _table(found)


def show_pair(context: typer.Context, preference: Id, server: Server = None, as_json: AsJson = False) -> None:
    """Print one preference: label, votes by principle and order, people's verdicts, what made it."""
    from api import calls
    from api.inprocess import connected

    with connected(settings(context), server) as service:
        found = service.send(calls.preference(preference))
    if as_json:
        write(found.model_dump_json())
    else:
        _show(found)


def review_pair(
    context: typer.Context,
    preference: Id,
    verdict: Annotated[Literal["a", "b", "tie"], typer.Argument(help="Which completion is better.")],
    reviewer: Annotated[str | None, typer.Option(metavar="NAME", help="Who says so.")] = None,
    comment: Annotated[str, typer.Option(metavar="TEXT")] = "",
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Say which completion is better; of each person the latest verdict counts."""
    from api import calls
    from api.inprocess import connected

    with connected(settings(context), server) as service:
        given = service.send(calls.review(preference, verdict, reviewer=reviewer, comment=comment))
        people = service.send(calls.preference(preference)).people
    if as_json:
        write_json(given.model_dump(mode="json"))
    else:
        write(f"{given.id}: {people.a} for a, {people.b} for b, {people.tie} for a tie")


def _table(found: "list[StoredPreference]") -> None:
    from rich.table import Table

    table = Table("preference", "status", "chosen", "margin", "people", "constitution", "prompt")
    for each in found:
        people = f"{each.people.a}/{each.people.b}/{each.people.tie}" if each.people.reviews else ""
        margin = "" if each.margin is None else f"{each.margin:.2f}"
        text = f"{each.provenance.constitution}@{each.provenance.constitution_version}"
        table.add_row(each.id, each.status, each.chosen or "", margin, people, text, each.prompt.text[:40])
    print_table(table)


def _show(found: "PreferenceDetail") -> None:
    from rich.table import Table

    write(f"{found.id}  version {found.version}  {found.status}  from {found.source}")
    write(f"prompt: {found.prompt.text}")
    for side, text in (("a", found.a.text), ("b", found.b.text)):
        write(f"{side}{' (chosen)' if found.chosen == side else ''}: {text}")
    table = Table("principle", "status", "p(a)", "ab", "ba")
    for verdict in found.verdicts:
        votes = {vote.order: vote.p_first for vote in verdict.votes}
        numbers = (verdict.p_a, votes.get("ab"), votes.get("ba"))
        table.add_row(verdict.principle, verdict.status, *("" if each is None else f"{each:.3f}" for each in numbers))
    print_table(table)
    made = found.provenance
    write(
        f"{made.constitution}@{made.constitution_version}, judge {made.judge.get('name')}, {len(found.prompts)} prompts"
    )
    write(f"people: {found.people.a} for a, {found.people.b} for b, {found.people.tie} for a tie")
