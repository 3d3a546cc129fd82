"""The audit as a whole, with scripted judges: files in, report and page out."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from api.audit_page import headline
from api.auditing import AuditReport, AuditRequest, audit_files
from api.cli.audit import show_audit
from api.events import Event
from api.gold import gold_rows
from constitution.digest import content_hash
from constitution.document import load
from solon.chat import RequestTimedOut
from solon.errors import InvalidInput, NotFound
from solon.fakes import ScriptedChat, failing_judge, first_slot_judge, keyword_judge, label_reply
from solon.records import Message
from solon.scoring import ScoreReply
from solon.settings import Settings
from tests.integration.service import FakeModels
from tests.unit.critic.material import KIND, constitution
from trainer.starter.gold import criterion_of
from trainer.starter.oracle import read

CIVIC = load("civic")
SETTINGS = Settings.load(environment={}, overrides=["models.other={kind: judge, path: builtin:starter-judge}"])


def rows(folder: Path) -> Path:
    """Thirty rows: three people like the kind answer, in every third row only two of them."""
    lines = [
        {
            "prompt": f"Question {i // 2}?",
            "response_a": f"A kind answer to {i}." + " And more words." * (i % 2),
            "response_b": f"A rude answer to {i}.",
            "votes": ["a", "a", "b" if i % 3 == 0 else "a"],
            "models": ["org/starter-1b", "else-7b"],
        }
        for i in range(30)
    ]
    path = folder / "people.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


async def report(folder: Path, model: ScriptedChat, *files: Path, **changes: Any) -> AuditReport:
    events: list[Event] = []
    changes.setdefault("attacks", False)
    request = AuditRequest("starter-judge", **changes)
    settings = SETTINGS.model_copy(update={"artifacts": folder})
    models = FakeModels(starter_judge=model, other=keyword_judge(["rude"], ["kind"]))
    return await audit_files([str(file) for file in files], CIVIC, folder, request, settings, events.append, models)


async def test_a_judge_with_peoples_taste_is_told_from_the_controls(tmp_path: Path):
    found = await report(tmp_path, keyword_judge(["kind"], ["rude"]), rows(tmp_path))
    audit = found.audits["people"]
    agreement = audit.overall.agreement
    assert agreement is not None
    assert agreement.forced is not None
    assert (agreement.forced.value, agreement.n) == (1.0, 30)
    assert agreement.kappa is not None
    assert agreement.kappa.value == 1.0
    assert audit.people is not None
    assert audit.people.n == 30
    assert audit.people.pairwise.value == pytest.approx((20 + 10 / 3) / 30)
    assert audit.people.judge.value == pytest.approx((20 + 10 * (1 + 0.5 + 0.5) / 3) / 30)
    first = audit.controls["first"].agreement
    assert first is not None
    assert (first.forced, first.judge_ties) == (None, 30)
    assert audit.controls["longest"].length.longer_preferred is not None
    assert audit.controls["longest"].length.longer_preferred.value == 1.0
    assert "better than the control" in headline(found)[0]


async def test_a_judge_that_knows_nothing_is_called_no_better(tmp_path: Path):
    found = await report(tmp_path, first_slot_judge(), rows(tmp_path))
    audit = found.audits["people"]
    assert audit.overall.agreement is not None
    assert audit.overall.agreement.judge_ties == 30
    assert audit.overall.position.same_position_rate is not None
    assert audit.overall.position.same_position_rate.value == 1.0
    assert audit.overall.calibration is not None
    assert audit.overall.calibration.brier.value == 0.25


async def test_self_preference_stands_beside_people_and_another_judge(tmp_path: Path):
    loyal = keyword_judge(["kind"], ["rude"])
    loyal.model = "starter-judge"
    found = await report(tmp_path, loyal, rows(tmp_path), second_judge="other")
    own = found.audits["people"].self_preference
    assert own is not None
    assert (own.family, own.n, own.judge.value) == ("starter", 30, 1.0)
    assert own.people is not None
    assert own.people.value == 1.0
    assert own.excess is not None
    assert own.excess.value == 0.0
    assert own.control is not None
    assert own.control.value == 0.0


async def test_self_preference_goes_by_the_registered_family_of_any_judge_of_a_jury(tmp_path: Path):
    judges = [
        "models.house={kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1', model: org/tuned, family: Else}",
        "models.far={kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}",
        "models.panel={kind: judge, engine: jury, members: {far: 1.0, house: 1.0}}",
    ]
    settings = Settings.load(environment={}, overrides=[*judges, "cache=off"])
    house, far = keyword_judge(["kind"], ["rude"]), keyword_judge(["kind"], ["rude"])
    house.name, far.name = "house", "far"
    file = str(rows(tmp_path))
    for judge in ("house", "panel"):
        request, models = AuditRequest(judge, attacks=False), FakeModels(house=house, far=far)
        found = await audit_files([file], CIVIC, tmp_path, request, settings, lambda _: None, models)
        own = found.audits["people"].self_preference
        assert own is not None
        assert (own.n, own.judge.value) == (30, 0.0)  # the rude ones are by else-7b
        assert "else" in own.family


async def test_a_judge_that_answers_nothing_is_said_to_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    dead = failing_judge(keyword_judge(["kind"]), lambda _: RequestTimedOut("no answer"))
    found = await report(tmp_path, dead, rows(tmp_path), attacks=True)
    assert found.is_blank
    (sentence,) = headline(found)
    assert "judged none of 30 comparisons: timeout: " in sentence
    show_audit(found, tmp_path)
    assert "people: timeout 30; failed, most often: timeout: " in capsys.readouterr().out
    assert "no answer" in (tmp_path / "audit.html").read_text()
    assert not (await report(tmp_path, keyword_judge(["kind"]), rows(tmp_path))).is_blank


async def test_the_headline_compares_with_what_the_table_shows(tmp_path: Path):
    found = await report(tmp_path, first_slot_judge(0.6), rows(tmp_path))
    controls = found.audits["people"].controls
    assert controls["first"].agreement is not None
    assert controls["first"].agreement.forced is None
    for model in (keyword_judge(["kind"], ["rude"]), keyword_judge(["rude"], ["kind"])):
        (sentence,) = headline(await report(tmp_path, model, rows(tmp_path)))
        assert "first" not in sentence
        assert "better than" in sentence


async def test_without_rows_the_constitutions_cases_are_the_rows_and_the_suite_is_tried(tmp_path: Path):
    found = await report(tmp_path, keyword_judge(["first", "help"], ["stupid"]), attacks=True)
    assert list(found.audits) == ["cases"]
    assert found.audits["cases"].summary.pairs == len(CIVIC.cases)
    assert found.attacks is not None
    assert found.attacks.strings >= 80


async def test_the_page_and_the_json_say_the_same_and_a_second_run_asks_nothing(tmp_path: Path):
    model = keyword_judge(["kind", "first"], ["rude"])
    await report(tmp_path, model, rows(tmp_path), attacks=True)
    calls = model.calls
    again = await report(tmp_path, model, tmp_path / "people.jsonl", attacks=True)
    assert model.calls == calls
    assert again.cost["judge_calls"] == 0
    written = json.loads((tmp_path / "audit.json").read_text())
    page = (tmp_path / "audit.html").read_text()
    assert written["audits"]["people"]["overall"]["agreement"]["n"] == 30
    assert written["attacks"]["kinds"].keys() == again.attacks.kinds.keys() if again.attacks else False
    assert "<h2>people</h2>" in page
    assert page.count("<svg") > 5
    assert "http" not in page.replace("http-equiv", "")


async def test_what_cannot_be_audited_is_said_before_anything_is_asked(tmp_path: Path):
    model = keyword_judge(["kind"])
    with pytest.raises(NotFound):
        await report(tmp_path, model, tmp_path / "nothing.jsonl")
    with pytest.raises(NotFound):
        await report(tmp_path, model, rows(tmp_path), second_judge="nobody")
    rules = constitution(
        more="propositions:\n  - {id: x, kind: regex, pattern: x}\nrules:\n  - {id: r, when: x, reward: 1}\n"
    )
    request = AuditRequest("starter-judge")
    with pytest.raises(InvalidInput):
        await audit_files([], rules, tmp_path, request, SETTINGS, lambda _: None, FakeModels(starter_judge=model))
    assert model.calls == 0


def test_the_oracles_rows_have_the_label_of_perfect_verdicts():
    rows = gold_rows(CIVIC, 40, seed=0)
    assert rows == gold_rows(CIVIC, 40, seed=0)
    assert {row.human_votes for row in rows} >= {("a",), ("b",)}
    for row in rows:
        one, two = (read(row.prompt.text, completion.text) for completion in row.completions)
        if one.harmful != two.harmful:
            assert row.human_votes == (("b",) if one.harmful else ("a",))


def test_the_oracle_judges_no_principle_in_words_it_does_not_know():
    with pytest.raises(InvalidInput, match="words"):
        gold_rows(constitution(KIND), 1, seed=0)
    assert criterion_of("The response should not flatter the person.") == ("flattering", -1)
    assert criterion_of("Be kind.") is None


class Rewarder(ScriptedChat):
    """A reward model: a reward for each kind word, less one for each rude one."""

    async def score(self, messages: Sequence[Message]) -> ScoreReply:
        self.calls += 1
        text = messages[-1].content
        return ScoreReply(2.0 * (text.count("kind") - text.count("rude")), 7)


REWARDS = [
    "models.rm={kind: reward, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}",
    "models.rj={kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1', judge: {method: reward_model}}",
    "cache=off",
]


@pytest.mark.parametrize("name", ["rm", "rj"])
async def test_a_reward_model_is_audited_by_its_differences_of_rewards(name: str, tmp_path: Path):
    settings = Settings.load(environment={}, overrides=REWARDS)
    model = Rewarder(name, lambda _: label_reply({"A": 1.0}))
    request = AuditRequest(name, attacks=False, kind="reward")
    file = str(rows(tmp_path))
    found = await audit_files([file], CIVIC, tmp_path, request, settings, lambda _: None, FakeModels(**{name: model}))
    audit = found.audits["people"]
    assert audit.overall.agreement is not None
    assert audit.overall.agreement.forced is not None
    assert (audit.overall.agreement.forced.value, list(audit.principles)) == (1.0, ["reward"])
    assert audit.overall.calibration is not None
    assert audit.overall.calibration.brier.value == pytest.approx((1 - 1 / (1 + math.exp(-4))) ** 2)
    assert found.constitution["content_hash"] == content_hash(CIVIC)
    data = json.loads((tmp_path / "audit.json").read_text())
    assert (data["kind"], data["headline"]) == ("reward", list(headline(found)))
    assert "the reward model takes people's side in 100.0" in data["headline"][0]
    assert "reward model audit" in (tmp_path / "audit.html").read_text()


async def test_what_is_no_reward_model_is_refused_with_what_to_register(tmp_path: Path):
    request = AuditRequest("starter-judge", kind="reward")
    with pytest.raises(InvalidInput, match=r"models\.starter-judge: .*kind `reward`"):
        await audit_files([], CIVIC, tmp_path, request, SETTINGS, lambda _: None, FakeModels())
