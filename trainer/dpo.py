"""Direct preference optimisation under soft labels: a thin subclass of TRL's trainer, and the run around it.

TRL has no probabilistic labels (and its `label_smoothing` does nothing for the sigmoid loss), so the loss is ours; the
model's forward pass, reference log-probabilities, optimiser loop and metrics' names are TRL's.

Source: Rafailov et al. 2023, arXiv:2305.18290, equation 7; soft labels as in cDPO (Mitchell 2023).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import datasets
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig as TRLConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from solon.errors import TrainingFailed
from trainer.config import DPOConfig
from trainer.data import TokenPair
from trainer.trl_run import LengthGroups, Progress, report_to, run_trainer, trl_arguments

_RENAMED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "epoch": "epoch",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "logps/chosen": "logp_chosen",
    "logps/rejected": "logp_rejected",
}
"""TRL's metric names to ours. Rewards and margins are implicit: beta times nats; logp is nats per completion."""


def soft_dpo_loss(margin: Tensor, p_chosen: Tensor) -> Tensor:
    """Per-pair loss in nats, -p ln s(h) - (1 - p) ln s(-h), for implicit reward margins h of shape [pair].

    `p_chosen` is P(chosen is better); 1 gives the published hard loss, 0.5 pulls the margin to 0.
    """
    return -p_chosen * F.logsigmoid(margin) - (1 - p_chosen) * F.logsigmoid(-margin)


class SoftLabelCollator(DataCollatorForPreference):
    """TRL's padded preference batch with the labels beside it, `p_chosen` of shape [pair]."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch whose first half are the chosen sequences and whose second half the rejected ones."""
        batch = super().torch_call(examples)
        batch["p_chosen"] = torch.tensor([example["p_chosen"] for example in examples], dtype=torch.float32)
        return batch


class SoftDPOTrainer(DPOTrainer):
    """TRL's DPOTrainer on tokenised pairs with a probability each, and an optional chosen-likelihood term."""

    def __init__(self, *, train_dataset: datasets.Dataset, sft_weight: float = 0.0, **arguments: Any) -> None:
        self.sft_weight = sft_weight
        self._lengths: list[int] = train_dataset["length"][:]
        super().__init__(train_dataset=train_dataset, **arguments)

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any, **__: Any) -> datasets.Dataset:
        """`dataset` itself: it was tokenised by `trainer.data`, which knows whether a completion finished."""
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: list[str] = self._signature_columns
        if "p_chosen" not in columns:
            self._signature_columns = [*columns, "p_chosen"]

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroups:
        return LengthGroups(self._lengths, self.args.train_batch_size, self.args.seed)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Reference log-probabilities of chosen and rejected, each [pair], in nats."""
        with torch.no_grad(), self.accelerator.autocast():
            chosen, rejected = self._token_logps(model, inputs).sum(dim=1).chunk(2)
        return chosen, rejected

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss over the pairs, in nats; TrainingFailed when it is not finite."""
        token_logps = self._token_logps(model, inputs)
        chosen, rejected = (token_logps.sum(dim=1)).chunk(2)
        reward_chosen = self.beta * (chosen - inputs["ref_chosen_logps"])
        reward_rejected = self.beta * (rejected - inputs["ref_rejected_logps"])
        loss = soft_dpo_loss(reward_chosen - reward_rejected, inputs["p_chosen"]).mean()
        if self.sft_weight:
            completion = inputs["completion_mask"][: len(chosen), 1:]
            loss = loss - self.sft_weight * chosen.sum() / completion.sum()
        if not torch.isfinite(loss):
            raise TrainingFailed(
                f"the loss became {loss.item()} at step {self.state.global_step + 1}", remedy="lower learning_rate"
            )
        self._record(reward_chosen.detach(), reward_rejected.detach(), chosen.detach(), rejected.detach())
        return (loss, {}) if return_outputs else loss

    def _token_logps(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """[2 * pair, token] in nats, 0 outside the completions; chosen first.

        On an accelerator by TRL's fused head, which never holds all logits. On a CPU, where vocabularies are small and
        arithmetic is scarce, from the logits of the columns that hold completions: a fifth faster per step.
        """
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        labels = ids.masked_fill(inputs["completion_mask"] == 0, -100)
        if ids.device.type != "cpu":
            outputs = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False, fused_lm_head=True)
            return outputs.log_probs
        first = max(1, int(inputs["completion_mask"].argmax(dim=1).min()))
        columns = torch.arange(first - 1, ids.shape[1] - 1)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=columns).logits.float()
        wanted = labels[:, first:]
        return -F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)

    def _record(self, reward_chosen: Tensor, reward_rejected: Tensor, chosen: Tensor, rejected: Tensor) -> None:
        metrics = self._metrics["train"]
        values = {
            "rewards/chosen": reward_chosen,
            "rewards/rejected": reward_rejected,
            "rewards/margins": reward_chosen - reward_rejected,
            "rewards/accuracies": (reward_chosen > reward_rejected).float(),
            "logps/chosen": chosen,
            "logps/rejected": rejected,
        }
        for name, value in values.items():
            metrics[name].append(cast(Tensor, self.accelerator.gather(value)).mean().item())


def _arguments(config: DPOConfig, scratch: Path) -> TRLConfig:
    """TRL's arguments for our configuration on this machine; InvalidInput where the `trl` block has a wrong one."""
    return trl_arguments(
        TRLConfig, config, scratch, beta=config.beta, loss_type=["sigmoid"], precompute_ref_log_probs=True
    )


def as_dataset(pairs: Sequence[TokenPair]) -> datasets.Dataset:
    """The pairs as TRL's tokenised columns, sorted by length so that scoring them in order pads little."""
    rows = sorted(pairs, key=lambda pair: pair.length)
    return datasets.Dataset.from_dict(
        {
            "prompt_ids": [pair.prompt_ids for pair in rows],
            "chosen_ids": [pair.chosen_ids for pair in rows],
            "rejected_ids": [pair.rejected_ids for pair in rows],
            "p_chosen": [pair.p_chosen for pair in rows],
            "length": [pair.length for pair in rows],
        }
    )


def make_trainer(
    config: DPOConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[TokenPair],
    scratch: Path,
    progress: Progress,
) -> SoftDPOTrainer:
    """A trainer that is ready to run: reference log-probabilities are computed here, from `model` as it is."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    trainer = SoftDPOTrainer(
        model=model,
        args=_arguments(config, scratch),
        train_dataset=as_dataset(pairs),
        data_collator=SoftLabelCollator(pad_token_id=cast(int, tokenizer.pad_token_id)),
        processing_class=tokenizer,
        sft_weight=config.sft_weight,
    )
    report_to(trainer, progress, _RENAMED)
    return trainer


def train(
    config: DPOConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[TokenPair],
    scratch: Path,
    progress: Progress,
) -> None:
    """Train `model` in place; TrainingFailed when it diverges, weights included."""
    run_trainer(make_trainer(config, model, tokenizer, pairs, scratch, progress), config.state)
