"""Actor, reference and critic, and what each says of a batch of responses."""

import copy
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from solon.errors import InvalidInput
from trainer import adapters
from trainer.batches import rounded
from trainer.checkpoint import context_of
from trainer.config import PPOConfig, RewardModelSource
from trainer.config.lora import LoRA
from trainer.hardware import device, takes_bfloat16
from trainer.reward.scoring import classifier, read_about

_HEAD_ROWS = 4096  # tokens whose logits are in memory at once, where no gradient is wanted


@dataclass(frozen=True)
class Batch:
    """Prompts with their responses, right-padded, for one forward pass.

    A causal model cannot see padding on the right, so no attention mask is needed.
    """

    ids: Tensor
    """[episode, prompt and response token]."""
    before: Tensor
    """[token of all responses in order, then some filling]: where in all of `ids` the token before each stands."""
    mask: Tensor
    """Bool, [episode, response token]: responses, left-aligned."""

    @classmethod
    def of(cls, rows: Sequence[tuple[Sequence[int], Sequence[int]]], context: int | None = None) -> "Batch":
        """A batch of (prompt ids, response ids), on the device; every response has at least one token.

        Args:
            context: tokens that the networks can read, at most; None: any number.
        """
        width = rounded(max(len(prompt) + len(response) for prompt, response in rows), context)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), max(len(response) for _, response in rows), dtype=torch.bool)
        before: list[int] = []
        for row, (prompt, response) in enumerate(rows):
            end = len(prompt) + len(response)
            ids[row, :end] = torch.tensor([*prompt, *response])
            before += range(row * width + len(prompt) - 1, row * width + end - 1)
            mask[row, : len(response)] = True
        before += before[:1] * (rounded(len(before)) - len(before))
        where = device()
        return cls(ids.to(where), torch.tensor(before, device=where), mask.to(where))

    def responses(self, states: Tensor) -> Tensor:
        """[episode, token, width] -> [as `before`, width]: what is known when each response token is chosen."""
        return states.flatten(0, 1)[self.before]

    @property
    def chosen(self) -> Tensor:
        """[as `before`]: the response tokens."""
        return self.ids.flatten()[self.before + 1]

    def spread(self, values: Tensor) -> Tensor:
        """[as `before`] -> [episode, response token], 0 outside the mask."""
        return values.new_zeros(self.mask.shape).masked_scatter(self.mask, values)


@dataclass(frozen=True)
class Said:
    """What a policy says of a batch; [episode, response token], 0 outside the mask."""

    logps: Tensor
    """ln p of each token, in nats."""
    entropy: Tensor | None
    """Of each token's distribution, in nats; None where it was not asked for."""
    values: Tensor | None
    """Of a value head on the policy."""


class Critic(nn.Module):
    """A transformer with one output per token: what the response will still earn."""

    def __init__(self, trunk: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, batch: Batch) -> Tensor:
        """Values before each response token, [episode, response token]."""
        hidden = batch.responses(self.trunk(input_ids=batch.ids, use_cache=False).last_hidden_state)
        return batch.spread(self.head(hidden).squeeze(-1).float())


