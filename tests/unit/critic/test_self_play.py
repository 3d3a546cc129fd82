"""Self-play: what is held out, and when demonstrations can be told apart."""

from critic.self_play import held_out, pair, told_apart
from solon.records import Completion, Message, Prompt, Provenance


def prompt(name: str) -> Prompt:
    return Prompt(id=name, messages=(Message(role="user", content=name),))


def test_a_share_of_the_prompts_is_held_out_and_always_the_same():
    names = [f"p{i}" for i in range(2000)]
    out = [held_out(prompt(name), 0.2, seed=3) for name in names]
    assert 0.16 < sum(out) / len(out) < 0.24
    assert out == [held_out(prompt(name), 0.2, seed=3) for name in names]


def test_equal_texts_cannot_be_told_apart():
    found = told_apart([0.0] * 50)
    assert found is not None
    assert found.value == 0.5
    assert found.low < 0.5
    sure = told_apart([1.0] * 50)
    assert sure is not None
    assert sure.low > 0.9
    assert told_apart([]) is None


def test_a_pair_says_that_no_judge_made_its_label():
    made = Provenance(constitution="c", constitution_version="1", constitution_hash="h", policy="p1")
    found = pair(prompt("p"), Completion(text="shown"), Completion(text="written"), made)
    assert (found.chosen_text, found.rejected_text) == ("shown", "written")
    assert found.provenance.judge == {"name": "demonstration"}
