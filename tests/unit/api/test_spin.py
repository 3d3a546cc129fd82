"""Self-play fine-tuning as a step in rounds."""

import json
from typing import Any

import pytest

from api.steps.spin import BLIND, SAME
from solon.datasets import read_pairs
from solon.fakes import Call, ScriptedChat, text_reply
from tests.unit.api.scripted_runs import Runs, policy
from tests.unit.api.scripted_runs import out as out
from tests.unit.api.scripted_runs import run as run
from tests.unit.api.scripted_runs import settings as settings
from trainer.config import DPOConfig

STEPS = (
    "steps=[{type: critique_revision, rounds: 1}, {type: sft},"
    " {type: rounds, times: 3, steps: [{type: spin, held_out: 0.5}]}, {type: evaluate}]"
)


@pytest.fixture(autouse=True)
def demonstrations(run: Runs) -> None:
    def script(call: Call):  # noqa: ANN202
        response = call.between("RESPONSE")
        if "critique only" in call.text:
            return text_reply("It is bad.")
        return text_reply("a bad answer" if response is None else f"{response} good good")

    run.models.policy = ScriptedChat("critic", script)
    run.models.trained["model"] = policy("good", "bad")


def result(run: Runs, step: str) -> dict[str, Any]:
    return json.loads((run.out / step / "step.json").read_text())["result"]


async def test_each_round_learns_demonstrations_against_its_own_samples(run: Runs):
    run.trainer.nats = lambda name, text: 1.0 if name == "after" and "good good" in text else 0.0
    await run(STEPS, "prompts.limit=40")
    trained = [config for config in run.trainer.configs if isinstance(config, DPOConfig)]
    assert [config.model for config in trained] == [
        run.out / "02-sft" / "model",
        run.out / "03.1.1-spin" / "model",
        run.out / "03.2.1-spin" / "model",
    ]
    pairs = list(read_pairs(trained[1].pairs))
    assert all(pair.chosen_text == "a bad answer good good" for pair in pairs)
    assert all(pair.rejected_text and pair.rejected_text.endswith(("good", "bad")) for pair in pairs)
    assert [len(list(read_pairs(config.pairs))) for config in trained] == [len(pairs)] * 3
    found = result(run, "03.3.1-spin")
    assert found["told_apart"]["value"] == 1.0
    assert found["held_out"] + len(pairs) == found["demonstrations"] == 40
    assert run.steps("step_finished")[-1] == "04-evaluate"


async def test_rounds_end_when_it_cannot_tell_them_apart(run: Runs):
    await run(STEPS, "prompts.limit=40")
    assert run.steps("step_skipped") == ["03.2.1-spin", "03.3.1-spin"]
    (ended,) = [event for event in run.events if event.step == "03.1.1-spin" and event.type == "step_finished"]
    assert BLIND in ended.message
    assert result(run, "03.1.1-spin")["told_apart"]["value"] == 0.5


async def test_a_policy_that_writes_the_demonstrations_is_left_as_it_is(run: Runs):
    run.models.trained["model"] = ScriptedChat("same", lambda call: text_reply("a bad answer good good"))
    await run(STEPS, "prompts.limit=40")
    assert not [config for config in run.trainer.configs if isinstance(config, DPOConfig)]
    (ended,) = [event for event in run.events if event.step == "03.1.1-spin" and event.type == "step_finished"]
    assert SAME in ended.message
    assert (run.out / "03.1.1-spin" / "model" / "config.json").exists()
