"""Completions of a policy: seeded one by one, screened with reasons."""

import pytest

from critic.candidates import Sampling, generate, screen
from solon.chat import PromptTooLong, RequestFailed, RequestTimedOut
from solon.errors import ModelUnavailable, SolonError
from solon.fakes import Call, ScriptedChat, echo_policy, failing_judge, text_reply
from solon.records import Completion
from tests.unit.critic.material import prompt


async def test_each_candidate_has_a_seed_of_its_own_that_depends_on_nothing_else():
    four, _ = await generate(echo_policy(), prompt("p1"), 4, seed=0, sampling=Sampling())
    two, _ = await generate(echo_policy(), prompt("p1"), 2, seed=0, sampling=Sampling())
    other, _ = await generate(echo_policy(), prompt("p2"), 4, seed=0, sampling=Sampling())
    again, _ = await generate(echo_policy(), prompt("p1"), 4, seed=1, sampling=Sampling())
    seeds = {completion.seed for completion in (*four, *other, *again)}
    assert len(seeds) == 12
    assert two == four[:2]
    assert {completion.model for completion in four} == {"echo"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PromptTooLong("x"), "prompt_too_long"),
        (RequestTimedOut("x"), "generation_timed_out"),
        (RequestFailed("x"), "generation_failed"),
    ],
)
async def test_a_candidate_that_could_not_be_had_is_a_discard_with_its_reason(error: SolonError, reason: str):
    policy = failing_judge(echo_policy(), lambda call: error if call.number == 1 else None)
    completions, lost = await generate(policy, prompt(), 3, seed=0, sampling=Sampling())
    assert len(completions) == 2
    assert [discard.reason for discard in lost] == [reason]


async def test_a_policy_that_cannot_be_reached_raises():
    policy = failing_judge(echo_policy(), lambda _: ModelUnavailable("gone"))
    with pytest.raises(ModelUnavailable):
        await generate(policy, prompt(), 3, seed=0, sampling=Sampling())


async def test_a_cut_completion_says_so():
    def script(call: Call):  # noqa: ANN202
        return text_reply("and then", finish_reason="length")

    completions, _ = await generate(ScriptedChat("cut", script), prompt(), 1, seed=0, sampling=Sampling())
    assert completions[0].finish_reason == "length"


def test_empty_cut_and_repeated_completions_are_discarded_with_reasons():
    texts = ["one", "  ", "one \n", "two"]
    completions = [*(Completion(text=text) for text in texts), Completion(text="thr", finish_reason="length")]
    kept, dropped = screen("p1", completions)
    assert [completion.text for completion in kept] == ["one", "two"]
    assert [(d.reason, d.detail) for d in dropped] == [
        ("empty_completion", "completion 2"),
        ("identical_completions", "completion 3"),
        ("cut_completion", "completion 5"),
    ]


def test_cut_completions_can_be_kept():
    kept, dropped = screen("p1", [Completion(text="thr", finish_reason="length")], keep_cut=True)
    assert len(kept) == 1
    assert not dropped
