"""What is trained against real vLLM: a reward model that it serves, and PPO whose completions it writes."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from solon.chat import OpenAIChat
from solon.datasets import write_pairs
from solon.records import Completion, Message, PreferencePair, Prompt, Provenance, Status
from solon.settings import ModelEntry, Settings
from tests.integration.test_vllm import KEY, VLLM, served
from tests.integration.test_vllm import settings as settings  # a fixture
from trainer.config import PPOConfig, RewardConfig
from trainer.starter.world import prompts

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # peft and TRL use the old name
]

KIND = "First, wash the rice. Then cook the rice on a low heat."
RUDE = "What a stupid question."
ASKED = [Prompt(id=each.id, messages=(Message(role="user", content=each.text),)) for each in prompts("eval")[::16][:16]]


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model of the starter, trained for a few steps."""
    if not VLLM.exists():
        pytest.skip("no vLLM here: see the fixture `settings`")
    from trainer.runs import reward

    tmp_path = tmp_path_factory.mktemp("reward")
    provenance = Provenance(constitution="test", constitution_version="1.0.0", constitution_hash="sha256:0")
    pairs = [
        PreferencePair(
            id=prompt.id, status=Status.OK, prompt=prompt, a=Completion(text=KIND), b=Completion(text=RUDE), p_a=0.9,
            chosen="a", p_chosen=0.9, provenance=provenance,
        )
        for prompt in ASKED
    ]  # fmt: skip
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    model = Settings.load(environment={}).model("starter").directory()
    config = RewardConfig(
        type="reward", model=model, pairs=tmp_path / "pairs.jsonl", output=tmp_path / "reward", held_out=0.0
    )
    reward.run(config, lambda *_, **__: None)
    return config.output


async def test_vllm_serves_an_exported_reward_model_with_our_scores(
    settings: Settings, reward_model: Path, tmp_path: Path
):
    from trainer.reward.scoring import RewardModel

    ours = RewardModel.load(reward_model)
    items = [(prompt, Completion(text=text)) for prompt in ASKED[:6] for text in (KIND, RUDE)]
    expected = [(score or 0.0) + ours.members[0].mean for score in ours.log_odds(items)]
    assert max(expected) - min(expected) > 0.1
    entry = ModelEntry(kind="reward", path=str(reward_model))
    how = ("--runner", "pooling", "--convert", "classify", "--enforce-eager")
    async with (
        served("reward", entry, tmp_path / "reward.log", *how) as running,
        OpenAIChat("reward", str(running.endpoint), "reward", KEY, timeout_s=300) as chat,
    ):
        turns = [(*prompt.messages, Message(role="assistant", content=done.text)) for prompt, done in items]
        found = [(await chat.score(each)).reward for each in turns]
    print(f"\nlargest difference: {max(abs(a - b) for a, b in zip(found, expected, strict=True)):.2e}")  # noqa: T201
    assert found == pytest.approx(expected, abs=1e-2)


async def test_ppo_learns_from_completions_that_vllm_writes_under_its_adapter(
    settings: Settings, reward_model: Path, tmp_path: Path
):
    from trainer.runs import ppo

    (tmp_path / "prompts.jsonl").write_text("".join(prompt.model_dump_json() + "\n" for prompt in ASKED))
    entry = settings.model("starter").model_copy(update={"engine": "vllm", "adapters": str(tmp_path / "adapters")})
    log = tmp_path / "policy.log"
    events: list[dict[str, Any]] = []
    async with served("starter", entry, log, "--enforce-eager") as running:
        values: dict[str, Any] = {
            "type": "ppo", "model": entry.directory(), "prompts": tmp_path / "prompts.jsonl", "steps": 2,
            "output": tmp_path / "out", "rewards": [{"type": "reward_model", "path": reward_model}], "episodes": 16,
            "minibatch": 8, "micro_batch": 8, "max_tokens": 32, "learning_rate": 3e-3, "warmup": 0.0,
            "lora": {"rank": 8}, "temperature": 0.8,
            "rollouts": {
                "model": "starter", "endpoint": running.endpoint, "adapter_dir": tmp_path / "adapters",
                "api_key_env": "TEST_VLLM_KEY", "timeout_s": 300.0,
            },
        }  # fmt: skip
        config = PPOConfig.model_validate(values)
        await asyncio.to_thread(ppo.run, config, lambda event, **fields: events.append({"event": event, **fields}))
    steps = [event["metrics"] for event in events if event["event"] == "progress"]
    for metrics in steps:
        told = {name: f"{value:.4f}" for name, value in metrics.items() if name.startswith("rollout")}
        print(f"\n{told}")  # noqa: T201
    assert events[-1]["ended_by"] == "all steps"
    assert [metrics["rollout_mismatch"] < 0.05 for metrics in steps] == [True, True]
    assert "rollout_adapter" not in steps[0]  # adapters begin as nothing
    assert steps[1]["rollout_adapter"] == pytest.approx(1.0, abs=0.1)
    loaded = re.findall(r"Loaded new LoRA adapter: name '([^']+)'", log.read_text())
    assert [name.split("-")[2] for name in loaded] == ["0", "1"]
    assert re.findall(r"Removed LoRA adapter: name '([^']+)'", log.read_text()) == loaded
    assert list((tmp_path / "adapters").iterdir()) == []
    assert (tmp_path / "out" / "model.safetensors").is_file()
