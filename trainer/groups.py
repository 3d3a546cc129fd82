"""GRPO and RLOO: TRL's trainers with our rewards, our sampler and our batches.

TRL computes advantages, losses and the reference's log-probabilities. Ours are:

- what is sampled: by the sampler of the local server, with seeds that depend on the round and the place in it only;
- what is earned: `trainer.rewards`, with a term for a missing end of turn, and failures left out of their group;
- which completions make a minibatch: whole groups in order, so that the number of processes changes nothing;
- KL per sequence, in nats, where TRL reports a mean per token.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import datasets
import torch
from accelerate.data_loader import DataLoaderShard
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer
from trl.trainer.grpo_config import GRPOConfig as TRLGRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig as TRLRLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer
from trl.trainer.utils import split_tensor_dict

from solon.errors import InvalidInput, TrainingFailed
from solon.records import Completion, Prompt
from solon.seeds import counter_seed
from trainer import adapters, processes
from trainer.config import GRPOConfig, RLOOConfig
from trainer.decoding import Sampling
from trainer.group_policy import network_of
from trainer.language_model import LanguageModel
from trainer.monitor.callback import WatchedRounds
from trainer.monitor.watch import Watch
from trainer.progress import Progress
from trainer.rewards.mix import Source
from trainer.rewards.shares import mixed_of_own
from trainer.sampling import Request
from trainer.sampling import Sampler as Writer
from trainer.trl_run import report_to, run_trainer, trl_arguments

MISSING_EOS = "missing_eos"

_RENAMED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "score": "reward",
    "kl_sequence": "kl",
    "completions/mean_length": "tokens",
    "unfinished": "unfinished",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_share",
    "frac_reward_zero_std": "even_groups",
    "failed": "failed",
}
"""TRL's metric names, and those of the class below, to ours."""

Group = GRPOConfig | RLOOConfig


