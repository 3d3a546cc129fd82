"""Supervised fine-tuning on completions: TRL's trainer on rows that are tokenised already.

Only the completion is learnt, its end of turn included where it finished (see `trainer.data`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import datasets
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig as TRLConfig
from trl.trainer.sft_trainer import SFTTrainer

from solon.errors import TrainingFailed
from trainer import adapters
from trainer.batches import OwnBatches
from trainer.config import SFTConfig
from trainer.progress import Progress
from trainer.trl_run import report_to, run_trainer, trl_arguments

_RENAMED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "epoch": "epoch",
    "mean_token_accuracy": "token_accuracy",
    "entropy": "entropy",
}
"""TRL's metric names to ours. Loss and entropy are nats per token of the completions."""

_NOT_LEARNT = -100


class CompletionTrainer(OwnBatches, SFTTrainer):
    """TRL's SFTTrainer with batches of similar length, and a loss that is checked."""

    def __init__(self, *, lengths: Sequence[int], global_batch: int, **arguments: Any) -> None:
        self.lengths, self.global_batch = lengths, global_batch
        super().__init__(**arguments)

    def compute_loss(self, *arguments: Any, **named: Any) -> Any:
        """Mean loss over the completions' tokens, in nats; TrainingFailed when it is not finite."""
        loss = super().compute_loss(*arguments, **named)
        if not torch.isfinite(loss):
            step = self.state.global_step + 1
            raise TrainingFailed(f"the loss became {loss.item()} at step {step}", remedy="lower learning_rate")
        return loss


def as_dataset(rows: Sequence[tuple[list[int], list[int]]]) -> datasets.Dataset:
    """(prompt ids, completion ids) as TRL's tokenised columns; the prompt carries no loss."""
    return datasets.Dataset.from_dict(
        {
            "input_ids": [prompt + completion for prompt, completion in rows],
            "labels": [[_NOT_LEARNT] * len(prompt) + completion for prompt, completion in rows],
        }
    )


def train(
    config: SFTConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[tuple[list[int], list[int]]],
    scratch: Path,
    progress: Progress,
) -> Any:
    """The network, trained on (prompt ids, completion ids): `model`, or peft's wrapper. TrainingFailed: it diverged."""
    trainer = CompletionTrainer(
        model=model,
        args=trl_arguments(TRLConfig, config, scratch, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=as_dataset(rows),
        processing_class=tokenizer,
        lengths=[len(prompt) + len(completion) for prompt, completion in rows],
        global_batch=config.batch_size,
        peft_config=adapters.settings(config.lora) if config.lora is not None else None,
    )
    report_to(cast(Any, trainer), progress, _RENAMED)
    return run_trainer(cast(Any, trainer), config)
