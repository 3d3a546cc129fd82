"""PPO whose completions a server writes, which is given the adapter at each step."""

import json
import socket
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from solon.endpoint import RetryPolicy
from solon.errors import ModelUnavailable, TrainingFailed
from solon.records import Message, Prompt
from solon.seeds import counter_seed
from tests.unit.trainer.fake_vllm import FakeVLLM, running
from trainer import checkpoint
from trainer.config import PPOConfig
from trainer.data import Encoder
from trainer.language_model import LanguageModel
from trainer.ppo import served
from trainer.ppo.loop import prepared
from trainer.ppo.mismatch import mismatch, require_likeness
from trainer.ppo.networks import Networks
from trainer.ppo.prices import Prices
from trainer.ppo.rollout import Prompts, Rollouts
from trainer.ppo.served import Served
from trainer.ppo.update import Update
from trainer.rewards.mix import Item
from trainer.runs import ppo

# peft and TRL still use transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)


class Even:
    """Rewards every other character."""

    name, weight = "even", 1.0

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """The share of characters with an even code."""
        return [sum(ord(c) % 2 == 0 for c in done.text) / max(1, len(done.text)) for _, done in items]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    rows = [Prompt(id=f"{i}", messages=(Message(role="user", content=f"{'why ' * (i % 3)}{i}?"),)) for i in range(6)]
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    return path


@pytest.fixture
def fake(chat_model: Path) -> FakeVLLM:
    return FakeVLLM(chat_model)


@pytest.fixture
def endpoint(fake: FakeVLLM) -> Generator[str]:
    with running(fake) as url:
        yield url


@pytest.fixture
def config(chat_model: Path, prompts: Path, tmp_path: Path, endpoint: str) -> Any:
    def make(out: str = "out", **settings: Any) -> PPOConfig:
        values: dict[str, Any] = {
            "type": "ppo", "model": chat_model, "prompts": prompts, "output": tmp_path / out, "steps": 3, "episodes": 8,
            "minibatch": 4, "micro_batch": 4, "max_tokens": 8, "max_length": 64, "learning_rate": 1e-2,
            "critic": "policy", "lora": {"rank": 2}, "precision": "float32",
            "rewards": [{"type": "service", "url": "http://localhost:1", "name": "even"}],
            "rollouts": {"model": "fake", "endpoint": endpoint, "adapter_dir": tmp_path / "adapters"},
        }  # fmt: skip
        return PPOConfig.model_validate(values | settings)

    return make