class Rounds(Sampler[list[int]]):
    """The rows of this process for each micro-step: the same round's rows until all of it has been learnt.

    Prompts come each once per pass, in an order drawn anew for each pass, and each as often as it has completions. A
    process has its part of each minibatch, minibatch by minibatch.
    """

    def __init__(
        self, config: Group, prompts: int, micro_steps: int, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Args:
        stopped: whether no further round is to come; a trainer that goes on from a checkpoint would take a step first.
        """
        self._config, self._prompts, self._repeats = config, prompts, micro_steps
        self._stopped = stopped

    def __len__(self) -> int:
        return self._config.steps * self._repeats

    def __iter__(self) -> Iterator[list[int]]:
        config, rank, count = self._config, processes.rank(), processes.count()
        own = config.minibatch // count
        for step in range(config.steps):
            if self._stopped():
                return
            places = range(step * config.prompts_per_step, (step + 1) * config.prompts_per_step)
            rows = [row for row in map(self._row, places) for _ in range(config.completions)]
            starts = range(0, len(rows), config.minibatch)
            mine = [row for start in starts for row in rows[start + rank * own : start + (rank + 1) * own]]
            for _ in range(self._repeats):
                yield mine

    def _row(self, place: int) -> int:
        turn, index = divmod(place, self._prompts)
        generator = torch.Generator().manual_seed(counter_seed(self._config.seed, "prompts", turn))
        return int(torch.randperm(self._prompts, generator=generator)[index])


@dataclass(frozen=True)
class Task:
    """What a run works on."""

    config: Group
    asked: Sequence[tuple[Prompt, list[int]]]
    """Prompts with their ids."""
    sources: Sequence[Source]
    tokenizer: PreTrainedTokenizerBase


class OwnRollouts:
    """Gives a trainer of TRL's our rounds, our sampler and our rewards."""

    task: Task
    watch: Watch | None = None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One batch per micro-step; see `Rounds`."""
        trainer = cast(Any, self)
        rounds = Rounds(self.task.config, len(self.task.asked), self._micro_steps(), self._is_stopped)
        loader: Any = DataLoaderShard(
            trainer.train_dataset,
            device=trainer.accelerator.device,
            batch_sampler=rounds,
            collate_fn=trainer.data_collator,
        )
        return loader

    def _is_stopped(self) -> bool:
        return self.watch is not None and self.watch.stopped

    def _micro_steps(self) -> int:
        """Forward passes between two rounds of sampling."""
        trainer = cast(Any, self)
        return trainer.args.steps_per_generation * trainer.num_iterations

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """A micro-batch; TRL would shuffle the completions of a round, each process its own."""
        trainer = cast(Any, self)
        parts = trainer.args.steps_per_generation
        if trainer._step % self._micro_steps() == 0 or trainer._buffered_inputs is None:
            self._heard: list[Tensor] = []
            batch = trainer._generate_and_score_completions(generation_batch)
            self._tell_distance(batch)
            trainer._buffered_inputs = split_tensor_dict(batch, parts)
        return trainer._buffered_inputs[trainer._step % parts]

    def _get_per_token_logps_and_entropies(self, *arguments: Any, **named: Any) -> Any:
        found = cast(Any, super())._get_per_token_logps_and_entropies(*arguments, **named)
        self._heard.append(found[0].detach())
        return found

    def _tell_distance(self, batch: dict[str, Any]) -> None:
        """KL(policy || reference) per sequence, in nats, from what both said of the round."""
        if self.task.config.beta and len(self._heard) == 2:
            policy, reference = self._heard
            self._record_kl((policy - reference) * batch["completion_mask"])
        self._heard.clear()

    def _record_kl(self, nats: Tensor) -> None:
        sequences = nats.new_tensor(len(nats))
        total, count = processes.total(torch.stack([nats.sum(), sequences])).tolist()
        cast(Any, self)._metrics["train"]["kl_sequence"].append(total / count)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any) -> Tensor:
        """TRL's loss; TrainingFailed when it is not finite."""
        trainer = cast(Any, self)
        loss: Tensor = cast(Any, super()).compute_loss(model, inputs, *arguments, **named)
        if not torch.isfinite(loss):
            step = trainer.state.global_step + 1
            raise TrainingFailed(f"the loss became {loss.item()} at step {step}", remedy="lower learning_rate")
        # GRPO that trains once on what it sampled has no other forward pass of the policy than this one.
        if "ref_per_token_logps" in inputs and "old_per_token_logps" not in inputs:
            self._record_kl((self._heard[-1] - inputs["ref_per_token_logps"]) * inputs["completion_mask"])
        self._heard.clear()
        return loss

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.task.asked[row][1] for row in self._rows], None, {}

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._rows = [row["row"] for row in inputs]
        return cast(Any, super())._generate_and_score_completions(inputs)

    def _written(self, prompt_ids: list[list[int]]) -> list[list[int]] | None:
        """Token ids of the completions by our sampler; None where TRL's own way has to be taken."""
        trainer, config = cast(Any, self), self.task.config
        if trainer.use_vllm or config.sharding != "none":
            return None
        writer = self._writer()
        if writer is None:
            return None
        seed = counter_seed(config.seed, "rollout", trainer.state.global_step)
        requests = [
            Request(tuple(ids), Sampling(config.max_tokens, config.temperature, seed=seed, index=self._place(i)))
            for i, ids in enumerate(prompt_ids)
        ]
        with torch.no_grad():
            return [list(one.tokens) for one in writer.sample(requests)]

    def _writer(self) -> Writer | None:
        try:
            model = LanguageModel.around(network_of(self), self.task.tokenizer, "policy")
        except InvalidInput:  # an architecture that the sampler does not support
            return None
        return Writer(model, max_rows=len(self._rows))

    def _place(self, own: int) -> int:
        """A row's place in the round over all processes, from its place in this one's part."""
        part = self.task.config.minibatch // processes.count()
        number, within = divmod(own, part)
        return number * self.task.config.minibatch + processes.rank() * part + within

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids: list[list[int]]
    ) -> Tensor:
        """[completion of all processes, term], NaN where a term does not apply, and in all terms where one failed."""
        trainer, config = cast(Any, self), self.task.config
        done = [ids[-1] in trainer.eos_token_ids for ids in completion_ids]
        texts = self.task.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        items = [
            (self.task.asked[row][0], Completion(text=text, finish_reason="stop" if finished else "length"))
            for row, text, finished in zip(self._rows, texts, done, strict=True)
        ]
        rewards = mixed_of_own(self.task.sources, items)
        rows = [
            [math.nan if total is None or (score := scores[i]) is None else score for scores in rewards.terms.values()]
            + [math.nan if total is None else -config.missing_eos_penalty * (not done[i])]
            for i, total in enumerate(rewards.total)
        ]
        totals = [math.nan if total is None else total for total in rewards.total]
        local = torch.tensor([[*row, total] for row, total in zip(rows, totals, strict=True)])
        found: Tensor = trainer.accelerator.gather(local.to(trainer.accelerator.device))
        self._tell_scores(found, done)
        return found[:, :-1]

    def _tell_scores(self, found: Tensor, done: list[bool]) -> None:
        metrics, config = cast(Any, self)._metrics["train"], self.task.config
        failed = torch.isnan(found[:, -1]).float().mean().item()
        if failed > config.max_failed or failed == 1.0:
            raise TrainingFailed(
                f"{failed:.0%} of the completions have no reward",
                remedy="see why the reward sources fail, or raise max_failed",
            )
        metrics["failed"].append(failed)
        metrics["score"].append(torch.nanmean(found[:, -1]).item())
        cut = found.new_tensor([len(done) - sum(done), len(done)])
        unfinished, count = processes.total(cut).tolist()
        metrics["unfinished"].append(unfinished / count)


