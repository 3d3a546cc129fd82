"""Continuous feedback: new pairs join, a model is refreshed, and it is promoted only if it is better beyond doubt."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.estimating import estimate_recipe
from api.promotions import Promotions
from api.recipes import Recipe
from solon.datasets import read_manifest, read_pairs
from solon.documents import override, validated
from solon.errors import InvalidInput, NotFound
from solon.fakes import keyword_judge
from tests.unit.api.scripted_runs import RECIPE, Runs, policy
from tests.unit.api.scripted_runs import out as out
from tests.unit.api.scripted_runs import run as run
from tests.unit.api.scripted_runs import settings as settings
from trainer.config import DPOConfig

LOOP = (
    "steps=[{type: rounds, times: 4, steps: [{type: feedback, reviews: REVIEWS, traffic: TRAFFIC, candidates: 2},"
    " {type: dpo}, {type: promote, prompts: 20, name: assistant}]}]"
)


@pytest.fixture
def loop(run: Runs, tmp_path: Path) -> str:
    reviews, traffic = tmp_path / "reviews.jsonl", tmp_path / "traffic.jsonl"
    rows = [
        {"id": f"r{i}", "prompt": f"Question {i} about gardens?", "response_a": f"good {i}", "response_b": f"bad {i}"}
        for i in range(4)
    ]
    reviews.write_text("".join(json.dumps({**row, "votes": ["a", "a"]}) + "\n" for row in rows))
    traffic.write_text("".join(json.dumps({"prompt": f"Request {i} from outside?"}) + "\n" for i in range(5)))
    run.models.policy = policy("good", "bad")
    run.models.trained["model"] = policy("good", "bad")
    return LOOP.replace("REVIEWS", str(reviews)).replace("TRAFFIC", str(traffic))


def result(run: Runs, step: str) -> dict[str, Any]:
    return json.loads((run.out / step / "step.json").read_text())["result"]


async def test_the_dataset_grows_by_reviews_and_fresh_prompts_and_each_version_is_named(run: Runs, loop: str):
    await run(loop)
    first = result(run, "01.1.1-feedback")
    assert first["kept"]["reviews"] == 4
    assert first["kept"]["traffic"] >= 1
    pairs = list(read_pairs(run.out / "01.1.1-feedback" / "pairs.jsonl"))
    people = [pair for pair in pairs if pair.provenance.judge == {"name": "people"}]
    assert [pair.chosen_text for pair in people] == ["good 0", "good 1", "good 2", "good 3"]
    assert read_manifest(run.out / "01.2.1-feedback" / "pairs.jsonl").about["version"] == 2
    second = result(run, "01.2.1-feedback")
    assert second["kept"]["before"] == len(pairs) - 4  # people's pairs are read again, and stand first
    assert second["kept"]["reviews"] == 4


async def test_a_snapshot_that_is_no_better_is_not_promoted_and_after_two_of_them_the_rounds_end(run: Runs, loop: str):
    await run(loop)
    assert [result(run, f"01.{turn}.3-promote")["promoted"] for turn in (1, 2)] == [False, False]
    assert run.steps("step_finished")[-1] == "01.2.3-promote"
    assert len(run.steps("step_skipped")) == 6
    second = [config for config in run.trainer.configs if isinstance(config, DPOConfig)][1]
    assert second.model == run.out / "01.1.3-promote" / "model"  # the policy that the recipe names, still
    assert Promotions.of(run.settings).history() == []
    for turn in (1, 2):
        gain = result(run, f"01.{turn}.3-promote")["gain"]
        assert gain["low"] <= 0
    await run(loop)
    assert run.steps("step_started") == []


async def test_a_snapshot_that_is_better_beyond_doubt_is_promoted_and_goes_on(run: Runs, loop: str):
    run.models.policy, run.models.trained["model"] = policy("good", "bad"), policy("good good", "good well good")
    run.models.judge = keyword_judge(["good"], ["bad"])
    await run(loop)
    found = result(run, "01.1.3-promote")
    assert found["promoted"]
    assert found["gain"]["low"] > 0
    current = Promotions.of(run.settings).current("assistant")
    assert current is not None
    assert (current.snapshot, current.by) == ("01.1.3-promote", "recipe tiny")
    assert current.gain is not None
    assert current.gain[1] > 0
    assert Path(current.path) == (run.out / "01.1.3-promote" / "model").resolve()
    assert not result(run, "01.2.3-promote")["promoted"]  # nothing was left to gain
    assert run.steps("step_finished")[-1] == "01.3.3-promote"


async def test_reviews_that_came_later_redo_what_they_touch(run: Runs, loop: str, tmp_path: Path):
    await run(loop)
    with (tmp_path / "reviews.jsonl").open("a") as file:
        row = {"prompt": "A new question?", "response_a": "good", "response_b": "bad", "votes": ["b"], "id": "new"}
        file.write(json.dumps(row) + "\n")
    await run(loop)
    assert run.steps("step_started")[0] == "01.1.1-feedback"
    assert result(run, "01.1.1-feedback")["kept"]["reviews"] == 5


async def test_what_cannot_be_joined_or_chosen_is_said(run: Runs, loop: str):
    with pytest.raises(NotFound, match="there is no file"):
        await run("steps=[{type: feedback, reviews: /nowhere.jsonl}]")
    with pytest.raises(InvalidInput, match="reviews"):
        await run("steps=[{type: feedback}]")
    with pytest.raises(InvalidInput, match="promote under another"):
        await run("steps=[{type: label}, {type: dpo}, {type: promote, name: starter}]")


async def test_an_estimate_counts_fresh_prompts_and_the_comparisons_of_a_promotion(run: Runs, loop: str):
    found = await estimate_recipe(validated(Recipe, override(RECIPE, [loop]), "test"), run.settings)
    lines = {line["step"]: line for line in found["estimate"]}
    assert lines["01.4.1-feedback"]["completions"] == 5 * 2
    assert lines["01.4.3-promote"]["comparisons"]["most"] == 20
