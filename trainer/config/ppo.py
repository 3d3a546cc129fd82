"""Proximal policy optimisation: its configuration."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainer.config.child import AnyPath, Count, NotNegative, Positive, Resumable, Share, Strict, Training
from trainer.config.lora import LoRA
from trainer.config.monitor import MonitorConfig
from trainer.config.rollouts import RolloutServer
from trainer.config.sources import RewardModelSource, RewardSource


class KLControl(Strict):
    """What the distance from the reference costs."""

    beta: NotNegative = 0.05
    """Price of one nat, in units of the reward; the start where it adapts."""
    estimator: Literal["k1", "k3"] = "k1"
    """Of each token: k1 = ln pi - ln ref, unbiased; k3 = exp(-k1) - 1 + k1, never negative."""
    target_kl_per_sequence: Positive | None = None
    """Nats, summed over a sequence: beta rises while KL is above and falls while it is below. None keeps beta fixed."""
    horizon: Positive = 10_000.0
    """Episodes over which beta adapts; larger is slower."""
    min_beta: NotNegative = 0.0
    """Lower bound of an adapting beta."""
    max_beta: Positive = 10.0
    """Upper bound."""
    stop_at_kl_per_sequence: Positive | None = None
    """Nats: a step whose KL is larger is the last one of the run."""
    update_kl_per_sequence: Positive | None = None
    """Nats between the policy that sampled and the one in training: beyond, the rest of a step's passes is left out."""

    @model_validator(mode="after")
    def a_target_needs_a_start(self) -> Self:
        """The settings, if an adapting beta has something to adapt."""
        if self.target_kl_per_sequence is not None and self.beta == 0:
            raise ValueError("`target_kl_per_sequence` needs a `beta` above 0 to begin with")
        if self.target_kl_per_sequence is not None and not self.min_beta <= self.beta <= self.max_beta:
            raise ValueError("`beta` is not between `min_beta` and `max_beta`")
        return self


class CostControl(Strict):
    """How a bound on the mean cost is kept: its price lambda rises while the cost is above the threshold and falls
    while it is below (Safe-RLHF, arXiv:2310.12773)."""

    threshold: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """The most that an episode may cost on average, in the units of the sum of all cost sources."""
    multiplier: Positive = 1.0
    """lambda at the start."""
    max_multiplier: Positive = 5.0
    """Bound of lambda."""
    learning_rate: Positive = 0.1
    """Of ln lambda, by gradient ascent."""
    window: Count = 128
    """Episodes, the latest ones, over which the cost is averaged."""

    @model_validator(mode="after")
    def the_start_is_within_its_bound(self) -> Self:
        """The settings, if lambda may begin where it does."""
        if self.multiplier > self.max_multiplier:
            raise ValueError("`multiplier` is above `max_multiplier`")
        return self


