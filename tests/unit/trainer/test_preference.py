"""The DPO family: its losses against their formulas and TRL's, its cached references, its adapters."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from trl.trainer.dpo_trainer import DPOTrainer

from solon.datasets import write_pairs
from solon.errors import InvalidInput
from tests.unit.trainer.conftest import MakePair
from trainer import checkpoint
from trainer.config import DPOConfig, parse
from trainer.config.dpo import SOFT_LOSSES
from trainer.data import Encoder, Example, TokenPair
from trainer.dpo import make_trainer
from trainer.preference import hinge_loss, ipo_loss, robust_dpo_loss, soft_dpo_loss
from trainer.reference import digest
from trainer.runs import dpo

# TRL 1.16 still uses transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

torch.set_num_threads(1)

SMOOTHING = {"robust": 0.1, "exo_pair": 0.05, "aot": 0.1}


@pytest.fixture
def pairs(chat_model: Path, make_pair: MakePair) -> list[TokenPair]:
    _, tokenizer = checkpoint.load(chat_model, "model")
    encoder = Encoder(tokenizer, 256)
    rows = [make_pair(f"p{i}", a="yes " * (1 + i % 3), b="no", prompt=f"Is it {i}?") for i in range(6)]
    examples = [Example([m.model_dump() for m in row.prompt.messages], row.a, row.b, 0.8) for row in rows]
    return [tokens for example in examples if isinstance(tokens := encoder.pair(example), TokenPair)]


def _trainer(model: Path, pairs: Sequence[TokenPair], out: Path, **settings: Any) -> Any:
    values = {"model": model, "pairs": out / "unused", "output": out, "batch_size": 6, "precision": "float32"}
    config = DPOConfig.model_validate({"type": "dpo"} | values | settings)
    return make_trainer(config, *checkpoint.load(model, "model"), pairs, out, lambda *_: None)


def _disturbed(trainer: Any) -> dict[str, Tensor]:
    """Move the policy away from its reference; a batch."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return next(iter(trainer.get_train_dataloader()))


@pytest.mark.parametrize("loss_type", ["ipo", "robust", "hinge"])
@pytest.mark.parametrize("sft_weight", [0.0, 0.3])
def test_with_certain_labels_a_soft_loss_is_trl_s(
    loss_type: str, sft_weight: float, chat_model: Path, pairs: list[TokenPair], tmp_path: Path
):
    smoothing = SMOOTHING.get(loss_type, 0.0)
    settings: dict[str, Any] = {"loss_type": loss_type, "label_smoothing": smoothing, "sft_weight": sft_weight}
    trainer = _trainer(chat_model, pairs, tmp_path, **settings)
    batch = _disturbed(trainer)
    batch["p_chosen"].fill_(1.0)
    ours = trainer.compute_loss(trainer.model, dict(batch))
    trainer.loss_types, trainer.loss_weights = [loss_type, "sft"], [1.0, sft_weight]
    theirs = DPOTrainer.compute_loss(trainer, trainer.model, {k: v for k, v in batch.items() if k != "p_chosen"})
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6, rel=1e-6)


@pytest.mark.parametrize(("loss_type", "sft_weight"), [("exo_pair", 0.0), ("apo_zero", 0.2), ("sppo_hard", 0.0)])
def test_the_losses_of_trl_train_and_log_both_sides(
    loss_type: str, sft_weight: float, chat_model: Path, pairs: list[TokenPair], tmp_path: Path
):
    settings = {"loss_type": loss_type, "label_smoothing": SMOOTHING.get(loss_type, 0.0), "soft_labels": False}
    trainer = _trainer(chat_model, pairs, tmp_path, sft_weight=sft_weight, epochs=3.0, learning_rate=1e-2, **settings)
    trainer.train()
    first, last = trainer.state.log_history[0], trainer.state.log_history[2]
    assert last["rewards/margins"] > first["rewards/margins"] == pytest.approx(0.0, abs=1e-4)
    assert {"logps/chosen", "logps/rejected"} <= last.keys()
    assert trainer.loss_types == ([loss_type, "sft"] if sft_weight else [loss_type])


