"""`solon label|critique --estimate`, `solon align --dry-run`: what a job would ask its models for, in advance."""

from collections.abc import Generator, Iterable, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from api import prompts
from api.critiquing import CritiqueRequest, check_cast
from api.iterated_steps import ConditionStep, EvaluateProfilesStep, FeedbackStep, PromoteStep, SPINStep
from api.judging import check_judge, open_judge
from api.labelling import LabelRequest
from api.libraries import load_constitution
from api.named_files import located
from api.recipes import (
    BestOfNStep,
    CritiqueRevisionStep,
    DPOStep,
    EvaluateStep,
    GRPOStep,
    LabelStep,
    PPOStep,
    Recipe,
    RLOOStep,
)
from api.run_context import AnyStep
from api.store.judgements import JudgementStore
from constitution.document import Constitution
from constitution.weighting import weighted
from critic.cache import Cache
from critic.candidates import Sampling
from critic.critique import Plan, draw
from critic.estimate import Counting, Estimate, Estimator, Tokens, Unwritten
from critic.labelling import Labeller
from critic.usage import Usage
from solon.chat import ChatModel
from solon.records import Completion
from solon.rows import Row, read_rows
from solon.settings import ModelEntry, Settings


@dataclass
class Line:
    """What one step would ask for."""

    step: str
    found: Estimate = field(default_factory=Estimate)
    policy: str | None = None
    judge: str | None = None


