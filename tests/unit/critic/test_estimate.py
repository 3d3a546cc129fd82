"""An estimate is what a run then does: the same calls, or between the least and the most."""

import itertools
from dataclasses import replace
from typing import get_args

import pytest

from constitution.document import Constitution, Principle
from critic.cache import Cache, MemoryCache
from critic.estimate import Counting, Estimate, Estimator, Unwritten, common_prefix
from critic.judge import Judge
from critic.judges.logprobs import Logprobs
from critic.judges.marks import Score
from critic.judges.method import Method
from critic.judges.written import Argued, JsonVerdict
from critic.jury import Jury, Seat
from critic.labelling import Labeller
from critic.pipeline import label
from critic.schedules import Schedule
from critic.tournament import Pairing, Tournament, comparisons
from solon.chat import ChatReply
from solon.fakes import Call, ScriptedChat, label_reply, text_reply
from solon.records import Comparison, Completion, PreferencePair, Provenance, Status
from solon.rows import Row
from tests.unit.critic.material import BRIEF, KIND, collected, constitution, row

ASKING = """
propositions:
  - {id: warm, kind: judge, question: Is it warm?}
  - {id: too_warm, kind: judge, question: Is it too warm?, only_if: warm}
rules: [{id: warm, when: warm, reward: 2.0}, {id: too_warm, when: too_warm, reward: -1.0}]
"""
PLAIN = """
propositions: [{id: warm, kind: judge, question: Is it warm?}]
rules: [{id: warm, when: warm, reward: 2.0}]
"""
TEXT = constitution(KIND, BRIEF)
TWO = [row(f"kind {i}", f"rude {i}", name=f"p{i}") for i in range(3)] + [row("same", "same ", name="alike")]
WORDS = ("kind", "rude", "so", "kind kind", "rude rude")
FIVE = [row(*WORDS, name=f"q{i}") for i in range(2)]


def answering(call: Call) -> ChatReply:
    """A judge of any method."""
    if call.json_schema is not None:
        return text_reply('{"reason": "", "verdict": "A"}')
    if call.text.startswith("Which"):
        return text_reply("an argument")
    return label_reply({"A": 0.3, "B": 0.3, "Yes": 0.1, "No": 0.1, "1": 0.1, "5": 0.1})


async def estimated(
    rows: list[Row], text: Constitution, method: Method | None = None, cache: Cache | None = None, **how: object
) -> tuple[Estimate, Counting]:
    model = Counting("judge", "judge", lambda words: len(words.split()))
    judge = Judge(model, method=method, cache=None if cache is None else Unwritten(cache))
    estimator = replace(Estimator(Labeller(text, judge), [model]), **how)
    return await estimator.rows(rows), model


async def run(
    rows: list[Row], text: Constitution, method: Method | None = None, cache: Cache | None = None, **how: object
) -> tuple[int, ScriptedChat]:
    model = ScriptedChat("judge", answering)
    judge = Judge(model, method=method, cache=cache)
    await collected(label(rows, constitution=text, judge=judge, min_coverage=0, **how))  # type: ignore[arg-type]
    return judge.usage.judge_calls, model


@pytest.mark.parametrize("method", [Logprobs(), JsonVerdict(), Argued(samples=2), Score(5), Logprobs(("1", "2"))])
@pytest.mark.parametrize("text", [TEXT, constitution(KIND, more=PLAIN)])
async def test_the_calls_of_given_pairs_are_those_of_the_run(method: Method, text: Constitution):
    found, counted = await estimated(TWO, text, method)
    calls, model = await run(TWO, text, method)
    assert found.exact
    assert found.judge_calls == (calls, calls)
    assert counted.tokens.requests == model.calls == found.judge.requests
    assert found.comparisons == (3, 3)


@pytest.mark.parametrize("pairing", get_args(Pairing))
@pytest.mark.parametrize("schedule", [None, *get_args(Schedule)])
async def test_the_calls_of_a_tournament_are_within_the_bounds(pairing: Pairing, schedule: Schedule | None):
    found, _ = await estimated(FIVE, TEXT, pairing=pairing, schedule=schedule)
    calls, _ = await run(FIVE, TEXT, pairing=pairing, schedule=schedule)
    assert found.judge_calls[0] <= calls <= found.judge_calls[1]
    if found.exact:
        assert calls == found.judge_calls[0]
    if schedule is None and pairing != "max_margin":
        assert found.exact