class SolonGRPOTrainer(OwnRollouts, GRPOTrainer):
    """TRL's GRPOTrainer on our rounds and rewards."""

    def __init__(self, task: Task, **arguments: Any) -> None:
        self.task, self._heard = task, []
        super().__init__(**arguments)

    def _generate_single_turn(self, prompt_ids: list[list[int]], *rest: Any, **named: Any) -> Any:
        written = self._written(prompt_ids)
        return super()._generate_single_turn(prompt_ids, *rest, **named) if written is None else (written, None)


class SolonRLOOTrainer(OwnRollouts, RLOOTrainer):
    """TRL's RLOOTrainer on our rounds and rewards."""

    def __init__(self, task: Task, **arguments: Any) -> None:
        self.task, self._heard = task, []
        super().__init__(**arguments)

    def _generate_single_turn(self, prompt_ids: list[list[int]], *rest: Any, **named: Any) -> Any:
        written = self._written(prompt_ids)
        return super()._generate_single_turn(prompt_ids, *rest, **named) if written is None else written


def per_round(config: Group) -> int:
    """Optimiser steps per round."""
    return config.generation_batch // config.minibatch * config.epochs


def _arguments(config: Group, names: Sequence[str], weights: Sequence[float], scratch: Path) -> Any:
    own = config.minibatch // config.processes
    micro = config.micro_batch or own
    shared: dict[str, Any] = {
        "max_steps": config.steps * per_round(config),
        "num_train_epochs": 1,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": own // micro,
        "generation_batch_size": config.generation_batch,
        "num_generations": config.completions,
        "num_iterations": config.epochs,
        "max_completion_length": config.max_tokens,
        "temperature": config.temperature,
        "top_k": 0,
        "beta": config.beta,
        "epsilon": config.clip,
        "max_grad_norm": config.max_grad_norm,
        "reward_weights": [*weights, 1.0],
        "logging_steps": per_round(config),
        # A checkpoint falls between two rounds: TRL does not keep what it has sampled.
        "save_steps": config.save_every * per_round(config),
    }
    if isinstance(config, GRPOConfig):
        ours = {"scale_rewards": config.scale_rewards, "loss_type": config.loss_type}
        return trl_arguments(TRLGRPOConfig, config, scratch, **shared, **ours)
    return trl_arguments(TRLRLOOConfig, config, scratch, **shared, normalize_advantages=config.normalize_advantages)


def _separate_pad(tokenizer: PreTrainedTokenizerBase, ends: frozenset[int]) -> None:
    """Pad with a token that ends nothing: where it is the end of turn, a trainer takes the end for padding."""
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        other = next(token for token in range(len(tokenizer)) if token not in ends)
        tokenizer.pad_token = cast(str, tokenizer.convert_ids_to_tokens(other))


def _named(name: str) -> Any:
    """TRL asks for a function per reward; all are computed together instead."""

    def reward(**_: Any) -> list[float]:
        raise NotImplementedError(name)

    reward.__name__ = name
    return reward


def prepared(
    config: Group,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[tuple[Prompt, list[int]]],
    sources: Sequence[Source],
    scratch: Path,
) -> Trainer:
    """TRL's trainer of the model, before its first step."""
    ends = LanguageModel.ends(model, tokenizer)
    _separate_pad(tokenizer, ends)
    names = [source.name for source in sources]
    rows = {
        "prompt": [[message.model_dump() for message in prompt.messages] for prompt, _ in asked],
        "row": list(range(len(asked))),
    }
    kind: Any = SolonGRPOTrainer if isinstance(config, GRPOConfig) else SolonRLOOTrainer
    return kind(
        Task(config, asked, sources, tokenizer),
        model=model,
        reward_funcs=[_named(name) for name in (*names, MISSING_EOS)],
        args=_arguments(config, names, [source.weight for source in sources], scratch),
        train_dataset=datasets.Dataset.from_dict(rows),
        processing_class=tokenizer,
        peft_config=adapters.settings(config.lora) if config.lora is not None else None,
    )


def train(trainer: Any, progress: Progress, watch: Watch | None = None) -> Any:
    """The trained network, plain or in peft's wrapper; TrainingFailed when it diverges or rewards fail.

    `progress` hears of rounds.
    """
    task: Task = trainer.task
    optimiser_steps = per_round(task.config)
    if watch is not None:
        trainer.watch = watch
        trainer.add_callback(WatchedRounds(watch, optimiser_steps))

    def rounds(step: int, max_steps: int, metrics: dict[str, float]) -> None:
        number = step // optimiser_steps
        seen = watch.metrics(number) if watch is not None else {}
        progress(number, max_steps // optimiser_steps, metrics | seen)

    names = [*(source.name for source in task.sources), MISSING_EOS]
    report_to(trainer, rounds, _RENAMED | {f"rewards/{name}/mean": f"reward_{name}" for name in names})
    return run_trainer(trainer, task.config)
