"""PPO runs on models of a few thousand parameters."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.errors import InvalidInput, TrainingFailed
from solon.records import Message, Prompt
from tests.unit.trainer.trainings import configurations, steps, trained, written
from trainer import bases, checkpoint
from trainer.config import PPOConfig
from trainer.data import Encoder, Sample, write_samples
from trainer.language_model import LanguageModel
from trainer.ppo.constraint import Lagrangian
from trainer.ppo.kl import KLPrice
from trainer.ppo.loop import prepared
from trainer.ppo.networks import Batch, Networks
from trainer.ppo.prices import Prices
from trainer.ppo.rollout import Experience, Prompts, Rollouts
from trainer.ppo.update import Update, learning_rate
from trainer.reward.scoring import RewardModel, classifier, rewards_of
from trainer.rewards.mix import FAILED, Item
from trainer.runs import groups, ppo

# TRL 1.16 still uses transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)

TIMES = {"seconds_sample", "seconds_score", "seconds_update"}


class Even:
    """Rewards every other character."""

    name, weight = "even", 1.0

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """The share of characters with an even code."""
        return [sum(ord(c) % 2 == 0 for c in done.text) / max(1, len(done.text)) for _, done in items]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows = [Prompt(id=f"{i}", messages=(Message(role="user", content=f"{'why ' * (i % 3)}{i}?"),)) for i in range(6)]
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def reward_model(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chat model under a fresh head, with a mean and a deviation as if it had been trained."""
    path = tmp_path_factory.mktemp("reward") / "rm"
    model = classifier(chat_model, 3, "model")
    checkpoint.save_classifier(model, checkpoint.load_tokenizer(chat_model, "model"), chat_model, path)
    about = {"members": [{"path": ".", "mean": 0.01, "deviation": 0.05}]}
    (path / "reward.json").write_text(json.dumps(about))
    return path


def _config(model: Path, prompts: Path, rewards: Path | None, out: Path, **settings: Any) -> PPOConfig:
    values: dict[str, Any] = {
        "steps": 2, "episodes": 8, "minibatch": 4, "micro_batch": 4, "max_tokens": 8, "learning_rate": 1e-2,
        "max_length": 64, "precision": "float32",
    }  # fmt: skip
    source = {"type": "reward_model", "path": rewards or Path("unused")}
    return PPOConfig.model_validate(
        {"type": "ppo", "model": model, "prompts": prompts, "rewards": [source], "output": out, **values, **settings}
    )


def _prices(config: PPOConfig, beta: float) -> Prices:
    """The prices of a run, with this one for a nat."""
    return Prices(KLPrice(config.kl, beta), Lagrangian(config.constraint))


class Parts:
    """The parts of a run, with scripted rewards."""

    def __init__(self, config: PPOConfig, source: Any = None) -> None:
        network, tokenizer = checkpoint.load(config.model, "model")
        self.config, self.networks = config, Networks(network, config)
        encoder = Encoder(tokenizer, config.max_length)
        rows = [Prompt.model_validate_json(line) for line in config.prompts.read_text().splitlines()]
        asked = [(row, encoder.prompt([m.model_dump() for m in row.messages])) for row in rows]
        model = LanguageModel.around(network, tokenizer, "tiny")
        self.rollouts = Rollouts(model, self.networks, [source or Even()], Prompts(asked, config.seed), config)
        self.update = Update(self.networks, config)

    def weights(self) -> torch.Tensor:
        """All trained weights in one vector."""
        named = self.networks.trained()
        return torch.cat([p.detach().flatten() for part in named.values() for _, p in part])


@pytest.fixture
def parts(chat_model: Path, prompts: Path, tmp_path: Path) -> Any:
    def make(source: Any = None, **settings: Any) -> Parts:
        return Parts(_config(chat_model, prompts, None, tmp_path, **{"critic": "policy", **settings}), source)

    return make


def test_the_policy_starts_at_its_reference_and_the_first_ratio_is_one(parts: Any):
    run = parts(temperature=0.7)
    experience = run.rollouts.collect(0)
    assert torch.equal(experience.logps, experience.ref_logps)
    lesson, metrics = prepared(experience, _prices(run.config, 0.1), run.config)
    assert metrics["kl"] == metrics["kl_k3"] == 0.0
    assert run.update.learn(lesson, 0)["first_ratio_off"] < 1e-4


