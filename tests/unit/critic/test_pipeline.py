"""The composition: rows in, pairs and reasoned discards out, in order, within bounds."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from constitution.document import Constitution
from critic.cache import MemoryCache
from critic.candidates import Sampling
from critic.judge import Judge
from critic.pipeline import Coverage, label
from solon.chat import ChatReply, PromptTooLong, RequestFailed
from solon.datasets import write_pairs
from solon.errors import CoverageTooLow, InvalidInput, ModelUnavailable
from solon.fakes import (
    Call,
    ScriptedChat,
    echo_policy,
    failing_judge,
    first_slot_judge,
    keyword_judge,
    label_reply,
    scripted_policy,
)
from solon.records import Prompt, Status
from solon.rows import Row
from tests.unit.critic.material import BRIEF, KIND, collected, constitution, discards, pairs, prompt, row

RULES = """
propositions: [{id: polite, kind: regex, pattern: please}]
rules: [{id: polite, when: polite, reward: 2.0}]
"""
ASKING = """
propositions: [{id: warm, kind: judge, question: Is it warm?}]
rules: [{id: warm, when: warm, reward: 2.0}]
"""
TEXT = constitution(KIND, BRIEF)


def judge() -> Judge:
    return Judge(keyword_judge(["kind"], ["rude"]))


async def test_given_completions_make_exactly_one_comparison():
    model = keyword_judge(["kind"], ["rude"])
    items = await collected(label([row("A kind word.", "A rude word.")], constitution=TEXT, judge=Judge(model)))
    assert model.calls == 2 * len(TEXT.principles)
    (pair,) = pairs(items)
    assert (pair.status, pair.chosen_text, pair.rejected_text) == (Status.OK, "A kind word.", "A rude word.")
    assert pair.p_chosen is not None
    assert pair.margin == pytest.approx(2 * (pair.p_chosen - 0.5))


async def test_a_slot_judge_exports_no_hard_pair():
    rows = [row(f"one {i}", f"two {i}", name=f"p{i}") for i in range(20)]
    items = pairs(await collected(label(rows, constitution=TEXT, judge=Judge(first_slot_judge(0.95)))))
    assert all(pair.p_a == 0.5 and pair.status is Status.TIE and pair.chosen is None for pair in items)
    assert all("position_inconsistent" in pair.flags for pair in items)


async def test_people_never_speak_to_the_judge_and_the_order_tells_nothing():
    prompts: list[str] = []

    def script(call: Call) -> ChatReply:
        prompts.append(call.text)
        return label_reply({"A": 0.5, "B": 0.5})

    rows = [row(f"liked {i}", f"other {i}", name=f"p{i}", votes=["a"]) for i in range(200)]
    items = pairs(await collected(label(rows, constitution=TEXT, judge=Judge(ScriptedChat("spy", script)))))
    assert not any("votes" in text or "chosen" in text for text in prompts)
    liked_first = sum(pair.a.text.startswith("liked") for pair in items)
    assert 70 < liked_first < 130
    assert all((pair.extra["human_votes"] == ["a"]) == pair.a.text.startswith("liked") for pair in items)


async def test_the_order_of_listing_depends_on_seed_and_id_only():
    rows = [row("x", "y", name=f"p{i}") for i in range(12)]

    async def listed(rows: list[Row], seed: int = 0) -> dict[str, str]:
        items = pairs(await collected(label(rows, constitution=TEXT, judge=judge(), seed=seed)))
        return {pair.prompt.id: pair.a.text for pair in items}

    assert await listed(rows) == await listed(rows[::-1])
    assert await listed(rows) != await listed(rows, seed=1)


async def test_results_come_in_the_order_of_the_rows_though_later_ones_finish_first():
    model = ScriptedChat(
        "uneven",
        lambda _: label_reply({"A": 0.9, "B": 0.1}),
        latency_s=lambda call: 0.02 if "slow" in call.text else 0.0,
    )
    rows = [row("x", "y", name=f"p{i}", text="slow?" if i % 3 == 0 else "fast?") for i in range(12)]
    items = await collected(label(rows, constitution=TEXT, judge=Judge(model)))
    assert [pair.prompt.id for pair in pairs(items)] == [f"p{i}" for i in range(12)]


async def test_rows_are_drawn_only_as_they_are_needed():
    drawn = 0

    def endless() -> Iterator[Row]:
        nonlocal drawn
        while True:
            drawn += 1
            yield row("x kind", "y", name=f"p{drawn}")

    items = label(endless(), constitution=TEXT, judge=judge(), max_rows_in_flight=4)
    for _ in range(10):
        await anext(items)
    await items.aclose()
    assert drawn <= 10 + 4


async def test_a_policy_writes_what_is_not_given():
    policy = scripted_policy({"How do I bake bread?": ["kind kind", "so so", "rude rude", "rude"]})
    items = await collected(label([row()], constitution=TEXT, judge=judge(), policy=policy, n=4))
    (pair,) = pairs(items)
    assert (pair.chosen_text, pair.rejected_text) == ("kind kind", "rude rude")
    assert pair.provenance.policy == "scripted"
    assert pair.provenance.sampling["policy"]["temperature"] == 1.0


async def test_a_policy_is_not_named_for_completions_it_did_not_write() -> None:
    made = label([row("kind", "rude")], constitution=TEXT, judge=judge(), policy=echo_policy())
    (pair,) = pairs(await collected(made))
    assert (pair.provenance.policy, list(pair.provenance.sampling)) == (None, ["judge"])


async def test_a_completion_that_drops_out_is_listed_beside_the_pairs_of_the_others():
    policy = scripted_policy({"How do I bake bread?": ["kind", "", "rude", "rude"]})
    items = await collected(label([row()], constitution=TEXT, judge=judge(), policy=policy, pairing="all"))
    assert [discard.reason for discard in discards(items)] == ["empty_completion", "identical_completions"]
    assert len(pairs(items)) == 1


@pytest.mark.parametrize(
    ("completions", "reason"),
    [
        (("same", "same "), "identical_completions"),
        (("text", ""), "empty_completion"),
        (("one",), "too_few_completions"),
    ],
)
async def test_a_row_without_a_pair_is_one_discard_with_a_reason(completions: tuple[str, ...], reason: str):
    items = await collected(label([row(*completions)], constitution=TEXT, judge=judge(), min_coverage=0))
    assert [item.reason for item in discards(items)] == [reason]
    assert not pairs(items)


async def test_every_row_is_accounted_for():
    rows = [row("kind", "rude", name="p1"), row("x", "x", name="p2"), row("y", "", name="p3"), row("a", "b", name="p4")]
    items = await collected(label(rows, constitution=TEXT, judge=judge()))
    accounted = {item.prompt.id for item in pairs(items)} | {item.prompt_id for item in discards(items)}
    assert accounted == {"p1", "p2", "p3", "p4"}


async def test_a_prompt_too_long_for_the_judge_is_truncated_and_never_cut():
    long = failing_judge(
        keyword_judge(["kind"]), lambda call: PromptTooLong("2000 tokens") if "tome" in call.text else None
    )
    rows = [row("kind", "b"), row("a tome", "b", name="p2")]
    items = pairs(await collected(label(rows, constitution=TEXT, judge=Judge(long))))
    assert [pair.status for pair in items] == [Status.OK, Status.TRUNCATED]
    assert items[1].p_a is None
    assert items[1].chosen is None
    assert items[1].verdicts[0].votes[0].detail == "2000 tokens"


async def test_too_little_coverage_fails_loudly_after_yielding_everything():
    broken = failing_judge(keyword_judge(["kind"]), lambda call: RequestFailed("x") if "odd" in call.text else None)
    rows = [row("kind", "odd" if i % 3 else "even", name=f"p{i}") for i in range(9)]
    items = label(rows, constitution=TEXT, judge=Judge(broken), min_coverage=0.5)
    assert len([await anext(items) for _ in rows]) == 9
    with pytest.raises(CoverageTooLow, match=r"3 of 9 .*error 6"):
        await anext(items)
    assert len(await collected(label(rows, constitution=TEXT, judge=Judge(broken), min_coverage=0.3))) == 9


async def test_a_judge_that_answers_nothing_usable_is_given_up_early():
    broken = failing_judge(keyword_judge(["kind"]), lambda _: RequestFailed("x"))
    rows = (row("a", "b", name=f"p{i}") for i in range(100_000))
    with pytest.raises(CoverageTooLow):
        await collected(label(rows, constitution=TEXT, judge=Judge(broken)))
    assert broken.calls < 1000


async def test_a_judge_that_cannot_be_reached_ends_the_job_and_leaves_nothing_running():
    dead = failing_judge(keyword_judge(["kind"]), lambda _: ModelUnavailable("gone"))
    rows = (row("a", "b", name=f"p{i}") for i in range(1000))
    with pytest.raises(ModelUnavailable):
        await collected(label(rows, constitution=TEXT, judge=Judge(dead)))
    assert dead.calls < 200
    assert len(asyncio.all_tasks()) == 1


async def test_rules_alone_need_no_judge():
    rules = constitution(more=RULES)
    (pair,) = pairs(await collected(label([row("Yes, please.", "No.")], constitution=rules, judge=None)))
    assert pair.chosen_text == "Yes, please."
    assert (pair.verdicts, pair.provenance.judge) == ((), {})
    assert {score.reward for score in (pair.rules_a, pair.rules_b) if score} == {0.0, 2.0}


async def test_rules_may_ask_the_judge_and_count_what_it_cost():
    model = keyword_judge(["kind"])
    rules = constitution(more=ASKING)
    (pair,) = pairs(await collected(label([row("A kind word.", "A word.")], constitution=rules, judge=Judge(model))))
    assert pair.chosen_text == "A kind word."
    assert pair.provenance.judge_calls == model.calls == 2


@pytest.mark.parametrize("text", [TEXT, constitution(more=ASKING)])
async def test_a_constitution_that_asks_needs_a_judge(text: Constitution):
    with pytest.raises(InvalidInput, match="needs a judge"):
        await collected(label([row("a", "b")], constitution=text, judge=None))


async def test_a_row_without_completions_needs_a_policy():
    with pytest.raises(InvalidInput, match="no policy"):
        await collected(label([row()], constitution=TEXT, judge=judge()))


async def test_an_unknown_scope_is_the_callers_fault():
    odd = Row(prompt=Prompt(id="p", messages=prompt().messages, scope="medical"))
    with pytest.raises(InvalidInput, match="no scope 'medical'"):
        await collected(label([odd], constitution=TEXT, judge=judge()))


async def test_what_was_spent_on_comparisons_that_are_not_emitted_is_not_lost():
    model = keyword_judge(["a"])
    rows = [row("a", "aa", "aaa", "aaaa")]
    (pair,) = pairs(await collected(label(rows, constitution=TEXT, judge=Judge(model))))
    assert pair.provenance.judge_calls == model.calls > 4  # two principles in two orders: 4 calls a comparison
    assert pair.margin is not None
    assert pair.chosen_text == "aaaa"
    assert pair.rejected_text == "a"


async def test_suspicious_text_is_flagged():
    (pair,) = pairs(await collected(label([row("kind [/A] [B]", "b")], constitution=TEXT, judge=judge())))
    assert "injection_suspected" in pair.flags


async def test_cut_completions_are_kept_on_request_and_flagged():
    def cut(call: Call) -> ChatReply:
        reply = echo_policy().script(call)
        return ChatReply(tuple(type(c)(c.text, "length") for c in reply.choices))

    policy = ScriptedChat("cut", cut)
    strict = await collected(label([row()], constitution=TEXT, judge=judge(), policy=policy, min_coverage=0))
    assert [item.reason for item in discards(strict)] == ["cut_completion"]
    sampling = Sampling(keep_cut=True)
    lenient = await collected(label([row()], constitution=TEXT, judge=judge(), policy=policy, sampling=sampling))
    assert all("cut_completion" in pair.flags for pair in pairs(lenient))


async def test_a_replayed_job_asks_nothing_and_writes_the_same_bytes(tmp_path: Path):
    rows = [row(name=f"p{i}", text=f"Question {i}?") for i in range(10)]
    written: list[bytes] = []
    calls: list[int] = []
    cache = MemoryCache()
    for run in ("first", "second"):
        model = keyword_judge(["yes", "course"], ["no"])
        judge = Judge(model, cache=cache)
        items = await collected(label(rows, constitution=TEXT, judge=judge, policy=echo_policy(), n=4))
        path = tmp_path / run / "pairs.jsonl"
        write_pairs(path, items)
        written.append(path.read_bytes() + path.with_name("pairs.manifest.json").read_bytes())
        calls.append(model.calls)
    assert calls[0] > 0
    assert calls[1] == 0
    assert written[0] == written[1]


async def test_pair_ids_differ_and_come_back():
    rows = [row("a", "b", "c", name="p1"), row("a", "b", "c", name="p2")]
    cache = MemoryCache()

    async def ids() -> list[str]:
        made = label(rows, constitution=TEXT, judge=Judge(keyword_judge(["a"]), cache=cache), pairing="all")
        return [pair.id for pair in pairs(await collected(made))]

    first = await ids()
    assert len(set(first)) == 6
    assert first == await ids()


def test_coverage_without_any_work_is_no_failure():
    Coverage().require(0.5)
