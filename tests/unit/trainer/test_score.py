"""A child that scores completions."""

import json
from pathlib import Path

import pytest

from solon.errors import InvalidInput
from solon.records import Completion, Message, Prompt
from tests.unit.trainer.conftest import MakePair
from trainer.config import RewardConfig, RewardModelSource, ScoreConfig, parse
from trainer.data import Sample, write_samples
from trainer.reward.scoring import RewardModel
from trainer.run import run


def test_scores_are_those_of_the_reward_model_in_order_and_a_failure_is_said(
    chat_model: Path, tmp_path: Path, make_pair: MakePair
):
    events: list[dict[str, object]] = []
    model = tmp_path / "reward"
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(make_pair(f"p{i}").model_dump_json() + "\n" for i in range(4)))
    trained = RewardConfig(type="reward", model=chat_model, pairs=pairs, output=model, epochs=1, held_out=0.0)
    run(trained, lambda event, **fields: events.append({"event": event, **fields}))
    prompt = Prompt(id="p", messages=(Message(role="user", content="hello"),))
    samples = [Sample(prompt=prompt, completion=Completion(text=text)) for text in ("ab", "", "abc")]
    write_samples(tmp_path / "samples.jsonl", samples)
    config = ScoreConfig(
        type="score",
        samples=tmp_path / "samples.jsonl",
        rewards=[RewardModelSource(type="reward_model", path=model)],
        output=tmp_path / "scores",
    )
    assert parse(config.model_dump_json()) == config
    run(config, lambda event, **fields: events.append({"event": event, **fields}))
    lines = [
        json.loads(line)["reward_model"] for line in (tmp_path / "scores" / "scores.jsonl").read_text().splitlines()
    ]
    expected = RewardModel.load(model).scores([(sample.prompt, sample.completion) for sample in samples])
    assert lines[1] == "failed"
    assert [lines[0], lines[2]] == pytest.approx([expected[0], expected[2]])
    assert events[-1]["samples"] == 3


def test_nothing_to_score_is_refused(tmp_path: Path):
    (tmp_path / "samples.jsonl").write_text("")
    source = RewardModelSource(type="reward_model", path=tmp_path)
    config = ScoreConfig(type="score", samples=tmp_path / "samples.jsonl", rewards=[source], output=tmp_path / "out")
    with pytest.raises(InvalidInput, match="nothing to score"):
        run(config, lambda *_, **__: None)
