"""Kahneman-Tversky optimisation: TRL's trainer on verdicts with a weight each, and the run around it.

    L = w [ lambda_D (1 - s(beta (r - z))) ]    for a good completion, r = ln pi - ln ref over its tokens
        w [ lambda_U (1 - s(beta (z - r))) ]    for a bad one

z >= 0 estimates KL(pi || ref): the mean of r over completions that belong to other prompts. It carries no gradient.

Source: Ethayarajh et al. 2024, arXiv:2402.01306, equations 7 and 8.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import datasets
import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.kto_config import KTOConfig as TRLConfig
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference, KTOTrainer

from solon.errors import InvalidInput, TrainingFailed
from solon.seeds import counter_seed
from trainer import adapters, processes
from trainer.batches import OwnBatches
from trainer.config import KTOConfig
from trainer.progress import Progress
from trainer.reference import KeptReferences, References, digest
from trainer.trl_run import report_to, run_trainer, trl_arguments
from trainer.votes import TokenVote

_RENAMED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "epoch": "epoch",
    "kl": "kl",
    "rewards/chosen": "reward_good",
    "rewards/rejected": "reward_bad",
    "rewards/margins": "reward_margin",
    "logps/chosen": "logp_good",
    "logps/rejected": "logp_bad",
}
"""TRL's metric names to ours. Rewards and margins are implicit: beta times nats; logp is nats per completion, kl nats
per sequence."""


@dataclass(frozen=True)
class Weights:
    """What all good and all bad completions are multiplied by, lambda_D and lambda_U; the smaller one is 1."""

    good: float
    bad: float

    @classmethod
    def of(cls, votes: Sequence[TokenVote], balance: float) -> "Weights":
        """The weights under which good ones weigh `balance` times what bad ones do; InvalidInput where one side is
        missing."""
        good = sum(vote.weight for vote in votes if vote.good)
        bad = sum(vote.weight for vote in votes if not vote.good)
        if not good or not bad:
            raise InvalidInput(
                f"all completions are {'good' if good else 'bad'}", field="votes", remedy="KTO needs both kinds"
            )
        ratio = balance * bad / good
        return cls(ratio, 1.0) if ratio >= 1 else cls(1.0, 1 / ratio)


def kto_loss(log_ratios: Tensor, good: Tensor, kl: Tensor, beta: float, weights: Weights) -> Tensor:
    """Per-completion loss, [completion]; `log_ratios` in nats summed over a completion, `kl` in nats, no gradient."""
    toward = torch.where(good, log_ratios - kl, kl - log_ratios)
    scale = torch.where(good, weights.good, weights.bad)
    return scale * (1 - F.sigmoid(beta * toward))


class VoteCollator(DataCollatorForUnpairedPreference):
    """TRL's padded batch with the weights beside it, [completion]."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch of completions, and of the mismatched ones that the KL is estimated on."""
        batch = super().torch_call(examples)
        batch["weight"] = torch.tensor([example["weight"] for example in examples], dtype=torch.float32)
        return batch


