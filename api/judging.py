"""The judge that a constitution needs, opened from the registry."""

import hashlib
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from api import digests
from api.accounts import Accounts
from api.recipe_parts import JudgeTerm
from api.recipes import Recipe
from api.registry import Models
from api.store.judgements import JudgementStore
from constitution.document import Constitution
from critic.cache import Cache
from critic.examples import comparison_shots
from critic.judge import Judge
from critic.judges.logprobs import Logprobs
from critic.judges.marks import Reward, Score
from critic.judges.method import Method
from critic.judges.written import Argued, JsonVerdict
from critic.jury import Jury, Seat
from critic.readings import Reading
from critic.rules import RuleSet
from solon.chat import ChatModel
from solon.errors import InvalidInput
from solon.families import Kin
from solon.records import PreferencePair
from solon.settings import DEFAULT_PROJECT, JudgeOptions, Settings
from solon.spending import Account

_MARKING = ("score", "reward_model")
"""Methods that mark each completion by itself."""


def needs_judge(constitution: Constitution) -> bool:
    """Whether any principle or rule asks a model."""
    return bool(constitution.principles) or (bool(constitution.rules) and RuleSet(constitution).needs_judge)


def check_judge(name: str | None, constitution: Constitution, settings: Settings) -> None:
    """Raises where the constitution needs a judge and none, or no judge, is registered under the name."""
    if name is not None:
        _check_members(name, settings)
    elif needs_judge(constitution):
        raise InvalidInput(
            f"the constitution {constitution.id!r} needs a judge", field="judge", remedy="name a registered judge"
        )


def check_marks(recipe: Recipe, settings: Settings) -> None:
    """Raises InvalidInput where a step's reward `judge` needs marks that the recipe's judge does not give."""
    for planned in recipe.planned():
        terms: tuple[Any, ...] = getattr(planned.step, "terms", ())
        if recipe.judge is not None and any(isinstance(term, JudgeTerm) for term in terms):
            _require_marks(recipe.judge, settings, planned.place)


def _require_marks(name: str, settings: Settings, place: str) -> None:
    entry = settings.model(name, "judge")
    method = "jury" if entry.engine == "jury" else entry.judge.method
    if method not in _MARKING:
        raise InvalidInput(
            f"the reward `judge` of {place} needs marks, and the judge {name!r} (method {method}) gives none",
            field="judge",
            remedy="name a judge of method `score` or `reward_model`, such as starter-marker",
        )


async def open_judge(
    name: str | None,
    constitution: Constitution,
    settings: Settings,
    models: Models,
    cache: Cache | None = None,
    accounts: Accounts | None = None,
) -> Judge | None:
    """The judge, running; None where the constitution asks none."""
    check_judge(name, constitution, settings)
    if name is None or not needs_judge(constitution):
        return None
    margin = constitution.combine.tie_margin
    entry = settings.model(name, "judge")
    if entry.engine != "jury":
        return await _single(name, constitution, settings, models, cache, accounts)
    seats = [
        Seat(await _single(member, constitution, settings, models, cache, accounts), weight)
        for member, weight in entry.members.items()
    ]
    return Jury(name, seats, tie_margin=margin, quorum=entry.quorum)


async def _single(
    name: str,
    constitution: Constitution,
    settings: Settings,
    models: Models,
    cache: Cache | None,
    accounts: Accounts | None,
) -> Judge:
    entry = settings.model(name, "judge")
    # The digest stands for the revision of local weights: judgements of other weights are never taken from the cache.
    revision = entry.revision or (digests.of_model(entry) if entry.engine == "local" else None)
    return Judge(
        await models.chat(name),
        method=method_of(entry.judge, constitution, fences=entry.fenced),
        min_label_mass=entry.judge.min_label_mass,
        tie_margin=constitution.combine.tie_margin,
        swap=entry.judge.swap,
        calibration_temperature=entry.judge.calibration_temperature,
        cache=cache,
        revision=revision,
        server=entry.engine,
        source=None if entry.engine == "local" else digests.of_model(entry),
        kin=Kin(name, settings.models),
        account=accounts.of(name) if accounts is not None else None,
    )


