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
from trainer import processes
from trainer.batches import OwnBatches
from trainer.config import RewardConfig
from trainer.progress import Progress
from trainer.reward.groups import Group
from trainer.reward.losses import bradley_terry_loss, centering_loss
from trainer.reward.scoring import rewards_of
from trainer.trl_run import report_to, run_trainer, trl_arguments

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


class GroupRewardTrainer(OwnBatches, RewardTrainer):
    """TRL's RewardTrainer on groups: each completion of a prompt is read once and meets all it is compared with."""

    def __init__(
        self, *, groups: Sequence[Group], config: RewardConfig, model: PreTrainedModel, **arguments: Any
    ) -> None:
        self._rows, self._centering, self._hard_margin = groups, config.centering, config.margin
        self.lengths, self.global_batch = [group.length for group in groups], config.batch_size
        dataset = datasets.Dataset.from_dict({"group": list(range(len(groups)))})
        _read_whole_sequences(model)
        super().__init__(model=model, train_dataset=dataset, data_collator=self._collate, **arguments)

    def _collate(self, rows: list[dict[str, int]]) -> dict[str, Any]:
        """Sequences of all groups in one list, and the comparisons between their places."""
        sequences: list[list[int]] = []
        compared: list[tuple[int, int, float, float]] = []
        for row in rows:
            group, start = self._rows[row["group"]], len(sequences)
            sequences += group.sequences
            compared += [(start + each.a, start + each.b, each.p_a, each.margin) for each in group.comparisons]
        a, b, p_a, margin = zip(*compared, strict=True)
        pairs = {"a": torch.tensor(a), "b": torch.tensor(b), "p_a": torch.tensor(p_a), "margin": torch.tensor(margin)}
        return {"sequences": sequences, **pairs}

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any, **__: Any) -> datasets.Dataset:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["group"]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss over the pairs of the batch, in nats; TrainingFailed when it is not finite."""
        rewards: Tensor = model(sequences=inputs["sequences"])
        a, b = rewards[inputs["a"]], rewards[inputs["b"]]
        margin = self._hard_margin * inputs["margin"]
        loss = bradley_terry_loss(a - b, inputs["p_a"], margin) + self._centering * centering_loss(a, b)
        if not torch.isfinite(loss.mean()):
            step = self.state.global_step + 1
            raise TrainingFailed(f"the loss became {loss.mean().item()} at step {step}", remedy="lower learning_rate")
        self._record(a.detach() - b.detach(), inputs["p_a"], rewards.detach())
        mean = loss.mean() * processes.share(len(loss))
        return (mean, {}) if return_outputs else mean

    def _record(self, difference: Tensor, p_a: Tensor, rewards: Tensor) -> None:
        metrics = self._metrics["train"]
        toward = torch.where(p_a > 0.5, difference, -difference)[p_a != 0.5]
        sums = [(toward > 0).sum(), toward.sum(), toward.new_tensor(len(toward)), rewards.sum()]
        right, margin, decided, reward, read = processes.total(
            torch.stack([*(each.float() for each in sums), rewards.new_tensor(len(rewards))])
        ).tolist()
        if decided:
            metrics["accuracy"].append(right / decided)
            metrics["margin"].append(margin / decided)
        metrics["mean_reward"].append(reward / read)


def _read_whole_sequences(model: Any) -> None:
    """Let the network's own call take `sequences`, so that a wrapper for several processes sees it being called."""
    plain = model.forward

    def forward(*arguments: Any, sequences: Sequence[Sequence[int]] | None = None, **named: Any) -> Any:
        return plain(*arguments, **named) if sequences is None else rewards_of(model, sequences)

    model.forward = forward


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
        config=config,
        processing_class=tokenizer,
    )
    report_to(trainer, progress, _RENAMED)
    run_trainer(cast(Any, trainer), config)
    del cast(Any, model).forward  # accelerate's and ours; the class's own is there again
