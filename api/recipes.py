"""The recipe of a self-alignment job: the same models are the YAML schema, the request body and its documentation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from api.group_steps import GRPOStep, KTOStep, RLOOStep
from api.iterated_steps import (
    BestOfNStep,
    ConditionStep,
    EvaluateProfilesStep,
    FeedbackStep,
    PromoteStep,
    SPINStep,
)
from api.recipe_parts import (
    BudgetPart,
    JudgeTerm,
    OnRewards,
    Part,
    Prompts,
    RewardModelTerm,
    RewardName,
    RewardTerm,
    RolloutsPart,
    RulesTerm,
    models_of,
)
from solon.settings import ModelName
from trainer.config import DPOMethod, PPOMethod, RewardMethod, SFTMethod

__all__ = [
    "AnyStep",
    "BestOfNStep",
    "BudgetPart",
    "CritiqueRevisionStep",
    "DPOStep",
    "EvaluateStep",
    "GRPOStep",
    "JudgeTerm",
    "KTOStep",
    "LabelStep",
    "PPOStep",
    "Planned",
    "Prompts",
    "RLOOStep",
    "Recipe",
    "RejectionSamplingStep",
    "RewardModelStep",
    "RewardModelTerm",
    "RewardTerm",
    "RoundsStep",
    "RulesTerm",
    "SFTStep",
]


class CritiqueRevisionStep(Part):
    """Completions of the policy, critiqued under the principles and revised: texts to learn from, and pairs."""

    type: Literal["critique_revision"]
    rounds: Annotated[int, Field(ge=1, le=64)] = 4
    """Rounds of critique and revision per completion."""
    principles: Literal["random", "all", "by_scope"] = "random"
    """Which principle each round is about: one of those that apply, each in turn, or one of the prompt's scope."""
    critic: ModelName | None = None
    """Registered model that writes critiques and revisions; null: the policy does."""
    verify: bool = True
    """Keep a revision only where the judge, in both orders, says that it beats the original; these comparisons are
    the step's pairs."""
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=32768)] = 160
    """Of one completion, critique or revision."""
    min_coverage: Annotated[float, Field(ge=0.0, le=1.0)] = 0.8
    """Share of the comparisons that must end `ok` or `tie`; below it the job fails."""


class LabelStep(Part):
    """Candidates from the policy, compared by the judge and the rules: preference pairs."""

    type: Literal["label"]
    judge: Literal["policy"] | None = None
    """Who compares: null for the recipe's judge, `policy` for the policy itself as it then is (self-rewarding), asked
    as its registered `judge` options say. Its labels are flagged `self_preference`."""
    given: bool = False
    """Compare the completions that the rows of a file have; the policy writes where they have none. Else it writes
    to every prompt."""
    candidates: Annotated[int, Field(ge=2, le=64)] = 4
    """Completions that the policy writes to each prompt."""
    pairing: Literal["max_margin", "adjacent", "all", "random", "threshold"] = "max_margin"
    """Which of the candidates become pairs."""
    schedule: Literal["all", "swiss", "chunks"] | None = None
    """Comparisons to rate all candidates by first; null: only the comparisons that the pairing needs."""
    min_margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Of the pairing `threshold`: how far apart, as the ratings have it, two candidates must be."""
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=32768)] = 160
    """Of one completion."""
    keep_cut: bool = False
    """Compare completions that ran into `max_tokens` too; they are not taught to stop there."""
    min_coverage: Annotated[float, Field(ge=0.0, le=1.0)] = 0.8
    """Share of the comparisons that must end `ok` or `tie`; below it the job fails."""


class DPOStep(DPOMethod):
    """Direct preference optimisation on the pairs of the last `label` step."""

    type: Literal["dpo"]
    reference: Literal["start", "base"] = "start"
    """What the policy is held close to: itself as the step begins, so that each of several rounds may move it, or the
    policy that the recipe names, so that all rounds together stay close to it."""
    control: bool = False
    """Also train the same policy on the same pairs with shuffled labels, so that the evaluation has a control."""


class SFTStep(SFTMethod):
    """Supervised fine-tuning of the policy on what an earlier step found to be good."""

    type: Literal["sft"]
    on: Literal["revisions", "best"] = "revisions"
    """What is learnt: the chains of the last `critique_revision` step, or the picks of the last `best_of_n` step."""
    revisions: Literal["all", "last"] = "all"
    """Of each chain: every kept revision, as in the paper, or the last."""
    originals: Literal["none", "benign", "all"] = "benign"
    """Also learn the originals of chains without a kept revision: where the prompt's metadata says `benign`, so that
    the policy does not unlearn to help, or everywhere."""


class RewardModelStep(RewardMethod):
    """A reward model, or an ensemble, from the pairs of the last `label` step; it begins as the policy."""

    type: Literal["reward_model"]
    name: RewardName = "reward_model"
    """What terms of a reward call it, where a recipe trains several."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Factors for the weights of the principles, as in a recipe's `weights`: the votes of the pairs are combined anew
    with them, at no judge call. So one labelled set makes a model of helpfulness and one of safety."""


class PPOStep(OnRewards, PPOMethod):
    """Proximal policy optimisation of the policy on the training prompts; the text of `ptx_weight` is what the last
    `sft` step learnt."""

    type: Literal["ppo"]
    costs: list[RewardTerm] = Field(default_factory=list)
    """Terms of the cost, whose mean `constraint` bounds: more is worse. A reward model of what is good has a weight
    below 0."""

    rollouts: RolloutsPart | None = None
    """Who writes the completions, with `lora`; null: the training's own process."""

    @property
    def terms(self) -> tuple[Any, ...]:
        """Of reward and cost."""
        return (*self.rewards, *self.costs)

    @model_validator(mode="after")
    def _parts_go_together(self) -> "PPOStep":
        if self.rollouts is not None and self.lora is None:
            raise ValueError("`rollouts` needs `lora`: a server takes adapters while it runs, no whole weights")
        return self