class WeightedKTOTrainer(KeptReferences, OwnBatches, KTOTrainer):
    """TRL's KTOTrainer on tokenised completions with a weight each."""

    reference_batch = 64

    def __init__(
        self,
        *,
        config: KTOConfig,
        weights: Weights,
        references: References,
        train_dataset: datasets.Dataset,
        **arguments: Any,
    ) -> None:
        self._config, self._weights, self.references = config, weights, references
        self.lengths = cast(list[int], train_dataset["length"][:])
        self.global_batch = config.batch_size
        super().__init__(train_dataset=train_dataset, **arguments)

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any, **__: Any) -> datasets.Dataset:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: list[str] = self._signature_columns
        if "weight" not in columns:
            self._signature_columns = [*columns, "weight"]

    def reference_scorer(self) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        """By the policy as it begins."""
        return self._reference_logps

    def _reference_logps(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the policy says before it is trained, adapters switched off; nats per completion."""
        model = cast(Any, self.model).to(inputs["input_ids"].device)
        plain = model.disable_adapter() if isinstance(model, PeftModel) else contextlib.nullcontext()
        with torch.no_grad(), self.accelerator.autocast(), plain:
            found = {"ref_logps": _logps(model, inputs, "").float().cpu()}
            if self.calculate_KL:
                found["ref_KL_logps"] = _logps(model, inputs, "KL_").float().cpu()
        return found

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss over the completions; TrainingFailed when it is not finite."""
        good, weight = inputs["label"].bool(), inputs["weight"]
        kl = self._kl(model, inputs)
        logps = _logps(model, inputs, "")
        ratios = logps - inputs["ref_logps"]
        losses = weight * kto_loss(ratios, good, kl, self.beta, self._weights)
        loss = losses.mean() * processes.share(len(losses))
        if not torch.isfinite(loss):
            step = self.state.global_step + 1
            raise TrainingFailed(f"the loss became {loss.item()} at step {step}", remedy="lower learning_rate")
        self._record(ratios.detach(), logps.detach(), good, kl)
        return (loss, {}) if return_outputs else loss

    def _kl(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Nats per sequence, at least 0, over all processes."""
        if not self.calculate_KL:
            return torch.zeros((), device=inputs["input_ids"].device)
        with torch.no_grad():
            ratios = _logps(model, inputs, "KL_") - inputs["ref_KL_logps"]
        nats, rows = processes.total(torch.stack([ratios.sum(), ratios.new_tensor(len(ratios))]))
        return (nats / rows).clamp(min=0)

    def _record(self, ratios: Tensor, logps: Tensor, good: Tensor, kl: Tensor) -> None:
        metrics = self._metrics["train"]
        sides = torch.stack([good, ~good]).to(ratios.dtype)
        sums = processes.total(torch.stack([sides @ ratios, sides @ logps, sides.sum(1)]))
        rewards, logs, counts = sums
        for place, side in enumerate(("chosen", "rejected")):
            if counts[place]:
                metrics[f"rewards/{side}"].append((self.beta * rewards[place] / counts[place]).item())
                metrics[f"logps/{side}"].append((logs[place] / counts[place]).item())
        if counts.all():
            means = self.beta * rewards / counts
            metrics["rewards/margins"].append((means[0] - means[1]).item())
        metrics["kl"].append(kl.item())


def _logps(model: Any, inputs: dict[str, Tensor], prefix: str) -> Tensor:
    """Nats of each completion, [completion]: on a CPU from the columns that hold completions (see `trainer.dpo`)."""
    ids, mask = inputs[f"{prefix}input_ids"], inputs[f"{prefix}attention_mask"]
    learnt = inputs[f"{prefix}completion_mask"]
    labels = ids.masked_fill(learnt == 0, -100)
    if ids.device.type != "cpu":
        outputs = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False, fused_lm_head=True)
        return outputs.log_probs.sum(1)
    first = max(1, int(learnt.argmax(dim=1).min()))
    columns = torch.arange(first - 1, ids.shape[1] - 1)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=columns).logits.float()
    wanted = labels[:, first:]
    return -F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape).sum(1)


def as_dataset(votes: Sequence[TokenVote], seed: int) -> datasets.Dataset:
    """The completions as TRL's tokenised columns, by length; each with a completion of another prompt for the KL.

    InvalidInput where there is one prompt only.
    """
    rows = sorted(votes, key=lambda vote: vote.length)
    others = [_other(rows, place, seed) for place in range(len(rows))]
    columns = {
        "prompt_ids": [row.prompt_ids for row in rows],
        "completion_ids": [row.completion_ids for row in rows],
        "KL_completion_ids": [rows[other].completion_ids for other in others],
        "label": [row.good for row in rows],
        "weight": [row.weight for row in rows],
        "length": [row.length for row in rows],
    }
    return datasets.Dataset.from_dict(columns)


def _other(rows: Sequence[TokenVote], place: int, seed: int) -> int:
    """A place with another prompt, near the row's own length so that batches stay dense."""
    span = range(1, len(rows))
    first = counter_seed(seed, "kl", place) % min(8, len(rows))
    for distance in (*span[first:], *span[:first]):
        other = (place + distance) % len(rows)
        if rows[other].prompt_ids != rows[place].prompt_ids:
            return other
    raise InvalidInput("all completions belong to one prompt", field="votes", remedy="KTO needs several prompts")


def train(
    config: KTOConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    votes: Sequence[TokenVote],
    scratch: Path,
    progress: Progress,
) -> Any:
    """The trained network: `model`, or peft's wrapper of it; TrainingFailed when it diverges."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    dataset = as_dataset(votes, config.seed)
    names = ("prompt_ids", "completion_ids", "KL_completion_ids")
    rows = list(zip(*(dataset[name][:] for name in names), strict=True)) if config.references is not None else []
    key = digest(config.model, rows, config.precision, f"votes {config.loss_type}") if rows else ""
    trainer = WeightedKTOTrainer(
        config=config,
        weights=Weights.of(votes, config.balance),
        references=References(config.references, key),
        model=model,
        args=trl_arguments(
            TRLConfig, config, scratch, beta=config.beta, loss_type=config.loss_type, precompute_ref_log_probs=True
        ),
        train_dataset=dataset,
        data_collator=VoteCollator(pad_token_id=cast(int, tokenizer.pad_token_id)),
        processing_class=tokenizer,
        peft_config=adapters.settings(config.lora) if config.lora is not None else None,
    )
    report_to(trainer, progress, _RENAMED)
    return run_trainer(trainer, config)