def test_log_probabilities_are_those_of_the_distribution_that_was_sampled_from(parts: Any):
    run = parts(temperature=0.7, episodes=4)
    experience: Experience = run.rollouts.collect(0)
    for row, (prompt, response) in enumerate(experience.rows):
        logits = run.networks.actor(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1] / 0.7
        expected = logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0]
        assert torch.allclose(experience.logps[row, : len(response)], expected, atol=1e-5)
        assert int(experience.mask[row].sum()) == len(response)


def test_gradients_do_not_depend_on_the_size_of_the_micro_batch(parts: Any):
    ends: list[torch.Tensor] = []
    for size in (1, 3, 8):
        run = parts(micro_batch=size, minibatch=8, epochs=1, entropy_weight=0.01)
        lesson, _ = prepared(run.rollouts.collect(0), _prices(run.config, 0.1), run.config)
        run.update.learn(lesson, 0)
        ends.append(run.weights())
    assert torch.allclose(ends[0], ends[1], atol=2e-5)
    assert torch.allclose(ends[0], ends[2], atol=2e-5)


def test_gradient_checkpointing_changes_no_gradient(parts: Any):
    ends: list[torch.Tensor] = []
    for each in (False, True):
        run = parts(gradient_checkpointing=each, epochs=1)
        lesson, _ = prepared(run.rollouts.collect(0), _prices(run.config, 0.1), run.config)
        run.update.learn(lesson, 0)
        ends.append(run.weights())
    assert torch.allclose(ends[0], ends[1], atol=1e-6)


@pytest.mark.parametrize("critic", ["policy", "head"])
def test_training_earns_more_of_the_reward(critic: str, parts: Any):
    free: dict[str, Any] = {"kl": {"beta": 0.0}, "missing_eos_penalty": 0.0}
    run = parts(critic=critic, episodes=32, minibatch=16, micro_batch=16, steps=8, max_tokens=8, **free)
    means: list[float] = []
    for step in range(8):
        lesson, metrics = prepared(run.rollouts.collect(step), _prices(run.config, 0.0), run.config)
        run.update.learn(lesson, step)
        means.append(metrics["reward"])
    assert sum(means[-3:]) / 3 > sum(means[:3]) / 3 + 0.08


def test_a_high_price_of_kl_holds_the_policy_at_its_reference(parts: Any):
    distances: list[float] = []
    for beta in (0.0, 20.0):
        run = parts(episodes=16, minibatch=16, micro_batch=16, steps=6, max_tokens=8)
        metrics: dict[str, float] = {}
        for step in range(6):
            lesson, metrics = prepared(run.rollouts.collect(step), _prices(run.config, beta), run.config)
            run.update.learn(lesson, step)
        distances.append(metrics["kl_k3"])
    assert distances[1] < 0.8 * distances[0]


def test_a_critic_that_begins_as_the_reward_model_says_its_reward_at_the_end(
    chat_model: Path, prompts: Path, reward_model: Path, tmp_path: Path
):
    config = _config(chat_model, prompts, reward_model, tmp_path)
    network, _ = checkpoint.load(chat_model, "model")
    networks = Networks(network, config)
    member = RewardModel.load(reward_model).members[0]
    prompt, response = [5, 9, 30], [7, 8, 40]
    values = networks.values(Batch.of([(prompt, response)]))
    for t in range(3):
        raw = rewards_of(member.model, [prompt + response[:t]]).item()
        assert values[0, t].item() == pytest.approx((raw - member.mean) / member.deviation, abs=1e-4)


def test_batches_come_in_few_sizes_and_never_over_the_context(parts: Any):
    rows = [([1] * 5, [2, 3, 4]), ([6] * 3, [7])]
    batch = Batch.of(rows)
    assert (batch.ids.shape, batch.before.shape) == ((2, 16), (16,))
    assert batch.chosen[:4].tolist() == [2, 3, 4, 7]
    assert [Batch.of(rows, context).ids.shape[1] for context in (8, 10, 16, 2048)] == [8, 10, 16, 16]
    networks: Networks = parts().networks
    for wide, narrow in zip(networks.plain_logps(batch), networks.plain_logps(Batch.of(rows, 8)), strict=True):
        torch.testing.assert_close(wide, narrow, atol=1e-5, rtol=0)


def test_a_warm_up_of_the_critic_leaves_the_policy_alone(parts: Any):
    run = parts(critic_warmup=1)
    before = {name: p.detach().clone() for name, p in run.networks.actor.named_parameters()}
    lesson, _ = prepared(run.rollouts.collect(0), _prices(run.config, 0.1), run.config)
    values = run.networks.values(Batch.of(lesson.experience.rows))
    run.update.learn(lesson, 0)
    assert all(torch.equal(before[name], p) for name, p in run.networks.actor.named_parameters())
    assert not torch.allclose(values, run.networks.values(Batch.of(lesson.experience.rows)))


