"""Runs of a recipe with scripted models and a scripted trainer, for tests of what steps do."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from api.children import Progress, Train
from api.events import Event
from api.recipes import Recipe
from api.workflows import align
from solon.chat import ChatModel, ChatReply
from solon.documents import override, validated
from solon.errors import TrainingFailed
from solon.fakes import Call, ScriptedChat, keyword_judge, keyword_score, text_reply
from solon.settings import Settings
from trainer.config import AnyConfig, KLConfig, LikelihoodConfig, ScoreConfig
from trainer.data import read_samples

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "constitution": "civic",
    "judge": "starter-judge",
    "prompts": {"limit": 6, "eval_limit": 5},
    "steps": [{"type": "label", "candidates": 2}, {"type": "dpo", "control": True}, {"type": "evaluate"}],
}


def policy(*endings: str) -> ScriptedChat:
    """Writes one of the endings, picked by the seed, after the question."""

    def script(call: Call) -> ChatReply:
        return text_reply(f"{call.text[:20]} {endings[(call.seed or 0) % len(endings)]}")

    return ScriptedChat("scripted", script)


class Models:
    """Scripted models by name; trained models by what their directory says."""

    def __init__(self, judge: ScriptedChat | None = None) -> None:
        self.judge = judge or keyword_judge(["good"], ["bad"])
        self.policy = policy("good", "bad")
        self.trained = {"model": policy("good"), "control": policy("good", "bad")}
        self.directories: dict[str, Path] = {}

    async def chat(self, name: str) -> ChatModel:
        """The model of this name."""
        if name in self.directories:
            return self.trained[self.directories[name].name]
        return {"starter": self.policy, "starter-judge": self.judge, "other-judge": self.judge}[name]

    async def serve(self, directories: Mapping[str, Path]) -> None:
        """Remember the directories."""
        self.directories |= directories


class Trainer:
    """Makes model directories, and measures a divergence of 2 nats for the model and 1 for the control."""

    def __init__(self, fails: str = "") -> None:
        self.configs: list[AnyConfig] = []
        self.fails = fails
        self.reward: Callable[[str], float | str | None] = keyword_score(["good"], ["bad"])
        """Of the reward model."""
        self.nats: Callable[[str, str], float] = lambda name, text: 0.0
        """ln p of a text under the model of this name, for likelihoods."""

    async def __call__(self, config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
        """The fields of a `done` event."""
        self.configs.append(config)
        if self.fails == config.type:
            raise TrainingFailed("training failed: it diverged", remedy="lower the learning rate")
        await asyncio.sleep(0)
        progress(1, 1, {"loss": 0.5})
        if isinstance(config, KLConfig):
            nats = 1.0 if config.policy.name == "control" else 2.0
            return {"result": {"kl_nats": nats, "standard_error": 0.1}}
        config.output.mkdir(parents=True)
        if isinstance(config, ScoreConfig):
            rewards = [self.reward(sample.completion.text) for sample in read_samples(config.samples)]
            lines = (json.dumps({"reward_model": reward}) + "\n" for reward in rewards)
            (config.output / "scores.jsonl").write_text("".join(lines))
            return {"samples": len(rewards)}
        told = config.model_dump(
            mode="json", exclude={"output", "pairs", "model", "rows", "prompts", "rewards", "state", "references"}
        )
        if isinstance(config, LikelihoodConfig):
            nats = [
                {name: self.nats(name, s.completion.text) for name in config.models}
                for s in read_samples(config.samples)
            ]
            (config.output / "likelihoods.jsonl").write_text("".join(json.dumps(each) + "\n" for each in nats))
            return {"samples": len(nats)}
        (config.output / "config.json").write_text(json.dumps(told))
        (config.output / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
        return {"pairs": 3, "dropped": {}, "metrics": {"loss": 0.5}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = [f"artifacts={tmp_path / 'artifacts'}"]
    for name in ("starter", "starter-judge"):
        folder = tmp_path / "registered" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        places.append(f"models.{name}.path={folder}")
    places.append(f"models.other-judge={{kind: judge, path: {tmp_path / 'registered' / 'starter-judge'}}}")
    return Settings.load(overrides=places, environment={})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


class Runs:
    """Runs recipes and remembers the events."""

    def __init__(self, settings: Settings, out: Path) -> None:
        self.settings = settings
        self.out = out
        self.models = Models()
        self.trainer = Trainer()
        self.events: list[Event] = []

    async def __call__(self, *overrides: str, train: Train | None = None) -> dict[str, Any]:
        """The summary of one run."""
        self.events.clear()
        recipe, emit = validated(Recipe, override(RECIPE, overrides), "test"), self.events.append
        return await align(recipe, self.settings, self.out, emit, models=self.models, train=train or self.trainer)

    def steps(self, kind: str) -> list[str]:
        """Steps with an event of this type."""
        return [event.step for event in self.events if event.type == kind]


@pytest.fixture
def run(settings: Settings, out: Path) -> Runs:
    return Runs(settings, out)
