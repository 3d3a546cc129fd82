"""Options that the commands which change constitutions share."""

import getpass
from typing import Annotated

import typer

from solon.errors import PreconditionRequired

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the constitution.")]
DraftName = Annotated[str, typer.Argument(metavar="DRAFT", help="Name of the draft.")]
IfMatch = Annotated[
    str | None, typer.Option(metavar="ETAG", help="The ETag of what you changed, as shown; * for whatever is there.")
]
New = Annotated[bool, typer.Option("--new", help="Create it; there must be none yet.")]
Author = Annotated[str | None, typer.Option(metavar="NAME", help="Who makes the change; default: the login name.")]
Message = Annotated[str | None, typer.Option("--message", "-m", metavar="LINE", help="What changes, in one line.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


def author_of(given: str | None) -> str:
    """The author given, or the name of the user."""
    if given is not None:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"


def need_condition(if_match: str | None, *, new: bool) -> None:
    """Raises where neither option says what the change was made from."""
    if if_match is None and not new:
        raise PreconditionRequired(
            "a change must say which text it was made from", field="--if-match", remedy="give its ETag, or --new"
        )