async def test_questions_that_wait_for_others_are_counted_at_least_and_at_most():
    found, _ = await estimated(TWO, constitution(KIND, more=ASKING))
    assert found.judge_calls == (3 * 2 + 3 * 2, 3 * 4 + 3 * 2)
    calls, _ = await run(TWO, constitution(KIND, more=ASKING))
    assert found.judge_calls[0] <= calls <= found.judge_calls[1]


async def test_what_a_cache_has_is_free_and_the_cache_stays_as_it_is():
    cache = MemoryCache()
    await run(TWO[:2], TEXT, cache=cache)
    kept = len(cache)
    found, _ = await estimated(TWO, TEXT, cache=cache)
    assert len(cache) == kept
    calls, _ = await run(TWO, TEXT, cache=cache)
    assert found.judge_calls == (calls, calls) == (4, 4)
    assert found.cache_hits == 8


async def test_a_jury_costs_what_its_judges_do():
    models = [Counting(name, name, len) for name in ("one", "two")]
    labeller = Labeller(TEXT, Jury("panel", [Seat(Judge(each)) for each in models]))
    found = await Estimator(labeller, models).rows(TWO)
    asked = [ScriptedChat(name, answering) for name in ("one", "two")]
    jury = Jury("panel", [Seat(Judge(each)) for each in asked])
    await collected(label(TWO, constitution=TEXT, judge=jury, min_coverage=0))
    assert found.judge_calls == (jury.usage.judge_calls,) * 2 == (sum(each.calls for each in asked),) * 2


async def test_a_policy_writes_n_completions_and_may_leave_nothing_to_compare():
    policy = Counting("policy", "policy", len)
    rows = [row(name=f"p{i}") for i in range(3)]
    found, _ = await estimated(rows, TEXT, policy=policy, n=4)
    assert (found.completions, policy.tokens.requests) == (12, 12)
    assert found.comparisons == (0, 15)
    assert found.judge_calls == (0, 3 * 5 * 4)


async def test_prompts_of_one_pair_share_all_but_the_principle():
    many = constitution(*(Principle(id=f"p{i}", text=f"Principle number {i}.") for i in range(8)))
    one = [row("kind " * 200, "rude " * 200)]
    found, _ = await estimated(one, many)
    assert found.judge.shared > 0.8 * found.judge.prompt
    alone, _ = await estimated(one, constitution(KIND))
    assert alone.judge.shared < 0.2 * alone.judge.prompt


@pytest.mark.parametrize("n", [2, 3, 4, 5])
async def test_the_bounds_of_max_margin_are_reached_and_never_passed(n: int):
    couples = list(itertools.combinations(range(n), 2))
    seen: set[int] = set()
    for outcome in itertools.product((0.2, 0.8), repeat=len(couples)):
        verdicts = dict(zip(couples, outcome, strict=True))

        async def compare(i: int, j: int, verdicts: dict[tuple[int, int], float] = verdicts) -> PreferencePair:
            return _pair(verdicts[i, j])

        tournament = Tournament(n, compare)
        await tournament.play("max_margin", 0)
        seen.add(len(tournament.met))
    assert (min(seen), max(seen)) == comparisons(n, "max_margin")


def _pair(p_a: float) -> PreferencePair:
    made = Provenance(constitution="c", constitution_version="1.0.0", constitution_hash="h")
    texts = Comparison(prompt=row().prompt, a=Completion(text="a"), b=Completion(text="b"))
    chosen, p = ("a", p_a) if p_a > 0.5 else ("b", 1 - p_a)
    return PreferencePair.model_validate(
        {"id": "x", "status": Status.OK, "prompt": texts.prompt, "a": texts.a, "b": texts.b, "p_a": p_a}
        | {"chosen": chosen, "p_chosen": p, "margin": 2 * p - 1, "provenance": made}
    )


def test_the_common_beginning_of_two_texts():
    assert common_prefix("abcd", "abxd") == 2
    assert common_prefix("", "a") == 0
    assert common_prefix("same", "same") == 4
    assert common_prefix("same", "same and more") == 4