@pytest.mark.parametrize("loss_type", SOFT_LOSSES)
def test_an_even_label_has_no_gradient_at_the_reference_under_any_soft_loss(
    loss_type: str, chat_model: Path, pairs: list[TokenPair], tmp_path: Path
):
    smoothing = SMOOTHING.get(loss_type, 0.0)
    trainer = _trainer(chat_model, pairs, tmp_path, loss_type=loss_type, label_smoothing=smoothing)
    batch = next(iter(trainer.get_train_dataloader()))
    batch["p_chosen"].fill_(0.5)
    trainer.compute_loss(trainer.model, batch).backward()
    assert max(p.grad.abs().max().item() for p in trainer.model.parameters() if p.grad is not None) < 2e-6


def test_the_losses_are_their_formulas():
    h, p, e, tau = torch.tensor([1.3, -0.4]), torch.tensor([1.0, 0.7]), 0.1, 0.1
    s = torch.sigmoid
    robust = [(-(1 - e) * math.log(s(x)) + e * math.log(s(-x))) / (1 - 2 * e) for x in (h[0], h[1], -h[1])]
    assert robust_dpo_loss(h, p, e).tolist() == pytest.approx([robust[0], 0.7 * robust[1] + 0.3 * robust[2]], rel=1e-5)
    assert robust_dpo_loss(h, p, 0.0).tolist() == pytest.approx(soft_dpo_loss(h, p).tolist())
    goal = 1 / (2 * tau)
    expected = [(1.3 - goal) ** 2, 0.7 * (-0.4 - goal) ** 2 + 0.3 * (-0.4 + goal) ** 2]
    assert ipo_loss(h, p, tau).tolist() == pytest.approx(expected, rel=1e-5)
    assert hinge_loss(h, p).tolist() == pytest.approx([0.0, 0.7 * 1.4 + 0.3 * 0.6])


def test_ipo_is_smallest_where_the_difference_says_the_label():
    p = torch.tensor([0.5, 0.8, 1.0])
    best = ((2 * p - 1) / (2 * 0.25)).requires_grad_()
    (gradient,) = torch.autograd.grad(ipo_loss(best, p, 0.25).sum(), best)
    assert gradient.abs().max() < 1e-6


def test_the_robust_loss_under_flipped_labels_is_on_average_the_loss_under_right_ones():
    h, e = torch.tensor([-2.0, 0.1, 1.5]), 0.2
    right, wrong = robust_dpo_loss(h, torch.ones(3), e), robust_dpo_loss(h, torch.zeros(3), e)
    assert torch.allclose((1 - e) * right + e * wrong, soft_dpo_loss(h, torch.ones(3)), atol=1e-6)


