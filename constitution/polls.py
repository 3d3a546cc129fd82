"""Polls: statements about what a good answer is, and how participants voted on them.

    a table        CSV with the columns participant, statement, vote, and if there are any: group
    an export      a folder with `comments.csv` and `participants-votes.csv`, as Polis writes them

A vote is agree, disagree or pass (or 1, -1, 0). In a table the statement is its text; the group is any word. Who took
part is used to count and never kept.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from solon.errors import InvalidInput, NotFound

Stance = Literal["agree", "disagree", "pass"]

_STANCES: Final[dict[str, Stance]] = {
    "agree": "agree",
    "disagree": "disagree",
    "pass": "pass",
    "1": "agree",
    "-1": "disagree",
    "0": "pass",
    "1.0": "agree",
    "-1.0": "disagree",
    "0.0": "pass",
}
_COMMENTS, _VOTES = "comments.csv", "participants-votes.csv"


@dataclass
class Poll:
    """Statements and votes."""

    source: str
    """Name of the file or folder."""
    statements: dict[str, str] = field(default_factory=dict[str, str])
    """Text by id."""
    votes: dict[str, dict[str, Stance]] = field(default_factory=dict[str, dict[str, Stance]])
    """By participant, then statement id."""
    groups: dict[str, str] = field(default_factory=dict[str, str])
    """Group by participant; participants without one count in the whole only."""


def read_poll(path: Path) -> Poll:
    """The poll in a CSV table or a Polis export.

    Raises:
        NotFound: there is no such file.
        InvalidInput: names the file, line and column of the first thing that cannot be read.
    """
    poll = _read_export(path) if path.is_dir() else _read_table(path)
    if not poll.statements or not poll.votes:
        raise InvalidInput("no statement with votes", field=str(path), remedy="see docs/values.md for the columns")
    return poll


def _read_table(path: Path) -> Poll:
    poll, ids = Poll(path.name), dict[str, str]()
    for line, row in _rows(path, ("participant", "statement", "vote")):
        text = " ".join(row["statement"].split())
        statement = ids.setdefault(text, f"s{len(ids) + 1}")
        poll.statements[statement] = text
        _count(poll, row["participant"], statement, row["vote"], f"{path}:{line}")
        _join(poll, row["participant"], row.get("group") or "", f"{path}:{line}")
    return poll


def _read_export(folder: Path) -> Poll:
    """Statements that moderators let stand and that are no questions about the participants themselves ("meta")."""
    poll = Poll(folder.resolve().name)
    for _, row in _rows(folder / _COMMENTS, ("comment-id", "comment-body")):
        rejected = row.get("moderated", "").strip() == "-1"
        meta = row.get("is-meta", "").strip().lower() == "true"
        if not rejected and not meta:
            poll.statements[row["comment-id"].strip()] = " ".join(row["comment-body"].split())
    for line, row in _rows(folder / _VOTES, ("participant", "group-id")):
        where, participant = f"{folder / _VOTES}:{line}", row["participant"].strip()
        for statement in poll.statements.keys() & row.keys():
            if row[statement].strip():
                _count(poll, participant, statement, row[statement], where)
        _join(poll, participant, row["group-id"], where)
    return poll


def _count(poll: Poll, participant: str, statement: str, vote: str, where: str) -> None:
    """Take one vote; of several of one participant on one statement the last counts."""
    stance = _STANCES.get(vote.strip().lower())
    if stance is None:
        raise InvalidInput("is not a vote", field=f"{where}: vote", remedy="write agree, disagree or pass")
    if not participant.strip():
        raise InvalidInput("is empty", field=f"{where}: participant", remedy="give each participant an id")
    poll.votes.setdefault(participant.strip(), {})[statement] = stance


def _join(poll: Poll, participant: str, group: str, where: str) -> None:
    group = " ".join(group.split())
    if group and poll.groups.setdefault(participant.strip(), group) != group:
        raise InvalidInput(
            "the participant is in another group before",
            field=f"{where}: group",
            remedy="one group for each participant",
        )


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and values by column of each row; a short row's missing values are empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", restkey="")
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            missing = [name for name in needed if name not in columns]
            if missing:
                raise InvalidInput(
                    f"there is no column {missing[0]!r}",
                    field=f"{path}:1",
                    remedy=f"name the columns {', '.join(needed)}",
                )
            for row in reader:
                yield reader.line_num, {name: value for name, value in row.items() if isinstance(value, str)}
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", remedy="give a CSV table or a folder with a Polis export") from error
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}", remedy="give a file that may be read") from error
    except UnicodeDecodeError as error:
        raise InvalidInput("not UTF-8 text", field=str(path), remedy="save the file as UTF-8 CSV") from error
    except csv.Error as error:
        raise InvalidInput(f"not CSV: {error}", field=str(path), remedy="save the file as UTF-8 CSV") from error
