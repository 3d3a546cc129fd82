"""Direct preference optimisation and its relatives: a thin subclass of TRL's trainer, and the run around it.

TRL has no probabilistic labels (and its `label_smoothing` does nothing for the sigmoid loss), so the losses that take
them are ours (`trainer.preference`); its other losses, the optimiser loop and metrics' names are TRL's.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import datasets
import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig as TRLConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from solon.errors import InvalidInput, TrainingFailed
from trainer import adapters, checkpoint, processes
from trainer.batches import OwnBatches
from trainer.config import DPOConfig
from trainer.config.dpo import SOFT_LOSSES
from trainer.data import TokenPair
from trainer.preference import hinge_loss, ipo_loss, robust_dpo_loss, soft_dpo_loss
from trainer.progress import Progress
from trainer.reference import KeptReferences, References, digest
from trainer.trl_run import report_to, run_trainer, trl_arguments

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
    "nll/chosen": "nll_chosen",
}
"""TRL's metric names to ours. Rewards and margins are implicit: beta times nats; logp is nats per completion, nll nats
per token."""


class SoftLabelCollator(DataCollatorForPreference):
    """TRL's padded preference batch with the labels beside it, `p_chosen` of shape [pair]."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch whose first half are the chosen sequences and whose second half the rejected ones."""
        batch = super().torch_call(examples)
        batch["p_chosen"] = torch.tensor([example["p_chosen"] for example in examples], dtype=torch.float32)
        return batch