class PPOMethod(Training):
    """Proximal policy optimisation with a KL penalty against the reference (arXiv:1707.06347, 1909.08593): settings."""

    steps: Count = 50
    """Rounds of sampling and training."""
    episodes: Count = 64
    """Completions per step."""
    epochs: Count = 2
    """Passes over a step's episodes."""
    minibatch: Count = 32
    """Episodes per optimiser step."""
    micro_batch: Count = 8
    """Episodes per forward pass; gradients accumulate up to a minibatch and do not depend on it."""
    learning_rate: Positive = 1e-4
    """Peak, of the policy. The default suits a model of a few million parameters; large ones want about 1e-6."""
    critic_learning_rate: Positive | None = None
    """Peak, of the critic; None: as the policy."""
    schedule: Literal["constant", "linear"] = "linear"
    """Of both learning rates after the warm-up; linear ends at a tenth."""
    warmup: Share = 0.05
    """Share of the optimiser steps over which learning rates rise."""
    max_grad_norm: Positive = 1.0
    """Of policy and critic, each."""
    kl: KLControl = KLControl()
    constraint: CostControl = CostControl()
    """Of the mean cost, where `costs` are given."""
    gamma: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Discount per token."""
    gae_lambda: Annotated[float, Field(ge=0.0, le=1.0)] = 0.95
    """Of generalised advantage estimation (arXiv:1506.02438)."""
    clip: Positive = 0.2
    """How far a token's probability ratio may leave 1 before its gradient stops."""
    value_clip: Positive | None = 0.2
    """How far a value may move from the old one before its gradient stops; None does not clip."""
    value_weight: Positive = 0.1
    """Of the value loss, where the critic is a head on the policy."""
    entropy_weight: NotNegative = 0.0
    """Of the mean entropy per token, in nats, which is then kept up."""
    clip_score: Positive | None = 5.0
    """Bound on the sum of all reward sources, in standard deviations of the reward model; None does not clip."""
    whiten_rewards: bool = False
    """Divide the rewards of a step by their standard deviation (the mean stays)."""
    missing_eos_penalty: NotNegative = 1.0
    """Taken off the score of a completion that ran into `max_tokens`."""
    max_failed: Annotated[float, Field(ge=0.0, le=1.0)] = 0.2
    """Share of a step's episodes that may lack a score, because a source failed, before the run fails; they are left
    out."""
    temperature: Positive = 1.0
    """At which completions are sampled, and all probabilities are computed."""
    max_tokens: Count = 160
    """Of one completion."""
    max_length: Count = 1024
    """Tokens of prompt and completion together; a prompt without room for `max_tokens` is dropped and counted."""
    critic: Literal["reward_model", "policy", "head"] = "reward_model"
    """What values begin as: the reward model (the steady choice), a copy of the policy with a fresh head, or a fresh
    head on the policy itself, which costs least memory. Without a reward model the first becomes the second."""
    critic_warmup: Annotated[int, Field(ge=0)] = 0
    """Steps at the start that train the critic only."""
    lora: LoRA | None = None
    """None trains all weights."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    ptx_weight: NotNegative = 0.0
    """Of the negative log-likelihood per token of text from `ptx` (InstructGPT's gamma), against forgetting."""

    @model_validator(mode="after")
    def parts_fit(self) -> Self:
        """The settings, if a minibatch fits a step and the critic fits the rest."""
        if self.sharding != "none":
            raise ValueError("`ppo` keeps all weights in every process: take `sharding: none`")
        if self.minibatch > self.episodes:
            raise ValueError("`minibatch` is larger than `episodes`")
        if self.lora is not None and self.critic == "head":
            raise ValueError("`critic: head` needs all weights trained; take `policy` with `lora`")
        if self.critic_warmup and self.critic == "head":
            raise ValueError(
                "`critic: head` shares the policy's weights, so it cannot be trained before; drop `critic_warmup`"
            )
        return self


class PPOConfig(PPOMethod, Resumable):
    """One PPO training: the method, what it is applied to, and where the model goes."""

    type: Literal["ppo"]
    model: AnyPath
    """Hugging Face directory of the policy; it is also the reference."""
    prompts: AnyPath
    """JSONL of `solon.records.Prompt`."""
    rewards: Annotated[list[RewardSource], Field(min_length=1)]
    """Terms of the reward; a term that does not apply to a completion is left out of its sum."""
    costs: list[RewardSource] = Field(default_factory=list[RewardSource])
    """Terms of the cost, which `constraint` bounds: more is worse. A reward model of what is good has a weight below 0.
    """
    rollouts: RolloutServer | None = None
    """Who writes the completions; None: this process."""
    monitor: MonitorConfig | None = None
    """None watches nothing."""
    ptx: AnyPath | None = None
    """JSONL of `trainer.data.Sample`: text to stay good at; needed where `ptx_weight` is above 0."""
    save_every: Count = 5
    """Steps between two checkpoints, where `state` is given."""

    @model_validator(mode="after")
    def parts_are_there(self) -> Self:
        """The configuration, if names are unique and `ptx` is given where it has weight."""
        names = [source.name for source in (*self.rewards, *self.costs)]
        if len(set(names)) < len(names):
            raise ValueError("each reward and each cost needs a `name` of its own")
        if self.costs and self.critic == "head":
            raise ValueError("`costs` need a critic of their own; take `critic: reward_model` or `policy`")
        if self.ptx_weight and self.ptx is None:
            raise ValueError("`ptx_weight` needs `ptx`")
        if self.rollouts is not None and self.lora is None:
            raise ValueError("`rollouts` needs `lora`: a server takes adapters while it runs, no whole weights")
        return self

    @property
    def reward_model(self) -> RewardModelSource | None:
        """The first reward model among the sources."""
        return _first_model(self.rewards)

    @property
    def cost_model(self) -> RewardModelSource | None:
        """The first reward model among the costs."""
        return _first_model(self.costs)


def _first_model(sources: list[RewardSource]) -> RewardModelSource | None:
    return next((source for source in sources if isinstance(source, RewardModelSource)), None)
