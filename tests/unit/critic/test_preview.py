"""Which labels would change: what is asked, what is counted, and what stands beside it."""

import json
from collections.abc import Sequence
from zlib import crc32

import pytest

from constitution.document import Case, Constitution, Principle
from critic.cache import MemoryCache
from critic.judge import Judge
from critic.pipeline import label
from critic.preview import Plan, Preview, preview
from solon.chat import RequestTimedOut
from solon.errors import CoverageTooLow, InvalidInput
from solon.fakes import Call, ScriptedChat, failing_judge, label_reply, scoring_judge
from solon.records import PreferencePair, Status
from solon.rows import Row
from tests.unit.critic.material import collected, constitution, pairs, row

KIND = Principle(id="kindness", text="Be kind.")
BRIEF = Principle(id="brevity", text="Be brief.")
PLAN = Plan(size=40, control=20)
CASES = (
    Case(id="warm", prompt="Hi?", better="a kind word", worse="a rude one", because=("kindness",)),
    Case(id="short", prompt="Hi?", better="no", worse="a long and winding answer", because=("brevity",)),
)


def score(text: str, asked: str) -> float:
    """Kind principles like "kind", unkind ones "rude", brief ones few letters."""
    if "brief" in asked:
        return -len(text) / 20
    return (-1 if "unkind" in asked else 1) * (("kind" in text) - ("rude" in text))


def model() -> ScriptedChat:
    return scoring_judge(score, sharpness=3.0)


def rows(count: int = 60) -> list[Row]:
    """Half differ in kindness, half only in length."""
    said = [("kind words", "rude words") if i % 2 else ("short", "much longer than that") for i in range(count)]
    return [row(*each, name=f"p{i}", votes=["a"] if i % 3 == 0 else ()) for i, each in enumerate(said)]


def text(kindness: str = "Be kind.", **changes: object) -> Constitution:
    found = constitution(KIND.model_copy(update={"text": kindness}), BRIEF)
    return found.model_copy(update={"cases": CASES, **changes})


async def stored(old: Constitution, chat: ScriptedChat | None = None, count: int = 60) -> list[PreferencePair]:
    return pairs(await collected(label(rows(count), constitution=old, judge=Judge(chat or model()))))


async def previewed(
    found: Sequence[PreferencePair], old: Constitution, new: Constitution, chat: ScriptedChat, plan: Plan = PLAN
) -> Preview:
    return await preview(lambda: found, old, new, Judge(chat), plan)


async def test_an_inverted_principle_flips_what_it_governs_and_nothing_else() -> None:
    old, new = text(), text("Be unkind.")
    report = await previewed(await stored(old), old, new, model(), Plan(size=60, control=20))

    assert report.edit.reworded == ("kindness",)
    labels = report.impact.labels
    assert labels.finding == "beyond_noise"
    assert labels.changes.n == 60
    assert labels.changes.count("flipped") == labels.changes.count("kept") == 30
    assert {frozenset((flip.a, flip.b)) for flip in report.impact.flips} == {frozenset(("kind words", "rude words"))}
    assert all(list(flip.principles) == ["kindness"] for flip in report.impact.flips)
    assert report.impact.principles["kindness"].verdicts.changes.count("flipped") == 30
    assert set(report.impact.principles) == {"kindness"}
    assert report.cases is not None
    assert (report.cases.newly_failing, report.cases.newly_passing) == (("warm",), ())


async def test_another_wording_of_the_same_changes_nothing() -> None:
    old, new = text(), text("Please be kind.")
    report = await previewed(await stored(old), old, new, model())

    assert report.impact.labels.finding == "unchanged"
    assert report.impact.flips == ()
    assert report.cases is not None
    assert report.cases.failing == ()


async def test_only_what_changed_is_asked_and_every_call_is_counted() -> None:
    old, new, chat = text(), text("Be unkind."), model()
    found = await stored(old)
    report = await previewed(found, old, new, chat)

    spent = {name: usage.judge_calls for name, usage in report.spent.items()}
    assert spent == {"sample": 2 * 40, "control": 2 * 20, "cases": 2 * (2 * 2 + 2)}
    assert chat.calls == report.judge_calls == sum(spent.values())
    assert report.spent["sample"].prompt_tokens == 100 * 80
    assert report.estimate.judge_calls == 2 * 60
    assert report.estimate.judge_calls_from_scratch == 4 * 60
    assert report.estimate.prompt_tokens == 100 * 120
    assert report.estimate.changed_labels is not None
    assert report.estimate.changed_labels[1] <= 30 <= report.estimate.changed_labels[2]