class CountingModels:
    """Every registered model as one that only counts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.opened: dict[str, Counting] = {}

    async def chat(self, name: str) -> ChatModel:
        """The stand-in of a registered model."""
        if name not in self.opened:
            entry = self._settings.model(name)
            served = name if entry.engine == "local" else entry.model or name
            self.opened[name] = Counting(name, served, partial(_tokens, entry.characters_per_token))
        return self.opened[name]

    async def serve(self, directories: Mapping[str, Path]) -> None:
        """Nothing is served."""


def _tokens(characters_per_token: float, text: str) -> int:
    return round(len(text) / characters_per_token)


async def estimate_file(rows: Path, request: LabelRequest, settings: Settings) -> dict[str, Any]:
    """What `label_file` with the same arguments would ask for; answers that its cache has are not asked for."""
    constitution = weighted(load_constitution(request.constitution, settings), request.weights)
    check_judge(request.judge, constitution, settings)
    if request.policy is not None:
        settings.model(request.policy, "policy")
    maker = _Maker(settings, constitution, request.judge, request.policy, request.seed)
    with _kept(settings, request.cache) as cache:
        estimator = await maker.estimator(cache, request.n)
        found = await replace(estimator, pairing=request.pairing, schedule=request.schedule).rows(read_rows(rows))
    return _summary([Line("label", found, request.policy, request.judge)], settings)


async def estimate_critiques(rows: Path, request: CritiqueRequest, settings: Settings) -> dict[str, Any]:
    """What `critique_file` with the same arguments would ask for at most, with nothing in the cache."""
    constitution, cast = load_constitution(request.constitution, settings), request.cast
    check_cast(cast, constitution, settings)
    critic = cast.critic or cast.policy
    maker = _Maker(settings, constitution, cast.judge, critic, request.plan.seed)
    found = await _critiqued(maker, list(read_rows(rows)), request.plan)
    return _summary([Line("critique", found, critic, cast.judge)], settings)


async def estimate_recipe(recipe: Recipe, settings: Settings) -> dict[str, Any]:
    """What a run of the recipe would ask for at most, step by step; models are taken to write as long as they may."""
    constitution = weighted(load_constitution(recipe.constitution, settings), recipe.weights)
    settings.model(recipe.policy, "policy")
    check_judge(recipe.judge, constitution, settings)
    lines: list[Line] = []
    with _kept(settings) as cache:
        work = _Recipe(recipe, constitution, settings, cache)
        for planned in recipe.planned():
            number = planned.name.partition("-")[0]
            for line in await work.step(planned.step):
                lines.append(replace(line, step=f"{number}-{line.step}"))
    unknown = [planned.name for planned in recipe.planned() if _asks_in_training(planned.step)]
    return _summary(lines, settings) | {"not_estimated": unknown}


def _asks_in_training(step: AnyStep) -> bool:
    """Whether models are asked as often as depends on what earlier steps, or the policy in training, write."""
    return isinstance(step, SPINStep) or (isinstance(step, PPOStep | GRPOStep | RLOOStep) and step.asks_critic)


@dataclass(frozen=True)
class _Maker:
    """Makes estimators for one constitution."""

    settings: Settings
    constitution: Constitution
    judge: str | None
    policy: str | None
    seed: int

    async def estimator(self, cache: Cache | None, n: int, sampling: Sampling | None = None) -> Estimator:
        judges, writers = CountingModels(self.settings), CountingModels(self.settings)
        judge = await open_judge(self.judge, self.constitution, self.settings, judges, cache)
        policy = await writers.chat(self.policy) if self.policy is not None else None
        labeller = Labeller(self.constitution, judge, seed=self.seed)
        counting = policy if isinstance(policy, Counting) else None
        return Estimator(labeller, list(judges.opened.values()), counting, n, sampling=sampling or Sampling())


@contextmanager
def _kept(settings: Settings, path: Path | None = None) -> Generator[Cache | None]:
    """The cache that a run would have, which stays as it is; None where it would have none."""
    file = path or settings.judgements()
    if file is None:
        yield None
    elif not file.exists():
        yield Unwritten()
    else:
        with JudgementStore(file) as store:
            yield Unwritten(store)


@dataclass(frozen=True)
class _Recipe:
    """The steps of a recipe, estimated."""

    recipe: Recipe
    constitution: Constitution
    settings: Settings
    cache: Cache | None

    async def step(self, step: AnyStep) -> list[Line]:
        """One line for each judge of the step; none for a step that asks no model."""
        match step:
            case LabelStep():
                return [await self._label(step)]
            case CritiqueRevisionStep():
                return [await self._critique(step)]
            case EvaluateStep():
                return await self._evaluate(step)
            case BestOfNStep():
                return [await self._best_of_n(step)]
            case FeedbackStep() if step.traffic is not None:
                return [await self._traffic(step, Path(step.traffic))]
            case PromoteStep():
                return [await self._contest("promote", step.prompts, step.max_tokens, sides=2, judged=1)]
            case EvaluateProfilesStep():
                return [await self._profiles(step)]
            case _:
                return []

    def _maker(self, judge: str | None, policy: str | None) -> _Maker:
        return _Maker(self.settings, self.constitution, judge, policy, self.recipe.seed)

    def _train(self) -> list[Row]:
        chosen = self.recipe.prompts
        return prompts.rows(prompts.prompts(located(chosen.train, self.settings), chosen.limit, self.recipe.seed))

    async def _label(self, step: LabelStep) -> Line:
        recipe, sampling = self.recipe, Sampling(step.max_tokens, step.temperature)
        maker = self._maker(recipe.judge, recipe.policy)
        own = step.judge == "policy"  # which is asked as often, and has answered nothing yet
        estimator = await maker.estimator(None if own else self.cache, step.candidates, sampling)
        found = await replace(estimator, pairing=step.pairing, schedule=step.schedule).rows(self._train())
        return Line("label", found, recipe.policy, recipe.policy if own else recipe.judge)

    async def _traffic(self, step: FeedbackStep, traffic: Path) -> Line:
        """Fresh prompts as `label` would ask; those that are evaluated on are among them."""
        maker, sampling = self._maker(self.recipe.judge, self.recipe.policy), Sampling(step.max_tokens)
        estimator = await maker.estimator(self.cache, step.candidates, sampling)
        found = await replace(estimator, pairing=step.pairing).rows(read_rows(traffic))
        return Line("feedback", found, self.recipe.policy, self.recipe.judge)

    async def _profiles(self, step: EvaluateProfilesStep) -> Line:
        """Before, plain and each profile; each profile against plain."""
        conditions = [each.step for each in self.recipe.planned() if isinstance(each.step, ConditionStep)]
        profiles, chosen = len(conditions[-1].profiles), self.recipe.prompts
        count = chosen.eval_limit or chosen.limit
        judged = profiles if step.judged else 0
        return await self._contest("evaluate_profiles", count, step.max_tokens, sides=2 + profiles, judged=judged)

    async def _contest(self, name: str, count: int | None, max_tokens: int, *, sides: int, judged: int) -> Line:
        """So many completions and comparisons for each of so many evaluation prompts."""
        recipe = self.recipe
        rows = prompts.rows(prompts.prompts(located(recipe.prompts.eval, self.settings), count, recipe.seed))
        found = Estimate(rows=len(rows), completions=sides * len(rows), comparisons=(0, judged * len(rows)))
        asked = await self._maker(recipe.judge, recipe.policy).estimator(None, 1, Sampling(max_tokens))
        await _write(asked, rows, found, sides)
        if judged and recipe.judge is not None:
            await _compare(asked, rows, max_tokens, found, judged)
        return Line(name, found, recipe.policy, recipe.judge if judged else None)

    async def _critique(self, step: CritiqueRevisionStep) -> Line:
        critic, judge = step.critic or self.recipe.policy, self.recipe.judge if step.verify else None
        plan = Plan(step.rounds, step.principles, Sampling(step.max_tokens, step.temperature), self.recipe.seed)
        found = await _critiqued(self._maker(judge, critic), self._train(), plan)
        return Line("critique_revision", found, critic, judge)

    async def _best_of_n(self, step: BestOfNStep) -> Line:
        """All samples written, and each marked by judge and rules as far as they score; in a later round at least."""
        found, rows = Estimate(), self._train()
        kinds = {term.type for term in step.rewards}
        asked = await self._maker(self.recipe.judge, self.recipe.policy).estimator(None, 1, Sampling(step.max_tokens))
        found.rows, found.completions = len(rows), step.samples * len(rows)
        await _write(asked, rows, found, step.samples)
        calls = await _mark(asked, rows, step.max_tokens, kinds, found, step.samples) if kinds - {"reward_model"} else 0
        found.judge_calls = (calls, calls)
        return Line("best_of_n", found, self.recipe.policy, self.recipe.judge if calls else None)

    async def _evaluate(self, step: EvaluateStep) -> list[Line]:
        """One completion of each side for each prompt; each judged side against the policy before."""
        recipe, chosen = self.recipe, self.recipe.prompts
        limit = chosen.eval_limit or chosen.limit
        rows = prompts.rows(prompts.prompts(located(chosen.eval, self.settings), limit, recipe.seed))
        control = any(isinstance(each.step, DPOStep) and each.step.control for each in recipe.planned())
        judged, lines = 1 + (control and step.judge_control), list[Line]()
        for judge in dict.fromkeys((recipe.judge, recipe.held_out_judge)):
            if judge is None and lines:
                continue
            found = Estimate(rows=len(rows), comparisons=(0, judged * len(rows)))
            asked = await self._maker(judge, recipe.policy).estimator(None, 1, Sampling(step.max_tokens))
            if not lines:
                found.completions = (2 + control) * len(rows)
                await _write(asked, rows, found, 2 + control)
            if judge is not None:
                await _compare(asked, rows, step.max_tokens, found, judged)
            lines.append(Line("evaluate", found, recipe.policy if not lines else None, judge))
        return lines


async def _critiqued(maker: _Maker, rows: Sequence[Row], plan: Plan) -> Estimate:
    """For each completion, or the one to be written, a critique and a revision each round, compared with the original.

    Originals are taken to be the critic's to write.
    """
    found = Estimate(rows=len(rows))
    compared = 0
    for row in rows:
        applicable = maker.constitution.principles_for(row.prompt.scope)
        if not applicable:
            continue
        keys = [(plan.seed, row.prompt.id, index) for index in range(len(row.completions) or 1)]
        rounds = sum(len(draw(applicable, row.prompt.scope, plan.choice, plan.rounds, *key)) for key in keys)
        found.completions += (not row.completions) + 2 * rounds
        compared += rounds
    found.comparisons = (0, compared if maker.judge is not None else 0)
    asked = await maker.estimator(None, 1, plan.sampling)
    await _write(asked, rows, found, found.completions / max(len(rows), 1))
    if maker.judge is not None:
        await _compare(asked, rows, plan.sampling.max_tokens, found, compared / max(len(rows), 1))
    return found


async def _write(asked: Estimator, rows: Iterable[Row], found: Estimate, times: float) -> None:
    """Add `times` texts for each row."""
    assert asked.policy is not None, "the step's policy"  # noqa: S101
    for row in rows:
        await asked.policy.complete(row.prompt.messages, max_tokens=asked.sampling.max_tokens)
        asked.policy.next_row()
    found.policy.add(asked.policy.tokens, times)


async def _mark(
    asked: Estimator, rows: Iterable[Row], max_tokens: int, kinds: Set[str], found: Estimate, times: int
) -> int:
    """Add the marks and answers for `times` texts for each row; how many calls they are."""
    labeller, text, usage = asked.labeller, Completion(text="one " * max_tokens), Usage()
    for row in rows:
        if "rules" in kinds:
            await labeller.rule_scores(row.prompt, (text,), usage)
        if "judge" in kinds and labeller.judge is not None:
            for principle in labeller.principles(row.prompt):
                await labeller.judge.mark(row.prompt, text, principle)
    for judge in asked.judges:
        found.judge.add(judge.tokens, times)
    return round(found.judge.requests)


async def _compare(asked: Estimator, rows: Iterable[Row], max_tokens: int, found: Estimate, times: float) -> None:
    """Add `times` comparisons of two texts for each row."""
    texts = (Completion(text="one " * max_tokens), Completion(text="two " * max_tokens))
    each = await asked.rows(Row(prompt=row.prompt, completions=texts) for row in rows)
    found.judge_calls = (0, round(each.judge_calls[1] * times))
    found.judge.add(each.judge, times)


def _summary(lines: list[Line], settings: Settings) -> dict[str, Any]:
    steps = [_of(line, settings) for line in lines]
    costs = [step["cost_usd"] for step in steps]
    known = [cost for cost in costs if cost is not None]
    return {"estimate": steps, "cost_usd": sum(known) if known and len(known) == len(costs) else None}


def _of(line: Line, settings: Settings) -> dict[str, Any]:
    found = line.found
    costs = [
        _cost(settings.models.get(name), tokens)
        for name, tokens in ((line.policy, found.policy), (line.judge, found.judge))
        if name is not None and tokens.requests
    ]
    return {
        "step": line.step,
        "rows": found.rows,
        "policy": line.policy,
        "completions": found.completions,
        "policy_tokens": _rounded(found.policy),
        "judge": line.judge,
        "comparisons": {"least": found.comparisons[0], "most": found.comparisons[1]},
        "judge_calls": {"least": found.judge_calls[0], "most": found.judge_calls[1], "exact": found.exact},
        "cache_hits": found.cache_hits,
        "judge_tokens": _rounded(found.judge),
        "cost_usd": sum(each for each in costs if each is not None) if None not in costs else None,
    }


def _rounded(tokens: Tokens) -> dict[str, int]:
    return {name: round(value) for name, value in asdict(tokens).items()}


def _cost(entry: ModelEntry | None, tokens: Tokens) -> float | None:
    """At most; None where the price is not known. A jury's judges may have prices of their own."""
    if entry is None or entry.price is None:
        return None
    return entry.price.cost_usd(tokens.prompt, tokens.completion, tokens.shared)