def test_smoothing_moves_the_optimum_of_the_sigmoid_loss(chat_model: Path, pairs: list[TokenPair], tmp_path: Path):
    trainer = _trainer(chat_model, pairs, tmp_path, label_smoothing=0.1)
    h = torch.tensor([1.0])
    expected = soft_dpo_loss(h, torch.tensor([0.8 * 0.9 + 0.2 * 0.1]))
    found = trainer._per_pair(h, torch.zeros(1), torch.ones(2), torch.tensor([0.8]))
    assert torch.allclose(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss_type": "apo_zero"}, "soft_labels: false"),
        ({"loss_type": "hinge", "label_smoothing": 0.1}, "says nothing"),
        ({"loss_type": "exo_pair", "soft_labels": False}, "needs a `label_smoothing`"),
        ({"trl": {"f_divergence_type": "forward_kl"}}, "set by Solon"),
        ({"sharding": "fsdp2"}, "needs `processes`"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_the_reason(change: dict[str, Any], message: str):
    minimal = {"type": "dpo", "model": "m", "pairs": "p", "output": "o"}
    with pytest.raises(InvalidInput, match=message):
        parse(json.dumps(minimal | change))


def test_references_are_computed_once_and_again_when_anything_changes(
    chat_model: Path, pairs: list[TokenPair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = tmp_path / "references"
    first = _trainer(chat_model, pairs, tmp_path, references=kept)
    (file,) = kept.iterdir()
    monkeypatch.setattr("trainer.dpo.SoftDPOTrainer._score_references", lambda *_: pytest.fail("scored again"))
    again = _trainer(chat_model, pairs, tmp_path, references=kept, loss_type="hinge")
    for name in ("ref_chosen_logps", "ref_rejected_logps"):
        assert again.train_dataset[name][:] == first.train_dataset[name][:]
    monkeypatch.undo()
    _trainer(chat_model, pairs[1:], tmp_path, references=kept)
    assert len(list(kept.iterdir())) == 2
    file.write_bytes(b"damaged")
    _trainer(chat_model, pairs, tmp_path, references=kept)
    assert load_file(file)["ref_chosen_logps"].shape == (len(pairs),)


def test_the_digest_of_references_depends_on_weights_tokenizer_and_rows(chat_model: Path, tmp_path: Path):
    import shutil

    rows = [[[1, 2], [3], [4]]]
    before = digest(chat_model, rows)
    assert digest(chat_model, [[[1, 2], [3], [5]]]) != before
    for name in ("chat_template.jinja", "tokenizer.json", "model.safetensors"):
        changed = tmp_path / name.partition(".")[0]
        shutil.copytree(chat_model, changed)
        assert digest(changed, rows) == before
        with (changed / name).open("ab") as file:
            file.write(b" ")
        assert digest(changed, rows) != before, name


@pytest.mark.parametrize("merge", [True, False])
def test_adapters_are_trained_against_the_policy_without_them_and_published(
    merge: bool, chat_model: Path, make_pair: MakePair, tmp_path: Path
):
    write_pairs(tmp_path / "p.jsonl", [make_pair(f"p{i}", a=f"yes {i}", b=f"no {i}") for i in range(8)])
    config = DPOConfig.model_validate(
        {"type": "dpo", "model": chat_model, "pairs": tmp_path / "p.jsonl", "output": tmp_path / "out"}
        | {"batch_size": 4, "learning_rate": 1e-2, "lora": {"rank": 4, "merge": merge}, "precision": "float32"}
    )
    events: list[dict[str, Any]] = []
    dpo.run(config, lambda event, **fields: events.append({"event": event, **fields}))
    steps = [event["metrics"] for event in events if event["event"] == "progress"]
    assert steps[0]["loss"] != steps[-1]["loss"]
    assert steps[0]["reward_margin"] == pytest.approx(0.0, abs=1e-5)
    assert steps[-1]["reward_margin"] > 0.001
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file() == (not merge)
    if merge:
        assert not list((tmp_path / "out").glob("adapter*"))
        model, _ = checkpoint.load(tmp_path / "out", "model")
        base, _ = checkpoint.load(chat_model, "model")
        assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in base.parameters())


def test_a_killed_training_under_another_loss_ends_as_one_that_was_not(
    chat_model: Path, make_pair: MakePair, tmp_path: Path
):
    write_pairs(tmp_path / "p.jsonl", [make_pair(f"p{i}", a=f"yes {i}", b=f"no {i}") for i in range(12)])
    values = {"type": "dpo", "model": chat_model, "pairs": tmp_path / "p.jsonl", "batch_size": 4, "loss_type": "ipo"}
    values |= {"lora": {"rank": 2}, "learning_rate": 1e-2, "save_every": 2}

    class Stop(Exception):
        """The machine is gone."""

    def killed(event: str, **fields: Any) -> None:
        if fields.get("step") == 3:
            raise Stop

    whole = DPOConfig.model_validate(values | {"output": tmp_path / "whole"})
    dpo.run(whole, lambda *_, **__: None)
    config = DPOConfig.model_validate(values | {"output": tmp_path / "out", "state": tmp_path / "state"})
    with pytest.raises(Stop):
        dpo.run(config, killed)
    dpo.run(config, lambda *_, **__: None)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
