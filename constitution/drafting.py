"""Drafts: constitution files made from evidence, with principles that name it."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from constitution.consensus import Choice, Support
from constitution.document import parse
from constitution.polls import Poll
from constitution.schema import LabelEvidence, VoteEvidence
from solon.documents import write_yaml
from solon.errors import InvalidInput

_LONGEST_ID: Final = 48


@dataclass(frozen=True)
class Drafted:
    """A principle and where it comes from."""

    text: str
    evidence: VoteEvidence | LabelEvidence
    tag: str
    weight: float = 1.0
    compare: str | None = None


def draft(name: str, title: str, summary: str, principles: Iterable[Drafted], *, method: str = "weighted_mean") -> str:
    """The YAML of a draft constitution, checked by loading it.

    Args:
        name: its id.
        method: how its principles are combined.

    Raises:
        InvalidInput: there is no principle, or `name` is no id.
    """
    entries: list[dict[str, Any]] = []
    ids: set[str] = set()
    for each in principles:
        ids.add(id_ := unique(slug(each.text) or f"{each.tag}-{len(ids) + 1}", ids))
        compare = {"compare": each.compare} if each.compare else {}
        evidence = each.evidence.model_dump(mode="json")
        entries.append(
            {"id": id_, "tags": [each.tag], "weight": each.weight, "text": each.text, **compare, "evidence": evidence}
        )
    if not entries:
        raise InvalidInput("no principle can be drafted", remedy="see the reason beside each candidate")
    head = {"format": "constitution/v1", "id": name, "title": title, "version": "0.1.0", "status": "draft"}
    body = {"summary": summary, "principles": entries, "combine": {"method": method}}
    written = write_yaml({**head, **body})
    parse(written.encode(), "the draft")
    return written


def collective_draft(poll: Poll, choices: Sequence[Choice], name: str, title: str) -> str:
    """The draft whose principles are the statements taken, each with the votes behind it."""
    taken = [choice.support for choice in choices if not choice.reason]
    votes = sum(len(stances) for stances in poll.votes.values())
    groups = sorted(set(poll.groups.values()))
    summary = (
        f"Drafted from {len(taken)} of {len(poll.statements)} statements on which {len(poll.votes)} participants"
        f"{f' in {len(groups)} groups' if groups else ''} cast {votes} votes ({poll.source})."
        " Every group supports each of them. To be edited by people before it is published."
    )
    return draft(name, title, summary, (Drafted(each.text, _votes(poll, each), "collective") for each in taken))


def _votes(poll: Poll, support: Support) -> VoteEvidence:
    return VoteEvidence(
        kind="votes",
        source=poll.source,
        statement=support.id,
        consensus=round(support.consensus, 4),
        groups=dict(support.groups),
    )


def slug(text: str) -> str:
    """The first words of a text as an id; empty where it has no Latin letters."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    while words and not words[0][0].isalpha():
        words.pop(0)
    short = ""
    for word in words:
        if len(short) + len(word) + 1 > _LONGEST_ID:
            break
        short = f"{short}-{word}" if short else word
    return short or (words[0][:_LONGEST_ID] if words else "")


def unique(wanted: str, taken: Collection[str]) -> str:
    """The id, with a number behind it where it is taken."""
    number, found = 1, wanted
    while found in taken:
        number += 1
        found = f"{wanted}-{number}"
    return found