async def test_a_fickle_judge_shows_its_noise_and_the_effect_is_inside_it() -> None:
    def script(call: Call) -> object:
        return label_reply(
            {"A": 0.9, "B": 0.1} if crc32(f"{call.text} {call.number}".encode()) % 2 else {"A": 0.1, "B": 0.9}
        )

    chat = ScriptedChat("fickle", script)  # pyright: ignore[reportArgumentType]
    old = text()
    report = await previewed(await stored(old, chat), old, text("Please be kind."), chat)

    noise = report.impact.labels.noise
    assert noise is not None
    assert noise.n == 20
    assert noise.changed is not None
    assert noise.changed.value > 0
    assert report.impact.labels.finding == "within_noise"


async def test_a_change_of_weights_asks_nothing_and_has_no_noise() -> None:
    old = text(cases=())
    heavy = BRIEF.model_copy(update={"weight": 50.0})
    new = old.model_copy(update={"principles": (old.principles[0], heavy)})
    chat = model()
    report = await previewed(await stored(old), old, new, chat)

    assert chat.calls == 0
    assert report.edit.recombined
    assert (report.control, report.impact.labels.noise) == (0, None)
    assert report.estimate.judge_calls == 0
    assert report.estimate.seconds == 0.0


async def test_principles_that_come_and_go_are_named() -> None:
    old = text()
    new = constitution(KIND, Principle(id="candour", text="Be unkind where that is true."))
    report = await previewed(await stored(old), old, new, model())

    assert (report.edit.added, report.edit.removed, report.edit.reworded) == (("candour",), ("brevity",), ())
    assert report.spent["sample"].judge_calls == 2 * 40
    assert "cases" not in report.spent


async def test_agreement_with_people_stands_beside_the_change() -> None:
    old = text()
    report = await previewed(await stored(old), old, text("Be unkind."), model(), Plan(size=60, control=0))

    before, after = report.impact.agreement_before, report.impact.agreement_after
    assert before is not None
    assert after is not None
    assert (before.value, before.n) == (1.0, 20)
    assert after.value == 0.5


async def test_a_question_to_the_judge_that_was_reworded_has_its_noise_measured() -> None:
    rules = "propositions: [{id: warm, kind: judge, question: %s}]\nrules: [{id: warm, when: warm, reward: 9.0}]\n"
    old, new = (constitution(BRIEF, more=rules % question) for question in ("Is it kind?", "Is it unkind?"))
    chat = model()
    report = await previewed(await stored(old), old, new, chat)

    assert report.edit.questions == ("warm",)
    assert report.spent["sample"].judge_calls == 2 * 40
    assert report.spent["control"].judge_calls == 2 * 20
    assert report.impact.labels.finding == "beyond_noise"


async def test_the_report_is_plain_data() -> None:
    old = text()
    report = await previewed(await stored(old), old, text("Be unkind."), model())
    data = json.loads(json.dumps(report.to_dict()))

    assert data["impact"]["labels"]["changes"]["shares"]["flipped"]["n"] == 40
    assert len(data["impact"]["flips"]) == 10
    assert data["estimate"]["judge_calls"] == 120


async def test_pairs_of_another_text_or_another_judge_are_refused() -> None:
    old = text()
    found = await stored(old)
    with pytest.raises(InvalidInput, match="not under the earlier text"):
        await previewed(found, text("Be kinder."), old, model())
    with pytest.raises(InvalidInput, match="not this judge's"):
        await preview(lambda: found, old, old, Judge(model(), revision="other"), PLAN)
    lost = [pair.model_copy(update={"status": Status.TIMEOUT, "p_a": None}) for pair in found]
    with pytest.raises(InvalidInput, match="no pair has a measured label"):
        await previewed(lost, old, old, model())


async def test_a_judge_that_fails_on_most_of_the_sample_ends_the_preview() -> None:
    old = text(cases=())

    def fails(call: Call) -> RequestTimedOut | None:
        return RequestTimedOut("late") if "unkind" in call.text else None

    found = await stored(old)
    broken = failing_judge(model(), fails)
    broken.model = "scoring"
    with pytest.raises(CoverageTooLow, match="0 of 40 pairs could be judged: timeout 40"):
        await previewed(found, old, text("Be unkind."), broken)


async def test_answers_are_remembered_but_never_those_that_measure_the_noise() -> None:
    old, new, chat, cache = text(), text("Be unkind."), model(), MemoryCache()
    found = await stored(old)
    judge = Judge(chat, cache=cache)
    first = await preview(lambda: found, old, new, judge, PLAN)
    again = await preview(lambda: found, old, new, Judge(chat, cache=cache), PLAN)
    assert {name: usage.judge_calls for name, usage in again.spent.items()} == {"sample": 0, "control": 40, "cases": 0}
    assert first.estimate.prompt_tokens == again.estimate.prompt_tokens
    assert first.impact == again.impact
