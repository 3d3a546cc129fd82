"""What the steps of a run share: the run's context, named inputs and outputs, and the ticks of progress."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from api import digests
from api.accounts import Accounts
from api.children import Progress, Train
from api.events import Emit, Event
from api.judging import judge_digest
from api.named_files import located
from api.prompts import given_rows, prompts
from api.recipes import AnyStep, Planned, Recipe
from api.registry import Models
from constitution.digest import content_hash
from constitution.document import Constitution
from critic.recall import Recalling, Texts
from solon.records import Prompt
from solon.rows import Row
from solon.seeds import counter_seed
from solon.settings import Settings
from solon.templates import JUDGE_TEMPLATES, template_hash

__all__ = ["AnyStep", "Artifact", "Outcome", "Run", "Ticks", "Work"]

_LEAST_BETWEEN_TICKS_S = 0.2


@dataclass(frozen=True)
class Artifact:
    """Something a step made or a run began with."""

    path: Path
    digest: str


@dataclass
class Run:
    """One run of a recipe in a folder."""

    recipe: Recipe
    constitution: Constitution
    settings: Settings
    out: Path
    emit: Emit
    models: Models
    train: Train
    accounts: Accounts
    """That judges and policies are paid from."""
    texts: Texts | None = None
    """What policies wrote, so that they are not asked for it twice."""
    artifacts: dict[str, Artifact] = field(default_factory=dict[str, Artifact])
    """Outputs of the steps so far by name: `pairs`, `model`, `control`, `report`; the latest of a name counts."""
    results: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Metrics of the steps so far by step name."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """Time that each step took when it was done, by step name."""
    prompt_seed: int | None = None
    """By which prompts are drawn; None: the recipe's seed. A round has a seed of its own for all else."""
    prompt_share: int = 0
    """Which `limit` of the training prompts this step asks, counted from 0."""

    def during(self, planned: Planned) -> "Run":
        """The run as a step sees it: the same, but in a later round with a seed of its own and its own prompts."""
        if planned.rounds is None:
            return self
        seed = self.recipe.seed
        own = seed if planned.round == 1 else counter_seed(seed, "round", planned.round)
        share = planned.round - 1 if planned.rounds.fresh_prompts else 0
        return replace(self, recipe=self.recipe.model_copy(update={"seed": own}), prompt_seed=seed, prompt_share=share)

    def train_prompts(self) -> tuple[Prompt, ...]:
        """What the policy is asked in this step."""
        chosen = self.recipe.prompts
        return prompts(located(chosen.train, self.settings), chosen.limit, self._prompt_seed(), self.prompt_share)

    def train_rows(self) -> list[Row]:
        """The same with the completions and people's verdicts that the rows of a file have."""
        chosen = self.recipe.prompts
        return list(given_rows(located(chosen.train, self.settings), chosen.limit, self.prompt_share))

    def eval_prompts(self) -> tuple[Prompt, ...]:
        """What the models are measured on: the same in every round."""
        return self._eval_prompts(self._measured_on())

    def choice_prompts(self, count: int) -> tuple[Prompt, ...]:
        """What models are chosen on: at most `count` evaluation prompts after those that they are measured on."""
        measured, limit = {prompt.id for prompt in self.eval_prompts()}, self._measured_on()
        further = self._eval_prompts(None if limit is None else limit + count)
        return tuple(prompt for prompt in further if prompt.id not in measured)

    def all_eval_prompts(self) -> tuple[Prompt, ...]:
        """Every evaluation prompt: nothing is trained on one of them."""
        return self._eval_prompts(None)

    def _measured_on(self) -> int | None:
        return self.recipe.prompts.eval_limit or self.recipe.prompts.limit

    def _eval_prompts(self, limit: int | None) -> tuple[Prompt, ...]:
        return prompts(located(self.recipe.prompts.eval, self.settings), limit, self._prompt_seed())

    def _prompt_seed(self) -> int:
        return self.recipe.seed if self.prompt_seed is None else self.prompt_seed

    def latest(self, *kinds: str) -> dict[str, Any]:
        """The result of the latest step of one of these types; empty where there was none."""
        return self.results.get(self.latest_name(*kinds) or "", {})

    def latest_name(self, *kinds: str) -> str | None:
        """The name of the latest step of one of these types."""
        return next((name for name in reversed(self.results) if name.partition("-")[2] in kinds), None)

    def critic_digests(self) -> dict[str, str]:
        """Digests of all that decides a label besides the completions."""
        judge = self.recipe.judge
        return {
            "constitution": content_hash(self.constitution),
            "judge": judge_digest(judge, self.settings) if judge is not None else "none",
            "templates": "+".join(template_hash(name) for name in JUDGE_TEMPLATES),
        }

    async def writer(self, name: str) -> Recalling:
        """A registered model that writes, running."""
        return self.accounts.policy(await self.models.chat(name), self.texts)

    async def policy(self) -> Recalling:
        """The policy as the steps so far have made it, running."""
        made = self.artifacts.get("model")
        if made is None:
            return await self.writer(self.recipe.policy)
        return self.accounts.policy(await self.models.chat(await self.policy_name()), None)

    async def policy_name(self) -> str:
        """The name by which `models` knows the same."""
        made = self.artifacts.get("model")
        if made is None:
            return self.recipe.policy
        name = f"{made.path.parent.name}-policy"
        await self.models.serve({name: made.path})
        return name

    def policy_path(self) -> Path:
        """Directory of the same."""
        made = self.artifacts.get("model")
        return self.base_path() if made is None else made.path

    def base_path(self) -> Path:
        """Directory of the policy that the recipe begins with."""
        return self.settings.model(self.recipe.policy, "policy").directory()

    def policy_digest(self) -> str:
        """Digest of the same."""
        made = self.artifacts.get("model")
        return self.base_digest() if made is None else made.digest

    def base_digest(self) -> str:
        """Digest of the policy that the recipe begins with."""
        return digests.of_model(self.settings.model(self.recipe.policy, "policy"))

    def unfinished(self, folder: Path) -> Path:
        """Where the training of a step keeps its checkpoints until it is done; it outlives the step's own folder."""
        return self.out / "unfinished" / folder.name


