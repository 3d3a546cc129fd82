"""One reward model, trained: TRL's loop around our batches (whole prompts) and our loss (soft labels)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import datasets
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.reward_config import RewardConfig as TRLConfig
from trl.trainer.reward_trainer import RewardTrainer

from solon.errors import TrainingFailed
from trainer.config import RewardConfig
from trainer.reward.groups import Group
from trainer.reward.losses import bradley_terry_loss, centering_loss
from trainer.reward.scoring import rewards_of
from trainer.trl_run import LengthGroups, Progress, report_to, run_trainer, trl_arguments

_RENAMED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "epoch": "epoch",
    "accuracy": "accuracy",
    "margin": "margin",
    "mean_reward": "reward_mean",
}
"""TRL's metric names to ours."""


class GroupRewardTrainer(RewardTrainer):
    """TRL's RewardTrainer on groups: each completion of a prompt is read once and meets all it is compared with."""

    def __init__(
        self, *, groups: Sequence[Group], centering: float, hard_margin: float, args: TRLConfig, **arguments: Any
    ) -> None:
        self._groups, self._centering, self._hard_margin = groups, centering, hard_margin
        dataset = datasets.Dataset.from_dict({"group": list(range(len(groups)))})
        super().__init__(args=args, train_dataset=dataset, data_collator=self._collate, **arguments)

    def _collate(self, rows: list[dict[str, int]]) -> dict[str, Any]:
        """Sequences of all groups in one list, and the comparisons between their places."""
        sequences: list[list[int]] = []
        compared: list[tuple[int, int, float, float]] = []
        for row in rows:
            group, start = self._groups[row["group"]], len(sequences)
            sequences += group.sequences
            compared += [(start + each.a, start + each.b, each.p_a, each.margin) for each in group.comparisons]
        a, b, p_a, margin = zip(*compared, strict=True)
        pairs = {"a": torch.tensor(a), "b": torch.tensor(b), "p_a": torch.tensor(p_a), "margin": torch.tensor(margin)}
        return {"sequences": sequences, **pairs}

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any, **__: Any) -> datasets.Dataset:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["group"]

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroups:
        lengths = [group.length for group in self._groups]
        return LengthGroups(lengths, self.args.train_batch_size, self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss over the pairs of the batch, in nats; TrainingFailed when it is not finite."""
        rewards = rewards_of(self.accelerator.unwrap_model(model), inputs["sequences"])
        a, b = rewards[inputs["a"]], rewards[inputs["b"]]
        margin = self._hard_margin * inputs["margin"]
        loss = bradley_terry_loss(a - b, inputs["p_a"], margin) + self._centering * centering_loss(a, b)
        if not torch.isfinite(loss.mean()):
            step = self.state.global_step + 1
            raise TrainingFailed(f"the loss became {loss.mean().item()} at step {step}", remedy="lower learning_rate")
        self._record(a.detach() - b.detach(), inputs["p_a"], rewards.detach())
        return (loss.mean(), {}) if return_outputs else loss.mean()

    def _record(self, difference: Tensor, p_a: Tensor, rewards: Tensor) -> None:
        metrics = self._metrics["train"]
        decided = p_a != 0.5
        if decided.any():
            toward = torch.where(p_a > 0.5, difference, -difference)[decided]
            metrics["accuracy"].append((toward > 0).float().mean().item())
            metrics["margin"].append(toward.mean().item())
        metrics["mean_reward"].append(rewards.mean().item())


def train(
    config: RewardConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    groups: Sequence[Group],
    scratch: Path,
    progress: Progress,
) -> None:
    """Train `model`, a classifier with one output, in place; TrainingFailed when it diverges."""
    trainer = GroupRewardTrainer(
        model=model,
        args=trl_arguments(TRLConfig, config, scratch),
        groups=groups,
        centering=config.centering,
        hard_margin=config.margin,
        processing_class=tokenizer,
    )
    report_to(trainer, progress, _RENAMED)
    run_trainer(cast(Any, trainer), config.state)
