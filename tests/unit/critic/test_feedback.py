"""People's verdicts as labels, and pairs that are joined."""

import pytest

from constitution.document import load_published
from critic.contamination import Decontaminator
from critic.feedback import joined, p_of, reviewed
from solon.errors import InvalidInput
from solon.records import Completion, Discard, Message, PreferencePair, Prompt, Status
from solon.rows import HumanVote, Row

CIVIC = load_published("civic")


def row(text: str, votes: tuple[HumanVote, ...], a: str = "yes of course", b: str = "no never") -> Row:
    prompt = Prompt(id=text, messages=(Message(role="user", content=text),))
    return Row(prompt=prompt, completions=(Completion(text=a), Completion(text=b)), human_votes=votes)


def test_one_vote_leans_and_many_decide():
    assert p_of(()) == 0.5
    assert p_of(("a",)) == pytest.approx(2 / 3)
    assert p_of(("a", "b")) == p_of(("tie",)) == 0.5
    assert p_of(("a",) * 30) > 0.95
    assert p_of(("b",) * 3) == pytest.approx(1 - p_of(("a",) * 3))


def test_a_review_is_a_pair_that_says_people_made_its_label():
    pair = reviewed(row("q", ("b", "b", "tie")), CIVIC)
    assert (pair.status, pair.chosen, pair.provenance.judge) == (Status.OK, "b", {"name": "people"})
    assert pair.p_chosen == pytest.approx(1 - 1.5 / 5)
    assert reviewed(row("q", ("a", "b")), CIVIC).status is Status.TIE


def test_a_row_that_is_no_review_is_refused():
    with pytest.raises(InvalidInput, match="no review"):
        reviewed(row("q", ()), CIVIC)


def test_people_overrule_what_a_judge_said_before_and_every_pair_is_there_once():
    said = reviewed(row("how do I bake bread", ("a",) * 9), CIVIC)
    overruled = reviewed(row("how do I bake bread", ("b",) * 9), CIVIC)
    other = reviewed(row("how do I grow tomatoes", ("a",)), CIVIC)
    known = Decontaminator()
    items = list(joined([overruled], [said, other], [other], known))
    kept = [item for item in items if isinstance(item, PreferencePair)]
    assert kept == [overruled, other]
    assert [item.reason for item in items if isinstance(item, Discard)] == ["contradicting_duplicate", "duplicate"]


def test_what_is_new_is_kept_apart_from_evaluation_prompts():
    known = Decontaminator()
    known.add(Prompt(id="e", messages=(Message(role="user", content="How do I bake bread?"),)), "evaluation: e")
    pair = reviewed(row("how do i bake BREAD", ("a",)), CIVIC)
    (found,) = joined([pair], [], [], known)
    assert isinstance(found, Discard)
    assert found.reason == "evaluation_prompt"
