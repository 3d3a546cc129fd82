"""Judges that are not one token: JSON, written arguments, marks, rewards; and labels other than A and B."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic.cache import MemoryCache
from critic.judge import Judge, pair_messages
from critic.judges.logprobs import Logprobs
from critic.judges.marks import Reward, Score, beats
from critic.judges.method import Method
from critic.judges.written import Argued, JsonVerdict
from critic.readings import read_scale
from solon.chat import ChatReply, PromptTooLong, RequestFailed, RequestTimedOut
from solon.errors import InvalidInput, SolonError
from solon.fakes import Call, ScriptedChat, failing_judge, label_reply, text_reply
from solon.records import Completion, Message, Status, Verdict
from solon.scoring import ScoreReply
from tests.unit.critic.material import BRIEF, KIND, comparison, prompt


def goodness(text: str | None) -> float:
    return (text or "").count("kind") - (text or "").count("rude")


def universal(*, slot: float | None = None) -> ScriptedChat:
    """Answers whatever any method asks: by goodness, or, with `slot`, P(first) = slot whatever is listed."""

    def p_first(call: Call) -> float:
        shown = call.messages[1].content
        first = Call((Message(role="user", content=shown),), 0, None, 1)
        if slot is not None:
            return slot
        return 1 / (1 + math.exp(-2 * (goodness(first.between("A")) - goodness(first.between("B")))))

    def script(call: Call) -> ChatReply:
        if call.json_schema is not None:
            words: Sequence[str] = call.json_schema["properties"]["verdict"]["enum"]
            if words[0] == "Yes":
                said = "Yes" if goodness(call.between("RESPONSE")) > 0 else "No"
            else:
                p = p_first(call)
                said = words[0] if p > 0.5 else words[1] if p < 0.5 else "tie"
            return text_reply(json.dumps({"reason": f"because {said}", "verdict": said}))
        if "Write a short argument" in call.text:
            return text_reply("The first one says [A] this.", prompt_tokens=30)
        if "Answer with a number" in call.text:
            mark = 4 if goodness(call.between("RESPONSE")) > 0 else 2
            return label_reply({str(number): 0.8 if number == mark else 0.05 for number in range(1, 6)})
        if "Question:" in call.text and call.between("RESPONSE") is not None:
            p = 0.9 if goodness(call.between("RESPONSE")) > 0 else 0.1
            return label_reply({"Yes": p, "No": 1 - p})
        p = p_first(call)
        return label_reply({"A": p, "B": 1 - p})

    return ScriptedChat("universal", script)


class Rewarder(ScriptedChat):
    """Also a reward model: 2 nats for each point of goodness."""

    async def score(self, messages: Sequence[Message]) -> ScoreReply:
        self.calls += 1
        return ScoreReply(2.0 * goodness(messages[-1].content), 7)


METHODS: list[Method] = [Logprobs(), JsonVerdict(), Argued(), Argued(samples=3), Score(5), Reward()]
PAIRWISE: list[Method] = [Logprobs(), JsonVerdict(), Argued(), Argued(samples=3)]


def named(method: Method) -> str:
    return f"{method.name}-{getattr(method, 'samples', 1)}"


def judge(method: Method, **options: Any) -> Judge:
    model = universal()
    return Judge(
        Rewarder("rewarder", model.script) if method.name == "reward_model" else model, method=method, **options
    )


@pytest.mark.parametrize("method", METHODS, ids=named)
async def test_the_better_completion_wins_and_exchanging_the_two_mirrors_the_verdict(method: Method):
    there = await judge(method).compare(comparison("kind kind", "rude"), KIND)
    back = await judge(method).compare(comparison("rude", "kind kind"), KIND)
    assert there.status is back.status is Status.OK
    assert there.p_a is not None
    assert back.p_a is not None
    assert there.p_a > 0.5
    assert there.p_a == pytest.approx(1 - back.p_a, abs=1e-12)
    assert there.consistent


@pytest.mark.parametrize("swap", ["probability", "logit"])
@pytest.mark.parametrize("slot", [0.5, 0.6, 0.999999])
@pytest.mark.parametrize("method", PAIRWISE, ids=named)
async def test_a_judge_that_looks_only_at_the_slot_gives_exactly_one_half(method: Method, slot: float, swap: Any):
    verdict = await Judge(universal(slot=slot), method=method, swap=swap).compare(comparison(), KIND)
    assert (verdict.p_a, verdict.status) == (0.5, Status.TIE)


@pytest.mark.parametrize("method", METHODS, ids=named)
async def test_equal_completions_are_exactly_even(method: Method):
    verdict = await judge(method).compare(comparison("kind", "kind"), KIND)
    assert (verdict.p_a, verdict.status) == (0.5, Status.TIE)


@pytest.mark.parametrize("method", PAIRWISE, ids=named)
@pytest.mark.parametrize("error", [PromptTooLong("long"), RequestTimedOut("slow"), RequestFailed("broken")])
async def test_one_failed_order_makes_an_incomplete_swap(method: Method, error: SolonError):
    def fails(call: Call) -> SolonError | None:
        return error if call.messages[1].content.index("kind") < call.messages[1].content.index("rude") else None

    verdict = await Judge(failing_judge(universal(), fails), method=method).compare(comparison(), KIND)
    assert (verdict.status, verdict.p_a) == (Status.INCOMPLETE_SWAP, None)


@pytest.mark.parametrize("method", [Score(5)], ids=named)
async def test_a_completion_that_cannot_be_marked_fails_both_orders_alike(method: Method):
    def fails(call: Call) -> SolonError | None:
        return RequestTimedOut("slow") if "rude" in call.text else None

    verdict = await Judge(failing_judge(universal(), fails), method=method).compare(comparison(), KIND)
    assert (verdict.status, verdict.p_a) == (Status.TIMEOUT, None)


@pytest.mark.parametrize("method", METHODS, ids=named)
async def test_a_replay_from_the_cache_asks_nothing_and_gives_the_same(method: Method):
    cache = MemoryCache()
    first = judge(method, cache=cache)
    before = await first.compare_all(comparison(), [KIND, BRIEF])
    second = judge(method, cache=cache)
    after = await second.compare_all(comparison(), [KIND, BRIEF])
    assert second.usage.judge_calls == 0
    assert first.usage.judge_calls > 0
    assert stripped(after) == stripped(before)


def stripped(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    return [verdict.model_dump(exclude={"votes": {"__all__": {"cache_hit"}}}) for verdict in verdicts]


@pytest.mark.parametrize("method", [JsonVerdict(), Argued()], ids=named)
async def test_a_verdict_after_a_written_argument_is_clamped_and_its_words_are_kept(method: Method):
    verdict = await judge(method).compare(comparison("kind " * 20, "rude"), KIND)
    assert verdict.p_a == pytest.approx(0.60)
    assert all(vote.reason for vote in verdict.votes)


async def test_the_clamp_may_be_lifted():
    verdict = await judge(JsonVerdict(clamp=(0.0, 1.0))).compare(comparison("kind", "rude"), KIND)
    assert verdict.p_a == 1.0


async def test_clamping_comes_before_averaging_over_arguments():
    turns = iter([0.99, 0.99, 0.01] * 2)  # two arguments of three for the first: 0.6, 0.6, 0.4

    def script(call: Call) -> ChatReply:
        if "Write a short argument" in call.text:
            return text_reply("So.")
        p = next(turns)
        return label_reply({"A": p, "B": 1 - p})

    verdict = await Judge(ScriptedChat("cot", script), method=Argued(samples=3)).compare(comparison(), KIND)
    assert sorted(vote.p_first or 0 for vote in verdict.votes) == pytest.approx([1.6 / 3, 1.6 / 3])


async def test_several_arguments_are_sampled_with_seeds_of_their_own_and_one_is_greedy():
    seeds: list[int | None] = []

    def script(call: Call) -> ChatReply:
        if "Write a short argument" in call.text:
            seeds.append(call.seed)
        return universal().script(call)

    await Judge(ScriptedChat("cot", script), method=Argued(samples=3)).compare(comparison(), KIND)
    assert len(set(seeds)) == 3
    assert None not in seeds
    seeds.clear()
    await Judge(ScriptedChat("cot", script), method=Argued()).compare(comparison(), KIND)
    assert set(seeds) == {None}


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (text_reply("I think A."), Status.OFF_FORMAT),
        (text_reply('{"reason": "x", "verdict": "C"}'), Status.OFF_FORMAT),
        (text_reply('{"reason": "x", "verdict": "A", "verdict2": "B"}'), Status.OFF_FORMAT),
        (text_reply('{"reason": "x', finish_reason="length"), Status.OFF_FORMAT),
        (text_reply("", finish_reason="content_filter"), Status.REFUSED),
    ],
)
async def test_what_is_not_the_json_that_was_asked_for_is_never_a_number(reply: ChatReply, status: Status):
    verdict = await Judge(ScriptedChat("json", lambda _: reply), method=JsonVerdict()).compare(comparison(), KIND)
    assert (verdict.status, verdict.p_a) == (status, None)


async def test_a_verdict_quoted_from_a_completion_is_not_the_verdict():
    quoting = '{"reason": "it says \\"verdict\\": \\"A\\"", "verdict": "B"}'
    verdict = await Judge(
        ScriptedChat("json", lambda _: text_reply(quoting)), method=JsonVerdict(clamp=(0, 1))
    ).compare(comparison('{"verdict": "A"}', "x"), KIND)
    assert {vote.p_first for vote in verdict.votes} == {0.0}


async def test_a_verdict_in_json_has_no_label_mass():
    verdict = await judge(JsonVerdict()).compare(comparison(), KIND)
    assert {vote.label_mass for vote in verdict.votes} == {None}


@pytest.mark.parametrize("method", [JsonVerdict(), Argued(), Score(5)], ids=named)
async def test_questions_about_one_completion_are_answered(method: Method):
    yes = await judge(method).ask(prompt(), Completion(text="kind"), "Is it kind?")
    no = await judge(method).ask(prompt(), Completion(text="rude"), "Is it kind?")
    assert yes.p_yes is not None
    assert no.p_yes is not None
    assert yes.p_yes > 0.5 > no.p_yes


async def test_a_reward_model_answers_no_questions():
    with pytest.raises(InvalidInput, match="answers no questions"):
        await judge(Reward()).ask(prompt(), Completion(text="kind"), "Is it kind?")


async def test_each_completion_is_marked_once_for_both_orders():
    marking = judge(Score(5))
    await marking.compare(comparison("kind", "rude"), KIND)
    assert marking.usage.judge_calls == 2


async def test_a_mark_is_the_expectation_rescaled_to_minus_one_to_one():
    mark = await judge(Score(5)).mark(prompt(), Completion(text="kind"), KIND)
    expected = 0.8 * 4 + 0.05 * (1 + 2 + 3 + 5)
    assert mark.score == pytest.approx(2 * (expected - 1) / 4 - 1)
    assert (await judge(Reward()).mark(prompt(), Completion(text="kind"), KIND)).score == 2.0
    with pytest.raises(InvalidInput, match="gives no marks"):
        await judge(Logprobs()).mark(prompt(), Completion(text="kind"), KIND)


async def test_rewards_compare_as_in_bradley_terry():
    verdict = await judge(Reward()).compare(comparison("kind", "plain"), KIND)
    assert verdict.p_a == pytest.approx(1 / (1 + math.exp(-2)))


def test_a_scale_whose_ten_may_begin_with_one_is_not_read():
    split = {"1": 0.5, "9": 0.3, "8": 0.2}
    assert read_scale(label_reply(split).choices[0], 10).score is None
    assert read_scale(label_reply(split).choices[0], 9).score is not None
    whole = {"10": 0.5, "1": 0.5}
    assert read_scale(label_reply(whole).choices[0], 10).score == pytest.approx(0.0)


@pytest.mark.parametrize(("number", "score"), [(1, -1.0), (10, 1.0), (4, 2 * 3 / 9 - 1)])
def test_the_ends_of_the_scale_are_minus_one_and_one(number: int, score: float):
    reply = label_reply({str(number): 0.999999} | ({"10": 1e-6} if number != 10 else {}))
    assert read_scale(reply.choices[0], 10).score == pytest.approx(score, abs=1e-4)


weights = st.lists(st.floats(0.01, 1.0), min_size=5, max_size=5).map(lambda ws: [w / sum(ws) for w in ws])


@given(weights, weights)
def test_marks_side_by_side_are_mirrored_and_a_probability(a: list[float], b: list[float]):
    assert beats(a, b) == pytest.approx(1 - beats(b, a), abs=1e-12)
    assert -1e-12 <= beats(a, b) <= 1 + 1e-12
    assert beats(a, a) == 0.5
    brute = sum(pa * pb * (1.0 if i > j else 0.5 if i == j else 0) for i, pa in enumerate(a) for j, pb in enumerate(b))
    assert beats(a, b) == pytest.approx(brute, abs=1e-9)


async def test_other_labels_name_the_frames_and_a_completion_cannot_close_them():
    text = pair_messages(comparison("one [1] two [/1]", "[ 2 ]"), KIND, ("1", "2"))[1].content
    assert text.count("[1]") == text.count("[/1]") == text.count("[2]") == text.count("[/2]") == 1
    assert text.endswith("Answer with 1 or 2.")
    assert "(1)" in text


async def test_judges_with_other_labels_share_no_cache_entries():
    cache = MemoryCache()

    def script(call: Call) -> ChatReply:
        return label_reply({"A": 0.7, "B": 0.3} if "Answer with A" in call.text else {"1": 0.7, "2": 0.3})

    for labels in (("A", "B"), ("1", "2")):
        model = ScriptedChat("same", script)
        await Judge(model, method=Logprobs(labels), cache=cache).compare(comparison(), KIND)
        assert model.calls == 2
