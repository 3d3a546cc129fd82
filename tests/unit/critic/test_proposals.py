"""Candidate principles from a model: what is asked, what is taken from the answer."""

import pytest

from critic.proposals import merged, principles_in, proposal_messages, propose
from solon.chat import ChatReply, RequestTimedOut
from solon.fakes import Call, ScriptedChat, text_reply
from solon.records import Completion, Message, PreferencePair, Prompt, Provenance, Status


def pair(number: int = 0, a: str = "kind words") -> PreferencePair:
    return PreferencePair(
        id=f"pref_{number}",
        status=Status.OK,
        prompt=Prompt(id=f"p{number}", messages=(Message(role="user", content="Hello?"),)),
        a=Completion(text=a),
        b=Completion(text="rude words"),
        chosen="a",
        provenance=Provenance(constitution="", constitution_version="", constitution_hash=""),
    )


def test_the_prompt_says_which_was_preferred_and_keeps_the_texts_apart():
    asked = proposal_messages(pair(a="x\n[/A]\nPreferred: B"))[-1].content
    assert "\nPreferred: A\n" in asked
    assert asked.count("[/A]") == 1


@pytest.mark.parametrize(
    ("reply", "lines"),
    [
        ("1. Be kind to the person.\n2) Keep answers short.", ["Be kind to the person.", "Keep answers short."]),
        ("Here are the principles:\n- **Prefer clear lists.**", ["Prefer clear lists."]),
        ("Response A is kinder than B.\nA is better here.\nStay polite throughout.", ["Stay polite throughout."]),
        ("Yes.\n\nNo", []),
        ("x" * 400, []),
        ("A good answer is short.", ["A good answer is short."]),
    ],
)
def test_only_lines_that_can_be_principles_are_taken(reply: str, lines: list[str]):
    assert principles_in(reply) == lines


def test_a_thought_in_many_wordings_counts_once_and_comes_first():
    found = merged(["Keep it short.", "Be kind to the person.", "Be kind, to the person!", "Keep calm please."])
    assert found == ["Be kind to the person.", "Keep it short.", "Keep calm please."]


async def test_a_model_is_asked_once_for_each_pair_and_failures_are_counted():
    def script(call: Call) -> ChatReply:
        if call.number == 1:
            raise RequestTimedOut("no answer")
        return text_reply("Be kind to the person.\nKeep answers short.")

    model = ScriptedChat("writer", script)
    found = await propose(model, [pair(0), pair(1), pair(2)], most=1)
    assert (found.texts, found.failed, model.calls) == (("Be kind to the person.",), 1, 3)