class SoftDPOTrainer(KeptReferences, OwnBatches, DPOTrainer):
    """TRL's DPOTrainer on tokenised pairs with a probability each, and an optional chosen-likelihood term."""

    reference_batch = 32

    def __init__(
        self, *, config: DPOConfig, references: References, train_dataset: datasets.Dataset, **arguments: Any
    ) -> None:
        self._config, self.references = config, references
        self.lengths = cast(list[int], train_dataset["length"][:])
        self.global_batch = config.batch_size
        super().__init__(train_dataset=train_dataset, **arguments)
        if processes.count() > 1 and config.loss_type not in SOFT_LOSSES:
            # TRL gathers what it logs, and accelerate's gathering wants as many pairs of each process.
            cast(Any, self.accelerator).gather = _gathered

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any, **__: Any) -> datasets.Dataset:
        """`dataset` itself: it was tokenised by `trainer.data`, which knows whether a completion finished."""
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: list[str] = self._signature_columns
        if "p_chosen" not in columns:
            self._signature_columns = [*columns, "p_chosen"]

    def reference_scorer(self) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        """By the configured reference, else by the policy as it begins."""
        reference = self._reference()

        def score(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            chosen, rejected = self.compute_ref_log_probs(reference, inputs)
            return {"ref_chosen_logps": chosen.float().cpu(), "ref_rejected_logps": rejected.float().cpu()}

        return score

    def _reference(self) -> Any:
        """The configured reference, else the policy, which is as it begins when this is asked."""
        if self._config.reference is None:
            return self.model
        reference, _ = checkpoint.load(self._config.reference, "reference")
        if reference.config.vocab_size != cast(Any, self.model).config.vocab_size:
            raise InvalidInput(
                "policy and reference have different vocabularies",
                field="reference",
                remedy="take an earlier state of the same model",
            )
        return reference.eval()

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Reference log-probabilities of chosen and rejected, each [pair], in nats; adapters are switched off."""
        plain = model.disable_adapter() if isinstance(model, PeftModel) else contextlib.nullcontext()
        model.to(inputs["input_ids"].device)
        with torch.no_grad(), self.accelerator.autocast(), plain:
            chosen, rejected = self._token_logps(model, inputs).sum(dim=1).chunk(2)
        return chosen, rejected

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss over the pairs, in nats; TrainingFailed when it is not finite."""
        p_chosen = inputs.pop("p_chosen")
        if self._config.loss_type in SOFT_LOSSES:
            loss = self._soft_loss(model, inputs, p_chosen)
        else:
            loss = cast(Tensor, super().compute_loss(model, inputs)) * processes.share(len(p_chosen))
        if not torch.isfinite(loss):
            raise TrainingFailed(
                f"the loss became {loss.item()} at step {self.state.global_step + 1}", remedy="lower learning_rate"
            )
        return (loss, {}) if return_outputs else loss

    def _soft_loss(self, model: Any, inputs: dict[str, Tensor], p_chosen: Tensor) -> Tensor:
        token_logps = self._token_logps(model, inputs)
        chosen, rejected = (token_logps.sum(dim=1)).chunk(2)
        reward_chosen = self.beta * (chosen - inputs["ref_chosen_logps"])
        reward_rejected = self.beta * (rejected - inputs["ref_rejected_logps"])
        tokens = inputs["completion_mask"][:, 1:].sum(dim=1)
        loss = self._per_pair(reward_chosen, reward_rejected, tokens, p_chosen).mean() * processes.share(len(p_chosen))
        to_learn = tokens[: len(chosen)].sum()
        if self._config.sft_weight:
            loss = loss - self._config.sft_weight * chosen.sum() / to_learn * processes.share(to_learn)
        self._record(reward_chosen.detach(), reward_rejected.detach(), chosen.detach(), rejected.detach(), to_learn)
        return loss

    def _per_pair(self, chosen: Tensor, rejected: Tensor, tokens: Tensor, p: Tensor) -> Tensor:
        """The configured loss of implicit rewards, [pair]."""
        config, margin = self._config, chosen - rejected
        match config.loss_type:
            case "ipo":
                per_token = torch.cat([chosen, rejected]) / (self.beta * tokens.clamp(min=1))
                difference = per_token[: len(chosen)] - per_token[len(chosen) :]
                return ipo_loss(difference, p, self.beta)
            case "robust":
                return robust_dpo_loss(margin, p, config.label_smoothing)
            case "hinge":
                return hinge_loss(margin, p)
            case _:
                flipped = config.label_smoothing
                return soft_dpo_loss(margin, p * (1 - flipped) + (1 - p) * flipped)

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

    def _record(
        self, reward_chosen: Tensor, reward_rejected: Tensor, chosen: Tensor, rejected: Tensor, tokens: Tensor
    ) -> None:
        values = {
            "rewards/chosen": reward_chosen,
            "rewards/rejected": reward_rejected,
            "rewards/margins": reward_chosen - reward_rejected,
            "rewards/accuracies": (reward_chosen > reward_rejected).float(),
            "logps/chosen": chosen,
            "logps/rejected": rejected,
        }
        counts = [tokens.to(chosen.dtype), chosen.new_tensor(len(chosen))]
        *sums, tokens, pairs = processes.total(torch.stack([*(value.sum() for value in values.values()), *counts]))
        for name, value in zip(values, sums, strict=True):
            self._metrics["train"][name].append((value / pairs).item())
        self._metrics["train"]["nll/chosen"].append((-sums[list(values).index("logps/chosen")] / tokens).item())


def _gathered(tensor: Tensor) -> Tensor:
    """The rows of all processes, however many each has."""
    return torch.cat([part.to(tensor.device).reshape(-1, *tensor.shape[1:]) for part in processes.gathered(tensor)])


def _arguments(config: DPOConfig, scratch: Path) -> TRLConfig:
    """TRL's arguments for our configuration on this machine; InvalidInput where the `trl` block has a wrong one."""
    ours: dict[str, Any] = {"beta": config.beta, "label_smoothing": config.label_smoothing}
    soft = config.loss_type in SOFT_LOSSES
    losses, weights = ["sigmoid" if soft else config.loss_type], [1.0]
    if config.sft_weight and not soft:
        losses, weights = [*losses, "sft"], [1.0, config.sft_weight]
    return trl_arguments(
        TRLConfig, config, scratch, loss_type=losses, loss_weights=weights, precompute_ref_log_probs=True, **ours
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


def _references(config: DPOConfig, dataset: datasets.Dataset) -> References:
    if config.references is None:
        return References(None, "")
    columns = (dataset[name][:] for name in ("prompt_ids", "chosen_ids", "rejected_ids"))
    return References(
        config.references,
        digest(config.reference or config.model, list(zip(*columns, strict=True)), config.precision, "pairs"),
    )


def make_trainer(
    config: DPOConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[TokenPair],
    scratch: Path,
    progress: Progress,
) -> SoftDPOTrainer:
    """A trainer that is ready to run: reference log-probabilities are computed here, from `model` as it is, or from the
    configured reference."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    dataset = as_dataset(pairs)
    trainer = SoftDPOTrainer(
        config=config,
        references=_references(config, dataset),
        model=model,
        args=_arguments(config, scratch),
        train_dataset=dataset,
        data_collator=SoftLabelCollator(pad_token_id=cast(int, tokenizer.pad_token_id)),
        processing_class=tokenizer,
        peft_config=adapters.settings(config.lora) if config.lora is not None else None,
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
) -> Any:
    """The trained network: `model`, or peft's wrapper of it; TrainingFailed when it diverges, weights included."""
    trainer = make_trainer(config, model, tokenizer, pairs, scratch, progress)
    return run_trainer(trainer, config)