def show_estimate(summary: dict[str, Any], *, as_json: bool = False) -> None:
    """The estimate on the terminal, or as JSON."""
    from rich.table import Table

    from api.terminal import print_table, write, write_json

    if as_json:
        write_json(summary)
        return
    table = Table(
        "step", "rows", "completions", "comparisons", "judge calls", "prompt tokens", "shared", "written", "USD"
    )
    for step in summary["estimate"]:
        tokens = [
            step["policy_tokens"][kind] + step["judge_tokens"][kind] for kind in ("prompt", "shared", "completion")
        ]
        table.add_row(
            step["step"],
            f"{step['rows']:,}",
            f"{step['completions']:,}",
            _range(step["comparisons"]),
            _range(step["judge_calls"]),
            *(f"{count:,}" for count in tokens),
            _money(step["cost_usd"]),
        )
    print_table(table)
    write("Calls as a range depend on what policy and judge answer. Tokens and money are for the most of them; those")
    write("written are what the requests allow. A server with a prefix cache computes `shared` prompt tokens once.")
    for step in summary.get("not_estimated", []):
        write(f"Not estimated: what {step} asks while it trains")
    write(f"In all: {_money(summary['cost_usd'])}")


def _range(bounds: dict[str, int]) -> str:
    return f"{bounds['most']:,}" if bounds["least"] == bounds["most"] else f"{bounds['least']:,} to {bounds['most']:,}"


def _money(usd: float | None) -> str:
    return "no price known" if usd is None else f"{usd:.4f} USD"