class Networks:
    """The networks of a run; actor and critic are trained, the reference is what the actor began as."""

    def __init__(self, actor: PreTrainedModel, config: PPOConfig) -> None:
        """Args:
        actor: in float32, on the device; it is changed in place.
        """
        torch.manual_seed(config.seed)  # for adapters
        self.config = config
        self.actor = actor
        self._adapted: Any = _with_adapters(actor, config.lora) if config.lora is not None else None
        self._reference = _frozen(actor) if self._adapted is None else None
        self.head: nn.Linear | None = None
        self.critic: Critic | None = None
        if config.critic == "head":
            self.head = _fresh_head(actor).to(device())
        else:
            self.critic = _critic(actor, self._adapted, config, config.reward_model).to(device())
        self.cost_critic: Critic | None = None
        if config.costs:
            self.cost_critic = _critic(actor, self._adapted, config, config.cost_model).to(device())
        networks = [network for network in (actor, self.critic, self.cost_critic) if network is not None]
        for network in networks:
            _without_dropout(network)
        trunks = [network.trunk if isinstance(network, Critic) else network for network in networks]
        self._context = min(context_of(cast(PreTrainedModel, trunk).config) for trunk in trunks)

    def batch(self, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Batch:
        """(prompt ids, response ids) as these networks read them."""
        return Batch.of(rows, self._context)

    def say(self, batch: Batch, *, entropy: bool = False) -> Said:
        """What the actor says; carries gradient unless it is switched off."""
        with _autocast(self.config):
            hidden = _hidden(self.actor, batch)
            logps, spread = _logps(self.actor, hidden, batch, self.config.temperature, entropy)
            values = None if self.head is None else batch.spread(self.head(hidden).squeeze(-1).float())
        return Said(logps, spread, values)

    @contextmanager
    def reference(self) -> Generator[PreTrainedModel]:
        """The reference: the actor with its adapters switched off, or a frozen copy of what it was."""
        with self._adapted.disable_adapter() if self._adapted is not None else nullcontext():
            yield self.actor if self._reference is None else self._reference

    @torch.no_grad()
    def reference_logps(self, batch: Batch) -> Tensor:
        """What the reference says."""
        with self.reference() as reference, _autocast(self.config):
            return _logps(reference, _hidden(reference, batch), batch, self.config.temperature, False)[0]

    @torch.no_grad()
    def plain_logps(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What actor and reference say at temperature 1, whatever completions are sampled at."""
        with _autocast(self.config):
            own = _logps(self.actor, _hidden(self.actor, batch), batch, 1.0, False)[0]
            with self.reference() as reference:
                return own, _logps(reference, _hidden(reference, batch), batch, 1.0, False)[0]

    def values(self, batch: Batch) -> Tensor:
        """Values of a critic of its own."""
        if self.critic is None:
            raise InvalidInput("the critic is a head on the policy", field="critic", remedy="ask the policy")
        with _autocast(self.config):
            return self.critic(batch)

    def cost_values(self, batch: Batch) -> Tensor:
        """What the response will still cost, of a critic of its own."""
        if self.cost_critic is None:
            raise InvalidInput("nothing costs anything", field="costs", remedy="name a cost")
        with _autocast(self.config):
            return self.cost_critic(batch)

    def trained(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """Named parameters that are trained: `actor` and, where they are apart, `critic` and `cost_critic`."""
        head = [] if self.head is None else [(f"head.{n}", p) for n, p in self.head.named_parameters()]
        found = {"actor": [*_trainable(self.actor), *head]}
        if self.critic is not None:
            found["critic"] = list(_trainable(self.critic))
        if self.cost_critic is not None:
            found["cost_critic"] = list(_trainable(self.cost_critic))
        return found

    def actor_weights(self) -> dict[str, Tensor]:
        """What is trained of the actor, by name."""
        return {name: parameter.data for name, parameter in self.trained()["actor"]}

    def publishable(self) -> PreTrainedModel:
        """The actor with its adapters merged. It cannot be trained further."""
        return self.actor if self._adapted is None else self._adapted.merge_and_unload()

    def save_adapter(self, out: Path) -> None:
        """Write the adapters alone."""
        self._adapted.save_pretrained(str(out))

    @contextmanager
    def learning(self) -> Generator[None]:
        """While gradients are computed: activation checkpointing works in training mode only, and a cache not in it."""
        if not self.config.gradient_checkpointing:
            yield
            return
        critics = [critic.trunk for critic in (self.critic, self.cost_critic) if critic is not None]
        networks: list[Any] = [self.actor, *critics]
        for network in networks:
            network.activation_checkpointing_enable({"use_reentrant": False})
            network.train()
        try:
            yield
        finally:
            for network in networks:
                network.activation_checkpointing_disable()
                network.eval()


def _hidden(network: PreTrainedModel, batch: Batch) -> Tensor:
    """Hidden states before each response token, [as `batch.before`, hidden]."""
    trunk = cast(Any, network.base_model)
    return batch.responses(trunk(input_ids=batch.ids, use_cache=False).last_hidden_state)


def _logps(
    network: PreTrainedModel, hidden: Tensor, batch: Batch, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    head = cast(nn.Module, network.get_output_embeddings())
    tokens = batch.chosen

    def some(states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(states).float() / temperature
        total = logits.logsumexp(-1)
        logps = logits.gather(-1, wanted.unsqueeze(-1)).squeeze(-1) - total
        spread = total - (torch.softmax(logits, -1) * logits).sum(-1) if entropy else logps.new_zeros(logps.shape)
        return logps, spread

    whole = len(tokens) <= _HEAD_ROWS
    parts = [
        some(states, wanted) if whole or not states.requires_grad else _recomputed(some, states, wanted)
        for states, wanted in zip(hidden.split(_HEAD_ROWS), tokens.split(_HEAD_ROWS), strict=True)
    ]
    logps, spread = (torch.cat(each) for each in zip(*parts, strict=True))
    return batch.spread(logps), batch.spread(spread) if entropy else None


def _recomputed(some: Any, states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """`some`, whose logits are not kept for the backward pass but computed again."""
    return cast(tuple[Tensor, Tensor], checkpoint(some, states, wanted, use_reentrant=False))


def _autocast(config: PPOConfig) -> Any:
    """The configuration's precision; master weights stay in float32."""
    return torch.autocast(device().type, torch.bfloat16, enabled=takes_bfloat16(config.precision))


def _with_adapters(actor: PreTrainedModel, lora: LoRA) -> Any:
    """peft's wrapper; the adapters are put into `actor` itself, which goes on being used directly."""
    import peft

    return peft.get_peft_model(actor, adapters.settings(lora))


def _frozen(actor: PreTrainedModel) -> PreTrainedModel:
    reference = copy.deepcopy(actor).eval()
    return reference.requires_grad_(False)


def _critic(actor: PreTrainedModel, adapted: Any, config: PPOConfig, source: RewardModelSource | None) -> Critic:
    """A critic as a run begins with it: the reward model, in the units of its weighted term, or the policy."""
    if config.critic == "policy" or source is None:
        plain = copy.deepcopy(actor) if adapted is None else _unadapted(actor, adapted)
        critic = Critic(plain.base_model, _fresh_head(actor))
        return critic.requires_grad_(True)
    member = read_about(source.path, "rewards")["members"][0]
    model = classifier(source.path / member["path"], None, "rewards")
    if model.config.get_text_config().vocab_size != actor.config.get_text_config().vocab_size:
        raise InvalidInput(
            "reward model and policy have different tokenizers, so it cannot be the critic",
            field="critic",
            remedy="take `critic: policy`",
        )
    scale = source.weight / member["deviation"]
    head = _fresh_head(actor, model.config.get_text_config().hidden_size)
    with torch.no_grad():
        head.weight.copy_(cast(Any, model).score.weight * scale)
        head.bias.fill_(-member["mean"] * scale)
    return Critic(model.base_model, head)


def _unadapted(actor: PreTrainedModel, adapted: Any) -> PreTrainedModel:
    """A copy of the actor without its adapters."""
    return copy.deepcopy(adapted).unload()


def _fresh_head(actor: PreTrainedModel, width: int | None = None) -> nn.Linear:
    """A head that says 0 of everything."""
    head = nn.Linear(width or actor.config.get_text_config().hidden_size, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _without_dropout(network: nn.Module) -> None:
    """Probabilities must not depend on a coin: the ratio of the first minibatch is 1."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            cast(Any, module).attention_dropout = 0.0


def _trainable(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad)
