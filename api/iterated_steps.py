"""Steps of iterated methods: rejection sampling, and what else is done in rounds."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from api.recipe_parts import Part, RewardModelTerm, RewardTerm, require_each_once
from solon.settings import ModelName
from trainer.config import DPOMethod


class BestOfNStep(Part):
    """Samples of the policy as it is, scored; of each prompt the best of this and all earlier `best_of_n` steps."""

    type: Literal["best_of_n"]
    samples: Annotated[int, Field(ge=1, le=256)] = 8
    """Completions of each prompt. Llama 2 takes 10 to 100."""
    rewards: Annotated[list[RewardTerm], Field(min_length=1)] = Field(
        default_factory=lambda: [RewardModelTerm(type="reward_model")]
    )
    """What scores them, added up by their weights. Samples of earlier rounds are scored again when it has changed;
    a `gate` is not whitened, since rounds would not be on one scale."""
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    """Llama 2 takes 1.2 to 1.3, so that samples differ; small models may ramble there."""
    max_tokens: Annotated[int, Field(ge=1, le=32768)] = 160
    """Of one completion."""
    keep_cut: bool = False
    """Score completions that ran into `max_tokens` too; they are not taught to stop there."""
    min_coverage: Annotated[float, Field(ge=0.0, le=1.0)] = 0.8
    """Share of the samples that must have a score; below it the job fails."""

    @property
    def terms(self) -> tuple[Any, ...]:
        """Of the reward."""
        return tuple(self.rewards)

    @model_validator(mode="after")
    def _each_term_once(self) -> "BestOfNStep":
        require_each_once(self.rewards)
        return self


class Profile(Part):
    """One person's values: what weighs how much."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    weights: Annotated[dict[str, float], Field(min_length=1)]
    """Factors for the weights of the principles, by id or `tag:NAME`, as in a recipe's `weights`."""


class ConditionStep(Part):
    """The pairs of the last step that made some, once for each value profile: the stored votes are combined with the
    profile's weights, at no judge call, and the prompt says in a system message what they are."""

    type: Literal["condition"]
    profiles: Annotated[list[Profile], Field(min_length=1, max_length=16)]
    plain: bool = True
    """Also keep the pairs as they are, without a system message, so that the policy is aligned where none is given."""

    @model_validator(mode="after")
    def _names_differ(self) -> "ConditionStep":
        names = [profile.name for profile in self.profiles]
        if len(set(names)) < len(names):
            raise ValueError("each profile needs a `name` of its own")
        return self


class EvaluateProfilesStep(Part):
    """What the policy writes under each profile of the last `condition` step, and under none, to the same prompts."""

    type: Literal["evaluate_profiles"]
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=32768)] = 160
    """Of one completion."""
    judged: bool = True
    """Whether the judge compares what is written under a profile with what is written under none, by the profile."""


class SPINStep(DPOMethod):
    """Self-play fine-tuning (arXiv:2401.01335): the policy learns to tell the demonstrations of the last `sft` step
    from its own samples to the same prompts, until it cannot; then it ends its rounds."""

    type: Literal["spin"]
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=32768)] = 160
    """Of one sample."""
    held_out: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of the prompts that no round trains on: there it is measured whether demonstrations can be told apart."""


class FeedbackStep(Part):
    """What people and the world have said since: reviews and fresh prompts join the pairs, each once, without those
    that models are evaluated on. Files may grow between two runs; what has not changed is not labelled again."""

    type: Literal["feedback"]
    reviews: str | None = None
    """JSONL of rows with `response_a`, `response_b` and people's `votes`."""
    traffic: str | None = None
    """JSONL of rows with a prompt only: the policy answers, and the judge labels the answers."""
    near_duplicates: bool = True
    """Leave out prompts that nearly repeat an evaluation prompt too, and not only those that are the same."""
    candidates: Annotated[int, Field(ge=2, le=64)] = 4
    """Completions of each prompt of `traffic`."""
    pairing: Literal["max_margin", "adjacent", "all", "random"] = "adjacent"
    """Which of them become pairs."""
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=32768)] = 160
    """Of one completion."""
    min_coverage: Annotated[float, Field(ge=0.0, le=1.0)] = 0.8
    """Share of the comparisons of `traffic` that must end `ok` or `tie`; below it the job fails."""

    @model_validator(mode="after")
    def _something_joins(self) -> "FeedbackStep":
        if self.reviews is None and self.traffic is None:
            raise ValueError("name a file of `reviews`, of `traffic`, or both")
        return self


class PromoteStep(Part):
    """The policy as it is against the snapshot that is in force: it takes its place where the lower bound of its gain
    is above 0, and else the next step goes on from the one in force."""

    type: Literal["promote"]
    patience: Annotated[int, Field(ge=1)] = 2
    """After so many of these steps in a row without a promotion, the rounds end."""
    level: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95
    """Of the interval: a promotion that should not be happens at most about half as often as 1 - level."""
    prompts: Annotated[int, Field(ge=2)] = 256
    """How many to compare on: the evaluation prompts after those that `evaluate` measures on, so that nothing is
    chosen on what is reported."""
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=32768)] = 160
    """Of one completion."""
    name: ModelName | None = None
    """Under which a promoted snapshot is put in force on this machine, for `policy: NAME`; None: in this run only."""
