"""The soft DPO loss and its trainer, against TRL's own."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trl.trainer.dpo_trainer import DPOTrainer

from solon.errors import InvalidInput, TrainingFailed
from tests.unit.trainer.conftest import MakePair
from trainer import checkpoint
from trainer.batches import LengthGroups
from trainer.config import DPOConfig
from trainer.data import Encoder, Example, TokenPair
from trainer.dpo import make_trainer, train
from trainer.preference import soft_dpo_loss

# TRL 1.16 still uses transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)


@pytest.fixture
def pairs(chat_model: Path, make_pair: MakePair) -> list[TokenPair]:
    _, tokenizer = checkpoint.load(chat_model, "model")
    encoder = Encoder(tokenizer, 256)
    rows = [make_pair(f"p{i}", a="yes " * (1 + i % 5), b="no " * (1 + i % 3), prompt=f"Is it {i}?") for i in range(12)]
    examples = [Example([m.model_dump() for m in row.prompt.messages], row.a, row.b, 1.0) for row in rows]
    return [tokens for example in examples if isinstance(tokens := encoder.pair(example), TokenPair)]


def _trainer(model: Path, pairs: Sequence[TokenPair], out: Path, **settings: Any) -> Any:
    values: dict[str, Any] = {"batch_size": 4, "epochs": 1.0, "learning_rate": 1e-3} | settings
    config = DPOConfig(type="dpo", model=model, pairs=out / "unused.jsonl", output=out, precision="float32", **values)
    return make_trainer(config, *checkpoint.load(model, "model"), pairs, out, lambda *_: None)


def _batch(trainer: Any) -> dict[str, Tensor]:
    batch: dict[str, Tensor] = next(iter(trainer.get_train_dataloader()))
    return batch


def _disturb(trainer: Any) -> None:
    """Move the policy away from its reference, so that margins are not zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)


def test_a_certain_label_gives_trl_s_loss(chat_model: Path, pairs: list[TokenPair], tmp_path: Path):
    trainer = _trainer(chat_model, pairs, tmp_path)
    _disturb(trainer)
    batch = _batch(trainer)
    ours = trainer.compute_loss(trainer.model, dict(batch))
    theirs = DPOTrainer.compute_loss(trainer, trainer.model, {k: v for k, v in batch.items() if k != "p_chosen"})
    assert abs(ours.item() - math.log(2)) > 1e-3
    assert abs(ours.item() - theirs.item()) < 1e-6


def test_a_certain_label_gives_trl_s_loss_with_its_likelihood_term_too(
    chat_model: Path, pairs: list[TokenPair], tmp_path: Path
):
    trainer = _trainer(chat_model, pairs, tmp_path, sft_weight=0.3)
    batch = _batch(trainer)
    ours = trainer.compute_loss(trainer.model, dict(batch))
    trainer.loss_types, trainer.loss_weights = ["sigmoid", "sft"], [1.0, 0.3]
    theirs = DPOTrainer.compute_loss(trainer, trainer.model, {k: v for k, v in batch.items() if k != "p_chosen"})
    assert abs(ours.item() - theirs.item()) < 1e-6


def test_an_even_label_has_no_gradient_at_the_start(chat_model: Path, pairs: list[TokenPair], tmp_path: Path):
    trainer = _trainer(chat_model, [replace(pair, p_chosen=0.5) for pair in pairs], tmp_path)
    loss = trainer.compute_loss(trainer.model, _batch(trainer))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert max(p.grad.abs().max().item() for p in trainer.model.parameters() if p.grad is not None) < 1e-6


def test_the_policy_starts_at_its_reference_whatever_the_batch(
    chat_model: Path, pairs: list[TokenPair], tmp_path: Path
):
    trainer = _trainer(chat_model, pairs, tmp_path)
    loss = trainer.compute_loss(trainer.model, _batch(trainer))
    assert loss.item() == pytest.approx(math.log(2), abs=1e-5)


def test_the_loss_is_smallest_where_the_margin_is_the_label_s_log_odds():
    p = torch.tensor([0.6, 0.8, 0.95])
    margin = torch.logit(p).requires_grad_()
    loss = soft_dpo_loss(margin, p)
    (gradient,) = torch.autograd.grad(loss.sum(), margin)
    assert gradient.abs().max() < 1e-6
    entropy = -(p * p.log() + (1 - p) * (1 - p).log())
    assert torch.allclose(loss.detach(), entropy, atol=1e-6)


