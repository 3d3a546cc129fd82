"""KTO on weighted verdicts: its loss against TRL's, its weights, where verdicts come from, stopping and going on."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trl.trainer.kto_trainer import KTOTrainer

from solon.datasets import write_pairs
from solon.errors import InvalidInput
from solon.records import Completion, Message, Prompt, Status
from tests.unit.trainer.conftest import MakePair
from trainer import checkpoint
from trainer.config import KTOConfig
from trainer.data import Encoder, examples
from trainer.kto import Weights, as_dataset, kto_loss
from trainer.runs import kto
from trainer.votes import TokenVote, Vote, encoded, of_pairs, read_votes, write_votes

# TRL 1.16 still uses transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)

VOTE = TokenVote([1, 2], [3], True, 1.0)


@pytest.mark.parametrize("balance", [1.0, 4 / 3])
@pytest.mark.parametrize(("good", "bad"), [(3, 1), (1, 3), (2, 2)])
def test_good_completions_weigh_as_much_as_the_balance_says(balance: float, good: int, bad: int):
    votes = [VOTE] * good + [replace(VOTE, good=False, weight=0.5)] * bad
    weights = Weights.of(votes, balance)
    assert weights.good * good == pytest.approx(balance * weights.bad * bad * 0.5)
    assert min(weights.good, weights.bad) == 1.0


def test_one_kind_of_verdict_is_not_enough():
    with pytest.raises(InvalidInput, match="all completions are good"):
        Weights.of([VOTE], 1.0)


def test_the_loss_is_its_formula():
    ratios, good = torch.tensor([2.0, -1.0]), torch.tensor([True, False])
    found = kto_loss(ratios, good, torch.tensor(0.5), 0.2, Weights(1.5, 1.0))
    expected = [1.5 * (1 - 1 / (1 + math.exp(-0.2 * 1.5))), 1 - 1 / (1 + math.exp(-0.2 * 1.5))]
    assert found.tolist() == pytest.approx(expected)


def test_pairs_make_verdicts_that_weigh_what_their_label_says(chat_model: Path, make_pair: MakePair):
    _, tokenizer = checkpoint.load(chat_model, "model")
    rows = [make_pair("a", p_a=0.9), make_pair("b", p_a=0.2), make_pair("t", p_a=0.5, status=Status.TIE)]
    drops: Counter[str] = Counter()
    found = list(
        of_pairs(
            examples(rows, drops, soft_labels=True), Encoder(tokenizer, 256), drops, min_probability=0.5, soft=True
        )
    )
    assert [(vote.good, round(vote.weight, 6)) for vote in found] == [
        (True, 0.8),
        (False, 0.8),
        (True, 0.6),
        (False, 0.6),
    ]
    assert drops == {"not_sure_enough": 1}


def test_verdicts_survive_a_file_and_what_cannot_be_read_is_counted(chat_model: Path, tmp_path: Path):
    _, tokenizer = checkpoint.load(chat_model, "model")
    asked = Prompt(id="p", messages=(Message(role="user", content="Why?"),))
    votes = [
        Vote(prompt=asked, completion=Completion(text="Because.", finish_reason="stop"), good=True, weight=2.0),
        Vote(prompt=asked, completion=Completion(text="x" * 300), good=False),
    ]
    write_votes(tmp_path / "v.jsonl", votes)
    drops: Counter[str] = Counter()
    (kept,) = encoded(read_votes(tmp_path / "v.jsonl"), Encoder(tokenizer, 256), drops)
    assert (kept.good, kept.weight, drops) == (True, 2.0, {"too_long": 1})
    assert kept.completion_ids[-1] == tokenizer.eos_token_id
    (tmp_path / "v.jsonl").write_text("{}\n")
    with pytest.raises(InvalidInput, match="no vote"):
        list(read_votes(tmp_path / "v.jsonl"))


def test_the_kl_is_estimated_on_completions_of_other_prompts():
    votes = [TokenVote([i // 2], [10 + i], i % 2 == 0, 1.0) for i in range(12)]
    dataset = as_dataset(votes, seed=0)
    for row in dataset:
        (other,) = row["KL_completion_ids"]  # pyright: ignore[reportIndexIssue, reportCallIssue, reportArgumentType]
        assert (other - 10) // 2 != row["prompt_ids"][0]  # pyright: ignore
    with pytest.raises(InvalidInput, match="one prompt"):
        as_dataset(votes[:2], seed=0)


def _pairs(make_pair: MakePair, path: Path) -> Path:
    rows = [make_pair(f"p{i}", a=f"yes {i}", b="no " * (1 + i % 3), prompt=f"Is it {i}?", p_a=0.9) for i in range(8)]
    write_pairs(path, rows)
    return path


def _config(model: Path, folder: Path, **settings: Any) -> KTOConfig:
    values: dict[str, Any] = {"batch_size": 4, "learning_rate": 1e-2, "epochs": 2.0, "state": None}
    values |= {"type": "kto", "model": model, "pairs": folder / "p.jsonl", "output": folder / "out"}
    values |= {"precision": "float32"}
    return KTOConfig.model_validate(values | settings)


def _steps(config: KTOConfig) -> list[dict[str, float]]:
    events: list[dict[str, Any]] = []
    kto.run(config, lambda event, **fields: events.append({"event": event, **fields}))
    return [event["metrics"] for event in events if event["event"] == "progress"]


@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_the_trainer_s_loss_is_trl_s_where_all_weigh_alike(
    loss_type: str, chat_model: Path, make_pair: MakePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _pairs(make_pair, tmp_path / "p.jsonl")
    seen: list[tuple[float, float]] = []
    ours = kto.kto.WeightedKTOTrainer.compute_loss

    def compared(self: Any, model: Any, inputs: dict[str, Tensor], *rest: Any, **named: Any) -> Any:
        loss = ours(self, model, dict(inputs), *rest, **named)
        inputs.pop("weight")
        with torch.no_grad():
            seen.append((loss.item(), KTOTrainer.compute_loss(self, model, inputs).item()))
        return loss

    monkeypatch.setattr(kto.kto.WeightedKTOTrainer, "compute_loss", compared)
    _steps(_config(chat_model, tmp_path, soft_labels=False, loss_type=loss_type))
    assert len(seen) == 8
    for own, theirs in seen:
        assert own == pytest.approx(theirs, abs=1e-6)
    assert abs(seen[-1][0] - seen[0][0]) > 1e-4


def test_it_learns_which_completions_are_good(chat_model: Path, make_pair: MakePair, tmp_path: Path):
    _pairs(make_pair, tmp_path / "p.jsonl")
    steps = _steps(_config(chat_model, tmp_path, epochs=8.0, batch_size=16, references=tmp_path / "references"))
    assert steps[0]["reward_margin"] == pytest.approx(0.0, abs=1e-4)
    assert steps[-1]["reward_margin"] > 0.2
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert {"kl", "logp_good", "logp_bad", "reward_good", "reward_bad"} <= steps[-1].keys()
    assert len(list((tmp_path / "references").iterdir())) == 1


def test_a_killed_run_that_goes_on_ends_in_the_same_bytes(chat_model: Path, make_pair: MakePair, tmp_path: Path):
    _pairs(make_pair, tmp_path / "p.jsonl")
    _steps(_config(chat_model, tmp_path, output=tmp_path / "whole"))

    class Stop(Exception):
        """The machine is gone."""

    def killed(event: str, **fields: Any) -> None:
        if fields.get("step") == 5:
            raise Stop

    config = _config(chat_model, tmp_path, state=tmp_path / "state", save_every=2)
    with pytest.raises(Stop):
        kto.run(config, killed)
    _steps(config)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