class EvaluateStep(Part):
    """Before against after on the evaluation prompts, and the report."""

    type: Literal["evaluate"]
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=32768)] = 160
    """Of one completion."""
    judge_control: bool = True
    """Whether the judge compares the control with before and its divergence is measured; its behaviour always is."""


def _single(step: Any) -> Any:
    """The step, if it is one that rounds may hold."""
    if isinstance(step, dict) and (kind := cast(dict[str, Any], step).get("type")) in ("rounds", "rejection_sampling"):
        raise ValueError(f"rounds hold single steps, no `{kind}`")
    return _known_type(cast(Any, step))


def _known_type(step: Any) -> Any:
    """The step, if its type is known; a message that names no more than known words otherwise."""
    if isinstance(step, dict):
        kind = cast(dict[str, Any], step).get("type")
        available = f"available: {', '.join(STEP_TYPES)}"
        if kind not in STEP_TYPES:
            raise ValueError(f"a step needs a known `type`; {available}")
    return cast(Any, step)


AnyStep = (
    CritiqueRevisionStep
    | SFTStep
    | LabelStep
    | RewardModelStep
    | PPOStep
    | DPOStep
    | KTOStep
    | GRPOStep
    | RLOOStep
    | EvaluateStep
    | BestOfNStep
    | ConditionStep
    | EvaluateProfilesStep
    | SPINStep
    | FeedbackStep
    | PromoteStep
)
"""What is done in one go."""
SINGLE_TYPES: tuple[str, ...] = tuple(get_args(step.model_fields["type"].annotation)[0] for step in get_args(AnyStep))
TRAINING_TYPES = ("dpo", "grpo", "kto", "ppo", "rloo", "sft", "spin")
"""Steps that leave a policy."""
STEP_TYPES = (*SINGLE_TYPES, "rounds", "rejection_sampling")
Single = Annotated[Annotated[AnyStep, Field(discriminator="type")], BeforeValidator(_single)]


class RoundsStep(Part):
    """The same steps several times over, each round on what the rounds before it made."""

    type: Literal["rounds"]
    times: Annotated[int, Field(ge=1, le=99)]
    """Rounds at most; some steps end them early and say so."""
    fresh_prompts: bool = False
    """Each round takes the next `prompts.limit` training prompts instead of the same ones."""
    steps: Annotated[list[Single], Field(min_length=1, max_length=16)]

    @property
    def unrolled(self) -> "RoundsStep":
        """The rounds that this stands for."""
        return self


class RejectionSamplingStep(BestOfNStep):
    """Rounds of `best_of_n` and `sft` (Llama 2): sample, score, and learn the best of all rounds."""

    type: Literal["rejection_sampling"]  # pyright: ignore[reportIncompatibleVariableOverride] - another step
    rounds: Annotated[int, Field(ge=1, le=99)] = 3
    sft: SFTMethod = SFTMethod()
    """How the best are learnt."""

    @property
    def unrolled(self) -> RoundsStep:
        """The rounds that this stands for."""
        sampling = {name: getattr(self, name) for name in BestOfNStep.model_fields if name != "type"}
        pick = BestOfNStep(type="best_of_n", **sampling)
        learn = SFTStep(type="sft", on="best", **self.sft.model_dump())
        return RoundsStep(type="rounds", times=self.rounds, steps=[pick, learn])


Step = Annotated[
    Annotated[AnyStep | RoundsStep | RejectionSamplingStep, Field(discriminator="type")],
    BeforeValidator(_known_type),
]
"""One step of a recipe."""


@dataclass(frozen=True)
class Planned:
    """One thing to do, and its place in the recipe."""

    name: str
    """`02-dpo`; in round 3 of rounds, `02.3.1-label`."""
    step: AnyStep
    place: str
    """In the recipe's document, such as `steps.1.steps.0`."""
    rounds: RoundsStep | None = None
    """That it is part of."""
    round: int = 1
    """Of these."""


