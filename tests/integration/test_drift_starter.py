"""Drift found by the shipped judge in labels of the starter world, where the oracle knows what they follow."""

import json
import random
from pathlib import Path

import pytest

from api.drift import DriftRequest, drift_of
from constitution.document import load
from solon.settings import Settings
from trainer.starter.oracle import read
from trainer.starter.wordings import value
from trainer.starter.world import any_attributes, compose, sample_prompts

pytestmark = [pytest.mark.slow, pytest.mark.long]

FOLLOWED = {"rude": -2.0, "false_claim": -1.5, "listed": 1.0}
"""Weights of the labels, by what the oracle reads."""
KEPT = ("respectful", "no-flattery", "honest", "concise")


def rows(count: int) -> str:
    """Everyday prompts with two completions each, labelled by the weighted sum of their attributes."""
    rng, lines = random.Random(3), list[str]()
    asked = [
        each for each in sample_prompts("eval", 4 * count, seed=5) if each.kind in ("everyday", "sensitive", "opinion")
    ]
    for prompt in asked[:count]:
        a, b = (compose(prompt, any_attributes(prompt, rng), rng) for _ in range(2))
        sums = [sum(w * (value(c, read(prompt.text, each)) or 0.0) for c, w in FOLLOWED.items()) for each in (a, b)]
        label = "tie" if sums[0] == sums[1] else "a" if sums[0] > sums[1] else "b"
        lines.append(json.dumps({"prompt": prompt.text, "response_a": a, "response_b": b, "label": label}))
    return "\n".join(lines) + "\n"


def derived() -> str:
    """Four principles of the default constitution, two of which the labels follow."""
    parent = load("civic")
    dropped = [each.id for each in parent.principles if each.id not in KEPT]
    rules = [each.id for each in parent.rules]
    source = f"{{constitution: civic@{parent.version}, drop: {{principles: {dropped}, rules: {rules}}}}}"
    return f"format: constitution/v1\nid: town\ntitle: Town\nversion: 1.0.0\nderived_from: {source}\n"


async def test_the_shipped_judge_finds_what_the_labels_follow_and_what_they_do_not(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text(rows(160))
    (tmp_path / "town.yaml").write_text(derived())
    (tmp_path / "ideas.txt").write_text("The response should use a numbered list.\nThe response should be polite.\n")
    request = DriftRequest("starter-judge", str(tmp_path / "town.yaml"), (str(tmp_path / "ideas.txt"),))
    found = await drift_of(tmp_path / "rows.jsonl", request, Settings.load(environment={}), lambda _: None)
    assert {each.id: each.standing for each in found.written} == {
        "respectful": "followed",
        "no-flattery": "not_followed",
        "honest": "followed",
        "concise": "not_followed",
    }
    assert {each.text: each.standing for each in found.unwritten} == {
        "The response should use a numbered list.": "followed"
    }
    assert [each.same_as for each in found.dismissed] == ["respectful"]
    assert found.explained is not None
    assert found.as_written is not None
    assert found.explained.low > found.as_written.high