def test_training_prefers_the_chosen_completion_and_reports_every_step(
    chat_model: Path, pairs: list[TokenPair], tmp_path: Path
):
    steps: list[tuple[int, int, dict[str, float]]] = []
    config = DPOConfig(
        type="dpo", model=chat_model, pairs=tmp_path, output=tmp_path, batch_size=4, epochs=4.0, learning_rate=1e-2
    )
    train(config, *checkpoint.load(chat_model, "model"), pairs, tmp_path, lambda *step: steps.append(step))
    assert [(step, of) for step, of, _ in steps] == [(i, 12) for i in range(1, 13)]
    assert steps[-1][2]["reward_margin"] > steps[0][2]["reward_margin"] + 0.5
    assert steps[-1][2]["loss"] < math.log(2)


def test_two_runs_of_one_seed_end_in_the_same_weights(chat_model: Path, pairs: list[TokenPair], tmp_path: Path):
    ends: list[Tensor] = []
    for _ in range(2):
        trainer = _trainer(chat_model, pairs, tmp_path, seed=5)
        trainer.train()
        ends.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    assert torch.equal(*ends)


def test_a_run_that_diverges_fails_with_a_remedy(chat_model: Path, pairs: list[TokenPair], tmp_path: Path):
    trainer = _trainer(chat_model, pairs, tmp_path)
    with torch.no_grad():
        next(iter(trainer.model.parameters())).fill_(float("nan"))
    with pytest.raises(TrainingFailed, match="nan") as caught:
        trainer.train()
    assert caught.value.remedy


@pytest.mark.parametrize(("block", "field"), [({"weight_dekay": 0.1}, "trl.weight_dekay"), ({"optim": "none"}, "trl")])
def test_a_wrong_trl_argument_is_named(
    block: dict[str, Any], field: str, chat_model: Path, pairs: list[TokenPair], tmp_path: Path
):
    with pytest.raises(InvalidInput) as caught:
        _trainer(chat_model, pairs, tmp_path, trl=block)
    assert caught.value.field == field


def test_batches_hold_similar_lengths_and_every_pair_once_an_epoch():
    lengths = [(37 * i) % 101 for i in range(203)]
    sampler = LengthGroups(lengths, batch_size=10, seed=0)
    order = list(sampler)
    assert sorted(order) == list(range(203))
    spread = [
        max(lengths[i] for i in order[s : s + 10]) - min(lengths[i] for i in order[s : s + 10])
        for s in range(0, 200, 10)
    ]
    assert sum(spread) / len(spread) < 25
    first_of_each_batch = [lengths[order[s]] for s in range(0, 200, 10)]
    assert first_of_each_batch != sorted(first_of_each_batch)


def test_each_epoch_has_an_order_of_its_own():
    sampler = LengthGroups([1] * 50, batch_size=5, seed=0)
    first = list(sampler)
    assert first == list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)


def test_demonstrations_that_are_the_samples_have_no_gradient(chat_model: Path, pairs: list[TokenPair], tmp_path: Path):
    """SPIN's fixed point: what is chosen is what is rejected."""
    trainer = _trainer(chat_model, [replace(pair, rejected_ids=pair.chosen_ids) for pair in pairs], tmp_path)
    _disturb(trainer)
    loss = trainer.compute_loss(trainer.model, _batch(trainer))
    loss.backward()
    gradients = [parameter.grad for parameter in trainer.model.parameters() if parameter.grad is not None]
    assert loss.item() == pytest.approx(math.log(2))
    assert gradients
    assert max(gradient.abs().max().item() for gradient in gradients) < 1e-6


def test_the_reference_may_be_another_model(chat_model: Path, pairs: list[TokenPair], tmp_path: Path):
    model, tokenizer = checkpoint.load(chat_model, "model")
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    model.save_pretrained(tmp_path / "moved")
    tokenizer.save_pretrained(tmp_path / "moved")
    own = _trainer(tmp_path / "moved", pairs, tmp_path / "a")
    base = _trainer(tmp_path / "moved", pairs, tmp_path / "b", reference=chat_model)
    plain = _trainer(chat_model, pairs, tmp_path / "c")
    assert base.train_dataset["ref_chosen_logps"][:] == pytest.approx(plain.train_dataset["ref_chosen_logps"][:])
    assert base.train_dataset["ref_chosen_logps"][:] != pytest.approx(own.train_dataset["ref_chosen_logps"][:])
    before = checkpoint.load(tmp_path / "moved", "model")[0].state_dict()
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