class Recipe(Part):
    """A self-alignment job."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    constitution: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    """A published id, `id@version`, `id@label`, or on the command line a file."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Factors for the weights of the principles, by id or `tag:NAME`: 1 leaves a weight, 0 silences the principle."""
    policy: ModelName = "starter"
    """Registered model to align."""
    judge: ModelName | None = None
    """Registered judge; may be null where the constitution has rules that need no judge and no principles."""
    held_out_judge: ModelName | None = None
    """Another judge than `judge`, used only to evaluate and to watch."""
    prompts: Prompts = Prompts()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    budget: BudgetPart = BudgetPart()
    steps: Annotated[list[Step], Field(min_length=1, max_length=32)]

    @model_validator(mode="after")
    def _each_step_finds_its_input(self) -> "Recipe":
        seen: set[str] = set()
        made: set[str] = set()
        for planned in self.planned():
            if planned.round > 1:  # what the first round finds, a later one finds
                continue
            step, place = planned.step, planned.place
            before = _needed(step)
            if before and not seen.intersection(before):
                named = " or ".join(f"`{kind}`" for kind in before)
                raise ValueError(f"{place}: `{step.type}` needs a {named} step before it")
            if isinstance(step, PPOStep) and step.ptx_weight and "sft" not in seen:
                raise ValueError(f"{place}: `ptx_weight` needs an `sft` step before it, whose texts it keeps likely")
            if step.type == "critique_revision" and step.verify and self.judge is None:
                raise ValueError(f"{place}: `verify` needs a judge")
            terms = step.terms if isinstance(step, PPOStep | GRPOStep | RLOOStep | BestOfNStep) else ()
            if self.judge is None and any(term.type == "judge" for term in terms):
                raise ValueError(f"{place}: the reward `judge` needs a judge")
            _require_models(place, terms, made)
            if step.type == "reward_model":
                made.add(step.name)
            seen.add(step.type)
            if step.type == "feedback" or (step.type == "critique_revision" and step.verify):
                seen.add("label")  # people's labels and verified revisions are pairs too
        return self

    @model_validator(mode="after")
    def _who_labels_is_not_held_out(self) -> "Recipe":
        if self.held_out_judge is not None and self.held_out_judge == self.judge:
            raise ValueError("`held_out_judge` is the judge itself; name another one, or leave it out")
        return self

    @model_validator(mode="after")
    def _rounds_make_sense(self) -> "Recipe":
        for planned in self.planned():
            if planned.rounds is not None and planned.rounds.fresh_prompts and self.prompts.limit is None:
                raise ValueError("`fresh_prompts` needs `prompts.limit`, the number for each round")
            if isinstance(planned.step, PromoteStep) and planned.step.name == self.policy:
                what = "`name` is the policy that the recipe begins with; promote under another"
                raise ValueError(f"{planned.place}: {what}")
        return self

    @model_validator(mode="after")
    def _rollouts_are_of_the_policy(self) -> "Recipe":
        trained = False
        for planned in self.planned():
            if trained and isinstance(planned.step, PPOStep) and planned.step.rollouts is not None:
                what = "the server of `rollouts` has the recipe's policy, which another step has trained by then"
                raise ValueError(f"{planned.place}: {what}; leave `rollouts` out")
            trained = trained or planned.step.type in TRAINING_TYPES
        return self

    def planned(self) -> tuple[Planned, ...]:
        """All that is to be done, rounds unrolled, in order."""
        return tuple(each for number, step in enumerate(self.steps, start=1) for each in _planned(number, step))


def _planned(number: int, step: Any) -> Iterator[Planned]:
    """What a step of the recipe comes to."""
    place = f"steps.{number - 1}"
    if not hasattr(step, "unrolled"):
        yield Planned(f"{number:02d}-{step.type}", step, place)
        return
    rounds: RoundsStep = step.unrolled
    for turn in range(1, rounds.times + 1):
        for index, part in enumerate(rounds.steps):
            inner = f"{place}.steps.{index}" if rounds is step else place
            yield Planned(f"{number:02d}.{turn}.{index + 1}-{part.type}", part, inner, rounds, turn)


def _needed(step: Any) -> tuple[str, ...]:
    """Types of which one must come before the step; none where it needs nothing."""
    match step:
        case SFTStep():
            return ("critique_revision",) if step.on == "revisions" else ("best_of_n",)
        case DPOStep() | KTOStep() | RewardModelStep() | ConditionStep():
            return ("label",)
        case PPOStep() | GRPOStep() | RLOOStep() | BestOfNStep() if any(models_of(term) for term in step.terms):
            return ("reward_model",)
        case EvaluateStep() | PromoteStep():
            return TRAINING_TYPES
        case SPINStep():
            return ("sft",)
        case EvaluateProfilesStep():
            return ("condition",)
        case _:
            return ()


def _require_models(where: str, terms: Sequence[Any], made: set[str]) -> None:
    """Raises where a term names a reward model that no step before it makes."""
    for name in (name for term in terms for name in models_of(term)):
        if name not in made:
            raise ValueError(f"{where}: no `reward_model` step before it has the name `{name}`")