@pytest.fixture
def even(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are rewarded by `Even`."""
    monkeypatch.setattr(ppo, "opened", lambda sources, _field="rewards": [Even() for _ in sources])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for."""
    monkeypatch.setattr(served, "RetryPolicy", partial(RetryPolicy, budget_s=0.1))


class Parts:
    """The parts of a run that samples from a server."""

    def __init__(self, config: PPOConfig) -> None:
        network, tokenizer = checkpoint.load(config.model, "model")
        assert config.rollouts is not None
        self.config, self.networks = config, Networks(network, config)
        encoder = Encoder(tokenizer, config.max_length)
        rows = [Prompt.model_validate_json(line) for line in config.prompts.read_text().splitlines()]
        asked = [(row, encoder.prompt([m.model_dump() for m in row.messages])) for row in rows]
        model = LanguageModel.around(network, tokenizer, "tiny")
        self.served = Served(config.rollouts, model, self.networks.save_adapter, config.output)
        prompts = Prompts(asked, config.seed)
        self.rollouts = Rollouts(model, self.networks, [Even()], prompts, config, served=self.served)
        self.update, self.prices = Update(self.networks, config), Prices.start(config)

    def adapter(self, folder: Path) -> dict[str, torch.Tensor]:
        """The adapter as it is now."""
        self.networks.save_adapter(folder)
        return load_file(folder / "adapter_model.safetensors")


def _run(config: PPOConfig, stop_at: int | None = None) -> list[dict[str, float]]:
    """Metrics of the steps, but for times."""
    steps: list[dict[str, float]] = []

    def emit(event: str, **fields: Any) -> None:
        if event == "progress":
            steps.append({name: v for name, v in fields["metrics"].items() if not name.startswith("seconds")})
            if fields["step"] == stop_at:
                raise KeyboardInterrupt

    ppo.run(config, emit)
    return steps


def test_each_step_learns_the_very_tokens_that_the_server_sampled_under_its_adapter(
    config: Any, fake: FakeVLLM, tmp_path: Path
):
    run = Parts(config())
    with run.served:
        name = ""
        for step in range(3):
            before = run.adapter(tmp_path / f"at-{step}")
            experience = run.rollouts.collect(step)
            (name,) = fake.adapters
            loaded = fake.loaded[name]
            assert loaded.keys() == before.keys()
            assert all(torch.equal(loaded[key], before[key]) for key in before)
            written = {(prompt, done.tokens) for used, prompt, done in fake.answered[-8:] if used == name}
            assert written == {(tuple(prompt), tuple(response)) for prompt, response in experience.rows}
            lesson, metrics = prepared(experience, run.prices, run.config)
            assert run.update.learn(lesson, step)["first_ratio_off"] < 1e-4
            assert metrics["rollout_mismatch"] < 0.02
            if step:
                assert metrics["rollout_adapter"] == pytest.approx(1.0, abs=0.2)
        assert [path.name for path in (tmp_path / "adapters").iterdir()] == [name]
    assert len(fake.loaded) == 3
    assert fake.adapters == {}
    assert list((tmp_path / "adapters").iterdir()) == []


def test_each_episode_has_a_seed_of_its_own_and_nothing_is_left_to_the_servers_defaults(config: Any, fake: FakeVLLM):
    run = Parts(config(seed=5, temperature=0.7))
    with run.served:
        run.rollouts.collect(2)
    step = counter_seed(5, "rollout", 2)
    assert sorted(body["seed"] for body in fake.bodies) == sorted(counter_seed(step, i) for i in range(8))
    set_by_us = {"temperature": 0.7, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "return_token_ids": True}
    assert all(body | set_by_us == body for body in fake.bodies)
    assert all(body["stop_token_ids"] == sorted(fake.base.end_tokens) for body in fake.bodies)


def test_at_another_temperature_the_servers_plain_probabilities_are_compared_with_plain_ones(config: Any):
    run = Parts(config(temperature=0.5))
    with run.served:
        experience = run.rollouts.collect(0)
    assert experience.metrics["rollout_mismatch"] < 0.02


@pytest.mark.usefixtures("even")
def test_a_server_that_ignores_the_adapter_ends_the_run(config: Any, fake: FakeVLLM, tmp_path: Path):
    fake.ignores_adapters = True
    with pytest.raises(TrainingFailed, match=r"'fake' took the adapter and does not use it: 0%"):
        _run(config())
    assert len(fake.loaded) == 2  # at the first step there is nothing to ignore
    assert fake.adapters == {}
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("even")
def test_a_server_of_another_model_ends_the_run_at_its_first_step(config: Any, fake: FakeVLLM):
    with torch.no_grad():
        for parameter in fake.base.network.parameters():
            parameter.mul_(1.5)
    with pytest.raises(TrainingFailed, match="samples from another policy") as caught:
        _run(config())
    assert "max_mismatch" in caught.value.remedy


@pytest.mark.usefixtures("even")
def test_a_run_that_was_killed_loads_the_adapter_of_its_checkpoint_and_ends_in_the_same_bytes(
    config: Any, fake: FakeVLLM, tmp_path: Path
):
    whole = _run(config("whole", steps=4))
    of_whole = list(fake.loaded.values())
    again = config("again", steps=4, state=tmp_path / "state", save_every=2)
    with pytest.raises(KeyboardInterrupt):
        _run(again, stop_at=3)
    fake.loaded.clear()
    assert _run(again) == whole
    # The third step's completions were kept, so only the fourth asks the server again.
    (loaded,) = fake.loaded.values()
    assert all(torch.equal(loaded[key], of_whole[3][key]) for key in loaded)
    ends = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again")]
    assert ends[0] == ends[1]


@pytest.mark.usefixtures("even", "hasty")
def test_a_run_whose_server_went_away_goes_on_with_another_one(
    chat_model: Path, config: Any, fake: FakeVLLM, tmp_path: Path
):
    whole = _run(config("whole", steps=3))
    values: dict[str, Any] = {"steps": 3, "state": tmp_path / "state", "save_every": 1}

    def emit(event: str, **fields: Any) -> None:
        if event == "progress" and fields["step"] == 2:
            fake.refuses = [503] * 99

    with pytest.raises(ModelUnavailable, match=r"'fake' (cannot be reached|is overloaded)"):
        ppo.run(config("again", **values), emit)
    other = FakeVLLM(chat_model)
    with running(other) as url:
        server = {"model": "fake", "endpoint": url, "adapter_dir": tmp_path / "other"}
        assert _run(config("again", **values, rollouts=server)) == whole
    assert len(other.loaded) == 1
    ends = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again")]
    assert ends[0] == ends[1]


@pytest.mark.usefixtures("even")
def test_a_run_takes_back_what_an_earlier_try_left_with_the_server(config: Any, fake: FakeVLLM, tmp_path: Path):
    left = Parts(config())
    left.served.renew(0)
    assert len(fake.adapters) == 1
    others = tmp_path / "adapters" / "somebody-elses"
    others.mkdir()
    _run(config(steps=1))
    assert fake.adapters == {}
    assert list((tmp_path / "adapters").iterdir()) == [others]


@pytest.mark.usefixtures("even")
def test_a_request_that_fails_once_is_made_again(config: Any, fake: FakeVLLM):
    fake.refuses = [500, 503]
    assert len(_run(config(steps=1))) == 1
    assert len(fake.answered) == 8


@pytest.mark.usefixtures("even", "hasty")
def test_a_server_that_is_not_there_is_a_clear_error(config: Any, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    gone = {"model": "fake", "endpoint": url, "adapter_dir": tmp_path / "adapters"}
    with pytest.raises(ModelUnavailable, match="model 'fake' cannot be reached"):
        _run(config(rollouts=gone))
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("even")
def test_a_server_that_takes_no_adapters_is_a_clear_error(chat_model: Path, config: Any, tmp_path: Path):
    fake = FakeVLLM(chat_model)
    fake.takes_adapters = False
    with running(fake) as url, pytest.raises(ModelUnavailable, match="HTTP 404") as caught:
        _run(config(rollouts={"model": "fake", "endpoint": url, "adapter_dir": tmp_path / "adapters"}))
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in caught.value.remedy


@pytest.mark.usefixtures("even")
def test_a_server_on_this_machine_is_not_asked_where_that_is_forbidden(
    config: Any, fake: FakeVLLM, endpoint: str, tmp_path: Path
):
    server = {"model": "fake", "endpoint": endpoint, "adapter_dir": tmp_path / "adapters", "allow_private": False}
    with pytest.raises(ModelUnavailable, match="an address that may not be called"):
        _run(config(rollouts=server))
    assert fake.loaded == {}


@pytest.mark.usefixtures("even")
def test_a_key_that_is_not_set_is_named(config: Any, endpoint: str, tmp_path: Path):
    server = {"model": "fake", "endpoint": endpoint, "adapter_dir": tmp_path / "adapters", "api_key_env": "TEST_NO_KEY"}
    with pytest.raises(ModelUnavailable, match=r"\$TEST_NO_KEY is not set"):
        _run(config(rollouts=server))


def test_a_server_that_lost_the_adapter_is_a_clear_error(config: Any, fake: FakeVLLM):
    run = Parts(config())
    with run.served:
        run.served.renew(0)
        fake.adapters.clear()  # as after a restart
        with pytest.raises(ModelUnavailable, match="does not exist"):
            run.served.sample([run.rollouts._request(0, 0, [5, 6])])


@pytest.mark.usefixtures("even")
def test_where_the_server_is_stays_out_of_what_is_published(config: Any, endpoint: str, tmp_path: Path):
    _run(config(steps=1))
    about = (tmp_path / "out" / "provenance.json").read_text()
    assert json.loads(about)["config"]["rollouts"] == {"model": "fake"}
    assert endpoint not in about


def test_rollouts_need_adapters(config: Any):
    with pytest.raises(ValidationError, match="needs `lora`"):
        config(lora=None)


def test_the_slope_tells_how_much_of_the_adapter_a_server_uses():
    generator = torch.Generator().manual_seed(0)
    reference = -torch.rand(128, 20, generator=generator)
    own = reference + 0.01 * torch.randn(128, 20, generator=generator)
    mask = torch.rand(128, 20, generator=generator) < 0.8
    rounding = 0.02 * torch.randn(128, 20, generator=generator)
    for part in (0.0, 0.5, 1.0):
        served = torch.where(mask, reference + part * (own - reference) + rounding, 99.0)
        found = mismatch(served, own, reference, mask)
        assert found["rollout_adapter"] == pytest.approx(part, abs=4 * found["rollout_adapter_error"])
        assert found["rollout_adapter_error"] < 0.06
        if part == 0.0:
            with pytest.raises(TrainingFailed, match="does not use it"):
                require_likeness(found, 0.2, "m")
        else:
            require_likeness(found, 0.2, "m")


def test_a_slope_that_rounding_hides_ends_no_run():
    unsure = {"rollout_mismatch": 0.02, "rollout_adapter": -0.9, "rollout_adapter_error": 0.3}
    require_likeness(unsure, 0.2, "m")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"choices": []}, "something else than one completion in tokens: see choices"),
        ({"token_ids": None}, "see choices.0.token_ids"),
        ({"prompt_token_ids": [1, 2]}, "of another prompt"),
        ({"token_ids": [7, 8]}, "no log-probability for each token"),
        ({"token_ids": [100_000]}, "tokens that the policy does not have"),
        ({"token_ids": [7]}, "stops after 1 tokens, without an end token"),
    ],
)
def test_an_answer_that_cannot_be_learnt_from_is_refused_with_the_reason(
    config: Any, fake: FakeVLLM, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], says: str
):
    choice = {"token_ids": [7], "prompt_token_ids": [5, 6], "logprobs": {"token_logprobs": [-1.0]}}
    monkeypatch.setattr(fake, "_answer", lambda *_: {"choices": [choice | change]} | change)
    run = Parts(config())
    with run.served:
        run.served.renew(0)
        with pytest.raises(TrainingFailed, match=says):
            run.served.sample([run.rollouts._request(0, 0, [5, 6])])


def test_nothing_is_said_of_an_adapter_that_changes_nothing():
    same, mask = torch.full((2, 3), -1.0), torch.ones(2, 3, dtype=torch.bool)
    found = mismatch(same + 0.01, same, same, mask)
    assert found == {"rollout_mismatch": pytest.approx(0.01)}
    require_likeness(found, 0.2, "m")