def test_the_price_of_kl_waits_for_the_policy(chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in (groups, ppo):  # put back what `trained` replaces
        monkeypatch.setattr(module, "opened", module.opened)
    config = configurations(tmp_path, chat_model)["ppo"] | {"critic_warmup": 2, "steps": 3}
    config |= {"kl": {"beta": 0.2, "target_kl_per_sequence": 4.0, "horizon": 6}}
    prices = [step["beta"] for step in steps(trained(written(tmp_path, "ppo", config)))]
    assert prices == [0.2, 0.2, 0.2]  # the first that follows a move of the policy is that of a fourth step


def test_a_step_ends_early_where_the_policy_has_moved_too_far(parts: Any):
    run = parts(kl={"update_kl_per_sequence": 1e-4}, epochs=4, minibatch=8)
    lesson, _ = prepared(run.rollouts.collect(0), _prices(run.config, 0.1), run.config)
    metrics = run.update.learn(lesson, 0)
    assert metrics["passes_cut"] == 1.0
    assert metrics["update_kl"] <= 1e-4


class Moody:
    """Fails on every other completion, and does not apply to some."""

    name, weight = "moody", 1.0

    def __init__(self, every: int) -> None:
        self._every = every

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """FAILED for each `every`th item."""
        return [FAILED if i % self._every == 0 else 1.0 for i in range(len(items))]


def test_an_episode_without_a_reward_is_left_out_and_too_many_of_them_end_the_run(parts: Any):
    experience = parts(Moody(8)).rollouts.collect(0)
    assert len(experience) == 7
    assert experience.metrics["failed"] == pytest.approx(1 / 8)
    with pytest.raises(TrainingFailed, match="4 of 8"):
        parts(Moody(2)).rollouts.collect(0)


def test_a_response_that_did_not_end_is_punished_and_scores_are_clipped(parts: Any):
    run = parts(missing_eos_penalty=2.0, clip_score=1.0)
    experience = run.rollouts.collect(0)
    for done in (True, False):
        finished = torch.full_like(experience.finished, done)
        changed = Experience(**experience.as_state() | {"finished": finished, "scores": experience.scores * 0 + 9})
        _, metrics = prepared(changed, _prices(run.config, 0.0), run.config)
        assert metrics["objective"] == pytest.approx(1.0 if done else -1.0)


def test_each_prompt_is_asked_once_a_pass_in_an_order_of_its_own():
    rows: list[Any] = [(f"p{i}", [i]) for i in range(5)]
    prompts = Prompts(rows, seed=3)
    first, second = prompts.take(0, 5), prompts.take(1, 5)
    assert sorted(first) == sorted(second) == rows
    assert first != second
    assert [*prompts.take(0, 2), *prompts.take(1, 2), *prompts.take(2, 2)][:5] == first


def test_the_learning_rate_rises_and_falls_as_the_schedule_says(chat_model: Path, prompts: Path, tmp_path: Path):
    config = _config(chat_model, prompts, None, tmp_path, steps=20, warmup=0.1)
    rates = [learning_rate(config, step) for step in range(20)]
    assert rates[0] < rates[1] < rates[2] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    constant = config.model_copy(update={"schedule": "constant"})
    assert learning_rate(constant, 19) == 1.0


def _run(config: PPOConfig, stop_at: int | None = None) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []

    def emit(event: str, **fields: Any) -> None:
        events.append({"event": event, **fields})
        if event == "progress" and fields["step"] == stop_at:
            raise KeyboardInterrupt

    ppo.run(config, emit)
    return events


def _steps(events: list[dict[str, Any]]) -> list[dict[str, float]]:
    return [
        {name: value for name, value in event["metrics"].items() if name not in TIMES}
        for event in events
        if event["event"] == "progress"
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"kl": {"target_kl_per_sequence": 1.0, "horizon": 20}},
        {"critic": "head"},
        {"costs": [], "constraint": {"learning_rate": 1.0, "window": 12}},
        {"lora": {"rank": 2}, "critic": "policy"},
    ],
)
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    settings: dict[str, Any], chat_model: Path, prompts: Path, reward_model: Path, tmp_path: Path
):
    settings = {"steps": 4, **settings}
    if "costs" in settings:
        settings["costs"] = [{"type": "reward_model", "path": reward_model, "name": "cost", "weight": -1.0}]
    whole = _run(_config(chat_model, prompts, reward_model, tmp_path / "whole", **settings))
    again = _config(
        chat_model, prompts, reward_model, tmp_path / "again", **settings, state=tmp_path / "state", save_every=2
    )
    with pytest.raises(KeyboardInterrupt):
        _run(again, stop_at=3)
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"work.json", "step-2", "experience-2.pt"}
    resumed = _run(again)
    assert _steps(resumed) == _steps(whole)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again")]
    assert weights[0] == weights[1]
    assert weights[0] != (chat_model / "model.safetensors").read_bytes()
    assert not (tmp_path / "state").exists()


