"""Group-aware consensus: its laws, what is taken, and groups found from votes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constitution.consensus import Support, agreement, alike, choose, seen, supports
from constitution.opinion_groups import opinion_groups
from constitution.polls import Poll, Stance
from constitution.schema import VoteCount
from solon.errors import InvalidInput

COUNTS = st.builds(VoteCount, agree=st.integers(0, 40), disagree=st.integers(0, 40), passed=st.integers(0, 40))


def support(text: str = "Be kind.", **groups: tuple[int, int, int]) -> Support:
    counts = {name: VoteCount(agree=a, disagree=d, passed=p) for name, (a, d, p) in groups.items()}
    return Support(text, text, counts, VoteCount())


def poll(votes: dict[str, dict[str, Stance]], groups: dict[str, str]) -> Poll:
    statements = {name: f"Statement {name}." for stances in votes.values() for name in stances}
    return Poll("poll.csv", statements, votes, groups)


def test_the_figures_of_a_public_export_come_out() -> None:
    """Votes and `group-informed-consensus` of three comments of Polis' published BG2050 export, two groups."""
    assert support(A=(1, 0, 0), B=(0, 0, 0)).consensus == pytest.approx(1 / 3)
    assert support(A=(2, 0, 0), B=(0, 0, 0)).consensus == 0.375
    assert support(A=(3, 0, 0), B=(0, 0, 0)).consensus == 0.4


@given(COUNTS, COUNTS)
def test_one_more_agreement_raises_the_consensus_and_one_more_of_anything_else_lowers_it(
    one: VoteCount, other: VoteCount
) -> None:
    def with_more(field: str) -> float:
        more = one.model_copy(update={field: getattr(one, field) + 1})
        return Support("s", "s", {"A": more, "B": other}, more).consensus

    plain = Support("s", "s", {"A": one, "B": other}, one).consensus
    assert with_more("agree") > plain > with_more("disagree") == with_more("passed")


@given(COUNTS)
def test_agreement_lies_between_none_and_all(count: VoteCount) -> None:
    assert 0 < agreement(count) < 1
    assert (agreement(count) == 0.5) == (2 * count.agree == seen(count))


def test_a_large_group_does_not_make_up_for_a_small_one() -> None:
    split, shared = support("split", A=(1000, 0, 0), B=(0, 10, 0)), support("shared", A=(700, 300, 0), B=(7, 3, 0))

    assert shared.consensus > split.consensus
    assert [choice.reason for choice in choose([shared, split])] == ["", "8% agree in B"]


def test_votes_are_counted_by_group_and_those_without_one_in_the_whole_only() -> None:
    found = supports(
        poll(
            {"a": {"1": "agree"}, "b": {"1": "disagree"}, "c": {"1": "agree"}, "d": {"1": "pass"}}, {"a": "X", "b": "Y"}
        )
    )

    assert found[0].groups == {"X": VoteCount(agree=1), "Y": VoteCount(disagree=1)}
    assert found[0].everyone == VoteCount(agree=2, disagree=1, passed=1)


def test_without_groups_all_are_one() -> None:
    assert supports(poll({"a": {"1": "agree"}, "b": {"1": "pass"}}, {}))[0].groups == {
        "everyone": VoteCount(agree=1, passed=1)
    }


def test_every_statement_is_taken_or_says_why_not() -> None:
    found = [
        support("Answers should be kind and short.", A=(30, 0, 0), B=(30, 0, 0)),
        support("Answers should be kind and short", A=(29, 1, 0), B=(29, 1, 0)),
        support("Be honest.", A=(20, 2, 2), B=(20, 2, 2)),
        support("Be funny.", A=(20, 2, 2), B=(20, 2, 2)),
        support("Be loud.", A=(20, 2, 2), B=(3, 0, 1)),
    ]

    reasons = [choice.reason for choice in choose(found, limit=2)]
    assert reasons == [
        "",
        "says the same as Answers should be kind and short.",
        "",
        "more than 2 are supported",
        "fewer than 5 votes in B",
    ]


def test_alike_means_nearly_the_same_words() -> None:
    assert alike("Answers should be kind.", "answers should be kind")
    assert not alike("Answers should be kind.", "Answers should be short.")


def camps(sizes: tuple[int, ...], statements: int = 12) -> Poll:
    """Participants of each camp agree on a third of the statements of their own, and disagree on the others."""
    votes: dict[str, dict[str, Stance]] = {}
    for camp, size in enumerate(sizes):
        for member in range(size):
            stances: dict[str, Stance] = {
                str(number): "agree" if number % len(sizes) == camp else "disagree" for number in range(statements)
            }
            del stances[str(member % statements)]  # each leaves one unseen
            votes[f"{camp}-{member}"] = stances
    return poll(votes, {})


@pytest.mark.parametrize("sizes", [(12, 6), (12, 9, 6)])
def test_groups_are_found_where_people_vote_alike(sizes: tuple[int, ...]) -> None:
    found = opinion_groups(camps(sizes))

    members = {name: {who.partition("-")[0] for who in found if found[who] == name} for name in set(found.values())}
    assert members == {name: {str(camp)} for camp, name in enumerate("ABC"[: len(sizes)])}


def test_the_order_of_the_votes_does_not_matter() -> None:
    one = camps((8, 7))
    other = poll(dict(itertools.chain(reversed(one.votes.items()))), {})

    assert opinion_groups(one) == opinion_groups(other)


def test_who_voted_too_little_has_no_group() -> None:
    given_ = camps((8, 8))
    given_.votes["lazy"] = {"0": "agree"}

    assert "lazy" not in opinion_groups(given_)


@pytest.mark.parametrize(
    ("votes", "says"),
    [
        ({"a": {"1": "agree"}, "b": {"1": "agree"}}, "too few to find groups"),
        ({name: {"1": "agree"} for name in "abcde"}, "all participants vote the same"),
    ],
)
def test_groups_that_cannot_be_found_are_asked_for(votes: dict[str, dict[str, Stance]], says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as error:
        opinion_groups(poll(votes, {}))

    assert "`group`" in error.value.remedy
