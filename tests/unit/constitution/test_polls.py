"""Polls as people have them, and the drafts made from them."""

from pathlib import Path

import pytest

from constitution.consensus import choose, supports
from constitution.document import parse
from constitution.drafting import Drafted, collective_draft, draft, slug
from constitution.polls import Poll, read_poll
from constitution.schema import LabelEvidence, VoteCount
from solon.errors import InvalidInput, NotFound

TABLE = "participant,statement,vote,group\n"
KIND, RUDE = "Answers should be kind.", "It is fine to be rude."


def table(folder: Path, text: str) -> Path:
    path = folder / "votes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def whole_table() -> str:
    rows = [f"p{n},{KIND},agree,{'north' if n < 6 else 'south'}" for n in range(12)]
    rows += [f"p{n},{RUDE},{'agree' if n < 6 else '-1'},{'north' if n < 6 else 'south'}" for n in range(12)]
    return TABLE + "\n".join(rows) + "\n"


def test_a_table_is_read(tmp_path: Path) -> None:
    poll = read_poll(table(tmp_path, "\ufeff" + whole_table()))

    assert poll.statements == {"s1": KIND, "s2": RUDE}
    assert poll.votes["p7"] == {"s1": "agree", "s2": "disagree"}
    assert poll.groups["p0"] == "north"


def test_a_polis_export_is_read_without_rejected_and_meta_statements(tmp_path: Path) -> None:
    (tmp_path / "comments.csv").write_text(
        "timestamp,comment-id,author-id,agrees,disagrees,moderated,is-meta,comment-body\n"
        '1,0,9,1,1,1,false,"Be\nkind, always."\n2,1,9,1,1,-1,false,Spam\n3,2,9,1,1,0,true,I live here\n'
        "4,3,9,1,1,0,,Be brief\n"
    )
    (tmp_path / "participants-votes.csv").write_text(
        "participant,xid,group-id,n-comments,n-votes,n-agree,n-disagree,0,1,2,3\n"
        "20,x,0,1,3,2,0,1.0,1.0,1.0,0.0\n21,y,1,1,2,1,1,1,,,-1\n22,z,,0,1,1,0,1,,,\n"
    )
    poll = read_poll(tmp_path)

    assert poll.statements == {"0": "Be kind, always.", "3": "Be brief"}
    assert poll.votes == {
        "20": {"0": "agree", "3": "pass"},
        "21": {"0": "agree", "3": "disagree"},
        "22": {"0": "agree"},
    }
    assert poll.groups == {"20": "0", "21": "1"}


def test_the_last_vote_of_a_participant_counts(tmp_path: Path) -> None:
    poll = read_poll(table(tmp_path, TABLE + f"p,{KIND},agree,\np,{KIND},pass,\n"))

    assert poll.votes == {"p": {"s1": "pass"}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("participant,vote\np,agree\n", "there is no column 'statement'"),
        (TABLE, "no statement with votes"),
        (TABLE + f"p,{KIND},maybe,north\n", "votes.csv:2: vote: is not a vote"),
        (TABLE + f" ,{KIND},agree,north\n", "votes.csv:2: participant: is empty"),
        (
            TABLE + f"p,{KIND},agree,north\np,{RUDE},agree,south\n",
            "votes.csv:3: group: the participant is in another group",
        ),
        (TABLE + f"p,{KIND}\n", "votes.csv:2: vote: is not a vote"),
        ("", "there is no column 'participant'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInput) as error:
        read_poll(table(tmp_path, text))

    assert says in str(error.value)


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        read_poll(tmp_path / "nowhere.csv")
    with pytest.raises(NotFound, match=r"no file .*comments"):
        read_poll(tmp_path)
    (tmp_path / "latin.csv").write_bytes(TABLE.encode() + "p,Höflich,agree,\n".encode("latin-1"))
    with pytest.raises(InvalidInput, match="not UTF-8"):
        read_poll(tmp_path / "latin.csv")


def test_the_draft_names_the_votes_behind_each_principle(tmp_path: Path) -> None:
    poll = read_poll(table(tmp_path, whole_table()))
    text = collective_draft(poll, choose(supports(poll)), "town", "The town's wishes")
    (principle,) = parse(text.encode(), "draft").principles

    assert (principle.id, principle.text) == ("answers-should-be-kind", KIND)
    evidence = principle.evidence
    assert evidence is not None
    assert evidence.kind == "votes"
    assert evidence.groups == {"north": VoteCount(agree=6), "south": VoteCount(agree=6)}
    assert (evidence.source, evidence.statement) == ("votes.csv", "s1")
    assert "12 participants in 2 groups" in text


def test_no_participant_is_named_in_a_draft(tmp_path: Path) -> None:
    poll = read_poll(table(tmp_path, whole_table().replace("p1,", "jane@example.org,")))

    assert "jane" not in collective_draft(poll, choose(supports(poll)), "town", "Town")


def test_a_draft_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no principle can be drafted"):
        collective_draft(Poll("p"), [], "town", "Town")


def test_ids_are_made_of_the_first_words_and_kept_apart() -> None:
    evidence = LabelEvidence(kind="labels", source="x", pairs=1, agreement=1.0)
    texts = ["Be kind!", "Be kind?", "优先考虑安全", "2 or more words should do"]
    found = parse(draft("d", "D", "S", [Drafted(text, evidence, "inferred") for text in texts]).encode(), "d")

    assert [each.id for each in found.principles] == ["be-kind", "be-kind-2", "inferred-3", "or-more-words-should-do"]


def test_a_slug_is_short() -> None:
    assert len(slug("word " * 40)) <= 48
    assert len(slug("w" * 100)) <= 48
