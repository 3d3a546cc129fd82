"""The judge that a constitution needs, opened from the registry."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from api import digests
from api.registry import Models
from constitution.document import Constitution
from critic.cache import Cache, FileCache
from critic.judge import Judge
from critic.rules import RuleSet
from solon.errors import InvalidInput
from solon.records import PreferencePair
from solon.settings import Settings


def needs_judge(constitution: Constitution) -> bool:
    """Whether any principle or rule asks a model."""
    return bool(constitution.principles) or (bool(constitution.rules) and RuleSet(constitution).needs_judge)


def check_judge(name: str | None, constitution: Constitution, settings: Settings) -> None:
    """Raises where the constitution needs a judge and none, or no judge, is registered under the name."""
    if name is not None:
        settings.model(name, "judge")
    elif needs_judge(constitution):
        raise InvalidInput(
            f"the constitution {constitution.id!r} needs a judge", field="judge", remedy="name a registered judge"
        )


async def open_judge(
    name: str | None, constitution: Constitution, settings: Settings, models: Models, cache: Cache | None = None
) -> Judge | None:
    """The judge, running; None where the constitution asks none."""
    check_judge(name, constitution, settings)
    if name is None or not needs_judge(constitution):
        return None
    entry = settings.model(name, "judge")
    # The digest stands for the revision of local weights: judgements of other weights are never taken from the cache.
    revision = entry.revision or (digests.of_model(entry) if entry.engine == "local" else None)
    return Judge(
        await models.chat(name),
        tie_margin=constitution.combine.tie_margin,
        cache=cache,
        revision=revision,
        server=entry.engine,
    )


def recorded_judge(pairs: Iterable[PreferencePair]) -> str | None:
    """Registered name of the judge that gave the first pair's votes; None without pairs or votes."""
    return next((pair.provenance.judge.get("name") for pair in pairs), None)


@contextmanager
def opened_cache(path: Path | None) -> Generator[FileCache | None]:
    """The judgement cache in a file; none without one."""
    if path is None:
        yield None
        return
    with FileCache(path) as cache:
        yield cache