def test_adapters_begin_as_nothing_and_are_merged_into_what_is_published(
    chat_model: Path, prompts: Path, reward_model: Path, tmp_path: Path
):
    settings: dict[str, Any] = {"lora": {"rank": 2}, "critic": "policy"}
    first = _steps(_run(_config(chat_model, prompts, reward_model, tmp_path / "out", **settings)))[0]
    assert first["kl"] == 0.0
    base, trained = (checkpoint.load(path, "model")[0].state_dict() for path in (chat_model, tmp_path / "out"))
    assert base.keys() == trained.keys()
    adapter = settings | {"lora": {"rank": 2, "merge": False}}
    _run(_config(chat_model, prompts, reward_model, tmp_path / "adapter", **adapter))
    assert (tmp_path / "adapter/adapter_model.safetensors").is_file()
    assert not (tmp_path / "adapter/model.safetensors").exists()
    assert bases.base_of(tmp_path / "adapter") == chat_model.resolve()
    assert checkpoint.load(tmp_path / "adapter", "model")[0].state_dict().keys() == base.keys()


def test_a_run_ends_where_it_is_too_far_from_the_reference(
    chat_model: Path, prompts: Path, reward_model: Path, tmp_path: Path
):
    settings: dict[str, Any] = {"steps": 8, "kl": {"beta": 0.0, "stop_at_kl_per_sequence": 0.01}}
    events = _run(_config(chat_model, prompts, reward_model, tmp_path / "out", **settings))
    assert events[-1]["ended_by"] == "kl"
    assert len(_steps(events)) < 8


def test_text_to_stay_good_at_becomes_likelier(chat_model: Path, prompts: Path, reward_model: Path, tmp_path: Path):
    asked = Prompt(id="x", messages=(Message(role="user", content="Hm?"),))
    write_samples(tmp_path / "ptx.jsonl", [Sample(prompt=asked, completion={"text": "zzz", "finish_reason": "stop"})])  # pyright: ignore[reportArgumentType]
    rates: list[float] = []
    for weight in (0.0, 5.0):
        out = tmp_path / f"out-{weight}"
        settings: dict[str, Any] = {"ptx": tmp_path / "ptx.jsonl", "ptx_weight": weight}
        _run(_config(chat_model, prompts, reward_model, out, **settings))
        model, tokenizer = checkpoint.load(out, "model")
        encoded = Encoder(tokenizer, 64).sample(Sample(prompt=asked, completion={"text": "zzz"}))  # pyright: ignore[reportArgumentType]
        assert not isinstance(encoded, str)
        prompt, response = encoded
        logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        rates.append(logits.gather(1, torch.tensor(response)[:, None]).sum().item())
    assert rates[1] > rates[0] + 1.0


def test_checkpoints_of_other_work_are_not_taken_up(
    chat_model: Path, prompts: Path, reward_model: Path, tmp_path: Path
):
    state: dict[str, Any] = {"state": tmp_path / "state", "save_every": 1}
    with pytest.raises(KeyboardInterrupt):
        _run(_config(chat_model, prompts, reward_model, tmp_path / "out", **state), stop_at=2)
    assert json.loads((tmp_path / "state/work.json").read_text())
    steps = _steps(_run(_config(chat_model, prompts, reward_model, tmp_path / "out", **state, seed=5)))
    fresh = _steps(_run(_config(chat_model, prompts, reward_model, tmp_path / "fresh", seed=5)))
    assert steps == fresh


def test_prompts_without_room_for_a_response_are_refused(chat_model: Path, prompts: Path, tmp_path: Path):
    with pytest.raises(InvalidInput) as caught:
        _run(_config(chat_model, prompts, None, tmp_path / "out", max_length=12))
    assert caught.value.field == "prompts"
