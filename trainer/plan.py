"""What a training would take: steps, tokens, memory and, where a step can be timed, seconds.

Memory in bytes, for P parameters of which T are trained, per process:

    weights      4 P                       float32 masters
    training     12 T                      gradients and both moments of Adam
    reference    4 P                       a frozen copy, of online methods without adapters
    critic       16 P                      of PPO, where it is apart
    activations  (34 s h + 5 a s^2) L b 2  b sequences of s tokens, L layers of width h and a heads, in float32
                                           (Korthikanti et al. 2022, arXiv:2205.05198, equation 2, there in 16 bits)
    logits       8 b s V                   of the vocabulary V and their gradient

Sharding divides weights (zero3, fsdp2), and gradients and moments (zero2 too), by the number of processes.
"""

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from trainer.checkpoint import configuration, load
from trainer.config.groups import GroupMethod
from trainer.config.plan import PlannedTraining
from trainer.config.ppo import PPOMethod

_TIMED_PARAMETERS = 50_000_000  # more take too long, or too much memory, to be tried out beforehand
_ONLINE = ("ppo", "grpo", "rloo")


@dataclass(frozen=True)
class Size:
    """Of a network."""

    parameters: int
    layers: int
    width: int
    heads: int
    vocabulary: int

    @classmethod
    def of(cls, path: Any) -> "Size":
        """That of a directory's network; its weights are not read."""
        config = configuration(path)
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config)
        text = config.get_text_config()
        count = sum(parameter.numel() for parameter in network.parameters())
        return cls(count, text.num_hidden_layers, text.hidden_size, text.num_attention_heads, text.vocab_size)


@dataclass(frozen=True)
class Plan:
    """What one training would take, at most."""

    step: str
    steps: int
    """Of the optimiser."""
    tokens: int
    """Read forwards and backwards, over all passes."""
    memory_mib: int
    """Per process."""
    seconds: float | None
    """Of the passes over what is learnt; None where it was not measured."""
    why_no_time: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def plan(training: PlannedTraining, size: Size, seconds_per_token: float | None) -> Plan:
    """The plan of a training of a network of this size."""
    method, online = training.method, training.kind in _ONLINE
    batch, steps, rows = _shape(training)
    sequences = 2 if training.kind in ("dpo", "reward") else 1
    tokens = rows * sequences * training.tokens
    members = getattr(method, "members", 1)
    memory = _memory(training, size, math.ceil(batch / method.processes) * sequences)
    seconds = None if online or seconds_per_token is None else tokens * members * seconds_per_token / method.processes
    why = "" if seconds is not None else "too large to try a step of it"
    if online:
        why = "it depends on what the policy writes, and on what scores it"
    return Plan(training.name, steps * members, tokens * members, round(memory / 2**20), seconds, why)


def _shape(training: PlannedTraining) -> tuple[int, int, int]:
    """(rows per optimiser step, optimiser steps, rows over all passes)."""
    method: Any = training.method
    if isinstance(method, PPOMethod):
        each = math.ceil(method.episodes / method.minibatch) * method.epochs
        return method.micro_batch, method.steps * each, method.steps * method.episodes * method.epochs
    if isinstance(method, GroupMethod):
        each = method.generation_batch // method.minibatch * method.epochs
        batch = method.micro_batch or method.minibatch
        return batch, method.steps * each, method.steps * method.generation_batch * method.epochs
    accumulated = int(method.trl.get("gradient_accumulation_steps", 1))
    steps = math.ceil(method.epochs * math.ceil(training.rows / method.batch_size / accumulated))
    return min(method.batch_size, training.rows), steps, math.ceil(method.epochs * training.rows)


def _memory(training: PlannedTraining, size: Size, sequences: int) -> float:
    method: Any = training.method
    lora = getattr(method, "lora", None)
    trained = size.parameters if lora is None else 2 * 7 * size.layers * size.width * lora.rank
    weights, states = 4 * size.parameters, 12 * trained
    weights /= method.processes if method.sharding in ("fsdp2", "zero3") else 1
    states /= method.processes if method.sharding != "none" else 1
    reference = 4 * size.parameters if training.kind in _ONLINE and lora is None else 0
    critic = 16 * size.parameters if training.kind == "ppo" and method.critic != "head" else 0
    s, h = training.tokens, size.width
    activations = 2 * (34 * s * h + 5 * size.heads * s**2) * size.layers * sequences
    return weights + states + reference + critic + activations + 8 * sequences * s * size.vocabulary


def measured_seconds_per_token(path: Any, size: Size, tokens: int) -> float | None:
    """Of one token forwards and backwards on this machine, from one step of the real network; None if it is large."""
    if size.parameters > _TIMED_PARAMETERS:
        return None
    network, _ = load(path, "model")
    ids = torch.zeros(8, min(tokens, 128), dtype=torch.long)
    took = math.inf
    for _ in range(3):  # the first one warms up; the fastest is the one that was disturbed least
        began = time.perf_counter()
        network(input_ids=ids, labels=ids).loss.backward()
        took = min(took, time.perf_counter() - began)
    return took / ids.numel()