@dataclass(frozen=True)
class Outcome:
    """What a step made."""

    outputs: Mapping[str, Path]
    result: Mapping[str, Any]
    """Numbers for the summary; plain JSON."""
    ends_rounds: str = ""
    """Why no further step of the rounds that the step is part of is done; empty: go on."""


class Ticks:
    """Passes a step's progress on, a few times a second at most; the last tick always."""

    def __init__(self, step: str, emit: Emit) -> None:
        self._step = step
        self._emit = emit
        self._last = 0.0

    def steps(self, *shown: str) -> Progress:
        """What a training reports to, with those of its metrics that are to be shown."""

        def progress(step: int, steps: int, metrics: dict[str, float]) -> None:
            self(step, steps, "", {name: metrics[name] for name in shown if name in metrics})

        return progress

    def __call__(
        self, done: int, total: int | None, message: str = "", metrics: Mapping[str, float] | None = None
    ) -> None:
        """Report `done` of `total`; None while the total is unknown."""
        now = time.monotonic()
        if done != total and now - self._last < _LEAST_BETWEEN_TICKS_S:
            return
        self._last = now
        self._emit(
            Event(
                type="progress", step=self._step, done=done, total=total, message=message, metrics=dict(metrics or {})
            )
        )


class Work(Protocol):
    """How one type of step is done."""

    def inputs(self, step: Any, run: Run) -> dict[str, str]:
        """Digests of all that the step's result depends on, besides the step itself and the seed."""
        ...

    async def do(self, step: Any, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The step, done in an empty folder of its own."""
        ...
