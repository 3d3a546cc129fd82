"""`solon constitution collect`: from people's votes on statements to a draft constitution that names them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from constitution.consensus import Choice
    from constitution.polls import Poll


def collect(
    votes: Annotated[
        Path,
        typer.Argument(metavar="VOTES", help="CSV (participant, statement, vote, group), or a Polis export folder."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DRAFT.yaml", help="Where the draft goes.")],
    name: Annotated[str, typer.Option("--id", help="Id of the draft.")] = "collective",
    title: Annotated[str, typer.Option(help="Title of the draft.")] = "What all groups support",
    min_support: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share that must agree in every group; one vote each way is added.")
    ] = 0.6,
    min_votes: Annotated[int, typer.Option(min=1, help="Votes that every group must have cast on a statement.")] = 5,
    limit: Annotated[int | None, typer.Option(min=1, help="Take at most so many statements.")] = None,
    find_groups: Annotated[
        bool, typer.Option("--find-groups", help="Group the participants by how they vote, whatever the table says.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Draft a constitution from the statements that every group of participants supports."""
    from api.terminal import write, write_file, write_json
    from constitution.consensus import choose, supports
    from constitution.drafting import collective_draft
    from constitution.opinion_groups import opinion_groups
    from constitution.polls import read_poll
    from solon.formats import check_apart

    check_apart(out, votes)
    poll = read_poll(votes)
    if find_groups or not poll.groups:
        poll.groups = opinion_groups(poll)
    choices = choose(supports(poll), min_support=min_support, min_votes=min_votes, limit=limit)
    taken = [choice for choice in choices if not choice.reason]
    write_file(out, collective_draft(poll, choices, name, title))
    if as_json:
        write_json({"out": str(out), "taken": len(taken), "statements": [_plain(choice) for choice in choices]})
        return
    _print(poll, choices)
    write(f"{len(taken)} of {len(choices)} statements drafted: {out}")


def _plain(choice: "Choice") -> dict[str, Any]:
    support = choice.support
    return {
        "statement": support.id,
        "text": support.text,
        "consensus": support.consensus,
        "groups": {name: count.model_dump() for name, count in support.groups.items()},
        "everyone": support.everyone.model_dump(),
        "taken": not choice.reason,
        "reason": choice.reason,
    }


def _print(poll: "Poll", choices: "list[Choice]") -> None:
    from rich.table import Table
    from rich.text import Text

    from api.terminal import print_table

    names = list(choices[0].support.groups)
    table = Table("consensus", *(f"{name} agree/disagree/pass" for name in names), "statement", "not taken because")
    for choice in choices:
        counts = (choice.support.groups[name] for name in names)
        cells = (f"{count.agree}/{count.disagree}/{count.passed}" for count in counts)
        table.add_row(f"{choice.support.consensus:.3f}", *cells, Text(choice.support.text), choice.reason)
    print_table(table)
