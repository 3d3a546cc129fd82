"""`solon critique` and the recipe step without processes."""

import json
from pathlib import Path

import pytest

from api.critiquing import Cast, CritiqueRequest, critique_file, show_critiqued
from api.recipes import Recipe, SFTStep
from api.steps.sft import learnt
from critic.critique import Plan
from solon.chains import read_chains
from solon.chat import ChatReply, RequestTimedOut
from solon.datasets import read_manifest, read_pairs
from solon.documents import override, validated
from solon.errors import CoverageTooLow, InvalidInput
from solon.fakes import Call, ScriptedChat, failing_judge, keyword_judge, text_reply
from solon.records import INJECTION_SUSPECTED, Completion, Message, Prompt, Provenance, RevisionChain
from solon.settings import Settings
from tests.integration.service import FakeModels

ROWS = '{"prompt": "Hi", "completions": ["a bad day"]}\n{"prompt": "Ho", "note": "kept"}\n'
REQUEST = CritiqueRequest("civic", Cast("far-policy", None, "far-judge"), Plan(rounds=2))


@pytest.fixture
def settings() -> Settings:
    register = "models.{}={{kind: {}, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}}"
    return Settings.load(
        overrides=[register.format("far-judge", "judge"), register.format("far-policy", "policy")], environment={}
    )


def policy() -> ScriptedChat:
    def script(call: Call) -> ChatReply:
        if "critique only" in call.text:
            return text_reply("It is bad.")
        response = call.between("RESPONSE")
        return text_reply("a bad day" if response is None else f"{response} good")

    return ScriptedChat("far-policy", script)


@pytest.fixture
def models() -> FakeModels:
    return FakeModels(far_judge=keyword_judge(["good"], ["bad"]), far_policy=policy())


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS)
    return path


async def test_chains_revisions_pairs_and_a_manifest_are_written(
    rows: Path, tmp_path: Path, settings: Settings, models: FakeModels, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out.jsonl"
    summary = await critique_file(rows, out, REQUEST, settings, lambda _: None, models)
    chains = list(read_chains(out))
    assert [chain.prompt.text for chain in chains] == ["Hi", "Ho"]
    assert chains[1].extra["note"] == "kept"
    learned = [json.loads(line) for line in (tmp_path / "out.revisions.jsonl").read_text().splitlines()]
    assert len(learned) == summary["kept"] == 4
    assert learned[0]["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "a bad day good"},
    ]
    assert read_manifest(tmp_path / "out.pairs.jsonl").statuses == summary["comparisons"]
    assert all(pair.chosen == "b" for pair in read_pairs(tmp_path / "out.pairs.jsonl") if pair.chosen)
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    assert (manifest["kept"], manifest["made_by"]["constitution"]) == (4, "civic")
    show_critiqued(summary)
    assert "4 revisions kept" in capsys.readouterr().out


async def test_the_same_file_gives_the_same_bytes(rows: Path, tmp_path: Path, settings: Settings, models: FakeModels):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        await critique_file(rows, tmp_path / name / "out.jsonl", REQUEST, settings, lambda _: None, models)
    for name in ("out.jsonl", "out.revisions.jsonl", "out.pairs.jsonl", "out.manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


async def test_a_coverage_floor_fails_after_everything_was_written(rows: Path, tmp_path: Path, settings: Settings):
    judge = failing_judge(keyword_judge(["good"]), lambda _: RequestTimedOut("no answer"))
    models = FakeModels(far_judge=judge, far_policy=policy())
    request = CritiqueRequest("civic", REQUEST.cast, REQUEST.plan, min_coverage=0.5)
    with pytest.raises(CoverageTooLow):
        await critique_file(rows, tmp_path / "out.jsonl", request, settings, lambda _: None, models)
    assert len(list(read_chains(tmp_path / "out.jsonl"))) == 2


async def test_somebody_must_write(rows: Path, tmp_path: Path, settings: Settings, models: FakeModels):
    request = CritiqueRequest("civic", Cast(judge="far-judge"))
    with pytest.raises(InvalidInput, match="nobody writes"):
        await critique_file(rows, tmp_path / "out.jsonl", request, settings, lambda _: None, models)


def test_verified_revisions_are_pairs_to_train_on():
    document = {
        "name": "cai",
        "constitution": "civic",
        "judge": "starter-judge",
        "steps": [{"type": "critique_revision"}, {"type": "dpo"}],
    }
    assert validated(Recipe, document, "test").steps[0].type == "critique_revision"
    with pytest.raises(InvalidInput, match="needs a `label`"):
        validated(Recipe, override(document, ["steps.0.verify=false"]), "test")
    with pytest.raises(InvalidInput, match="needs a judge"):
        validated(Recipe, override(document, ["judge=null"]), "test")


def test_the_original_of_a_chain_in_quarantine_is_not_learnt():
    made = Provenance(constitution="", constitution_version="", constitution_hash="")
    prompt = Prompt(id="p", messages=(Message(role="user", content="Hi"),))
    plain = RevisionChain(id="crit_1", prompt=prompt, original=Completion(text="Hello."), provenance=made)
    forged = plain.model_copy(update={"flags": (INJECTION_SUSPECTED,)})
    step = SFTStep(type="sft", originals="all")
    assert [each.completion.text for each in learnt(step, [plain, forged])] == ["Hello."]