def own_judge(
    policy: ChatModel,
    options: JudgeOptions,
    constitution: Constitution,
    *,
    cache: Cache | None,
    revision: str,
    account: Account,
    fences: bool = False,
) -> Judge:
    """A policy as the judge of what it writes (self-rewarding, arXiv:2401.10020).

    Args:
        options: how it is asked.
        fences: whether its frames have them, see `ModelEntry.fenced`.
        revision: digest of its weights, so that what it said before it was trained further is not taken for its word.
    """
    return Judge(
        policy,
        method=method_of(options, constitution, fences=fences),
        min_label_mass=options.min_label_mass,
        tie_margin=constitution.combine.tie_margin,
        swap=options.swap,
        calibration_temperature=options.calibration_temperature,
        cache=cache,
        revision=revision,
        server="local",
        kin=frozenset({policy.name}),
        account=account,
    )


def recorded_judge(pairs: Iterable[PreferencePair]) -> str | None:
    """Registered name of the judge that gave the first pair's votes; None without pairs or votes."""
    return next((pair.provenance.judge.get("name") for pair in pairs), None)


def opened_cache(settings: Settings, path: Path | None = None) -> AbstractContextManager[Cache | None]:
    """The judgement cache that all jobs share, or the one in the file; None where it is turned off."""
    file = path or settings.judgements()
    if file is None:
        return nullcontext()
    return _of_project(JudgementStore(file), settings)


@contextmanager
def _of_project(store: JudgementStore, settings: Settings) -> Generator[Cache | None]:
    with store:
        yield ProjectCache.of(store, settings)


class ProjectCache:
    """A cache in which a project finds what it had judged itself, and nothing that others had."""

    def __init__(self, cache: Cache, project: str) -> None:
        self._cache = cache
        self._project = project

    @classmethod
    def of(cls, cache: Cache | None, settings: Settings) -> Cache | None:
        """The cache as the project of the settings sees it; the default project's keys are those of the judgements."""
        if cache is None or settings.project == DEFAULT_PROJECT or settings.tenancy.share_judgements:
            return cache
        return cls(cache, settings.project)

    def get(self, key: str) -> Reading | None:
        """See `Cache.get`."""
        return self._cache.get(self._own(key))

    def put(self, key: str, reading: Reading) -> Reading:
        """See `Cache.put`."""
        return self._cache.put(self._own(key), reading)

    def _own(self, key: str) -> str:
        return hashlib.sha256(f"{self._project}:{key}".encode()).hexdigest()


def method_of(options: JudgeOptions, constitution: Constitution, *, fences: bool) -> Method:
    """How a judge with these options is asked; only `logprobs` is shown the constitution's examples."""
    match options.method:
        case "logprobs":
            return Logprobs(options.labels, comparison_shots(constitution, options.labels, fences=fences), fences)
        case "json":
            return JsonVerdict(options.labels, options.clamp, options.max_tokens, fences)
        case "cot":
            return Argued(options.labels, options.clamp, options.samples, options.max_tokens, fences=fences)
        case "score":
            return Score(options.scale, fences)
        case "reward_model":
            return Reward()


def judge_digest(name: str, settings: Settings) -> str:
    """What tells this judge from others: its model, or models, and how they are asked."""
    entry = settings.model(name, "judge")
    asked = entry.model_dump(mode="json", include={"judge", "members", "quorum"})
    members = {member: judge_digest(member, settings) for member in entry.members}
    own = digests.of_model(entry) if entry.engine != "jury" else "jury"
    return digests.of_json({"model": own, "members": members, "asked": asked})


def _check_members(name: str, settings: Settings) -> None:
    """Raises where a jury names what is no single judge."""
    for member in settings.model(name, "judge").members:
        if settings.model(member, "judge").engine == "jury":
            raise InvalidInput("a jury has single judges", field=f"models.{name}.members", remedy="name its judges")
