"""The constitution's examples as turns before a request."""

from constitution.document import Constitution
from critic.critique import Plan, critique
from critic.examples import comparison_shots, critique_shots
from critic.judge import Judge
from critic.judges.logprobs import Logprobs
from solon.chat import ChatReply
from solon.fakes import Call, ScriptedChat, label_reply, text_reply
from solon.records import Message
from tests.unit.critic.material import KIND, comparison, constitution, row

EXAMPLES = """
few_shot:
  - {id: one, kind: comparison, principle: kindness, prompt: Hi, better: Good day., worse: Go away.}
  - {id: two, kind: comparison, principle: kindness, prompt: Ho, better: Welcome., worse: Get out.}
  - {id: three, kind: critique, principle: kindness, prompt: Hi,
     response: No., critique: It is rude., revision: Hello.}
"""


def exemplary() -> Constitution:
    return constitution(KIND, more=EXAMPLES)


def roles(messages: tuple[Message, ...]) -> list[str]:
    return [message.role for message in messages]


def test_solved_comparisons_show_the_better_one_first_and_second_in_turn():
    shots = comparison_shots(exemplary(), ("1", "2"))
    assert roles(shots) == ["user", "assistant", "user", "assistant"]
    assert [shots[1].content, shots[3].content] == ["1", "2"]
    assert "[1]\nGood day.\n[/1]" in shots[0].content
    assert "[2]\nWelcome.\n[/2]" in shots[2].content
    assert "Principle: Be kind." in shots[0].content


async def test_a_judge_sees_them_before_every_pair_and_says_so():
    seen: list[tuple[Message, ...]] = []

    def script(call: Call) -> ChatReply:
        seen.append(call.messages)
        return label_reply({"A": 0.7, "B": 0.3})

    judge = Judge(ScriptedChat("j", script), method=Logprobs(shots=comparison_shots(exemplary())))
    await judge.compare(comparison(), KIND)
    assert [roles(messages) for messages in seen] == [["system", "user", "assistant", "user", "assistant", "user"]] * 2
    assert seen[0][:5] == seen[1][:5]
    assert "examples" in judge.sampling
    assert "examples" not in Judge(ScriptedChat("j", script)).sampling


async def test_critiques_and_revisions_have_examples_of_their_own():
    seen: list[tuple[Message, ...]] = []

    def script(call: Call) -> ChatReply:
        seen.append(call.messages)
        return text_reply("It is rude." if "critique only" in call.text else "Hello there.")

    model = ScriptedChat("critic", script)
    _ = [item async for item in critique([row("No.")], constitution=exemplary(), critic=model, plan=Plan(rounds=1))]
    critiqued, revised = seen
    assert roles(critiqued) == roles(revised) == ["system", "user", "assistant", "user"]
    assert (critiqued[2].content, revised[2].content) == ("It is rude.", "Hello.")
    assert "Critique: It is rude." in revised[1].content


def test_without_examples_there_are_no_turns():
    assert comparison_shots(constitution(KIND)) == ()
    assert critique_shots(constitution(KIND)).critiques == ()
