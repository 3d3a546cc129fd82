"""Whether the service can take work: each thing that it needs, asked within a time limit, the answer kept for seconds.

A judge is asked for one token that may only be one of two words. A server that answers with anything else ignores
constraints, as vLLM does with the field names it used to have; judges that write JSON would then fail one by one.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from api.registry import Models
from api.store.schema import standing
from solon.chat import OpenAIChat
from solon.errors import SolonError
from solon.records import Message
from solon.service_settings import Probes
from solon.settings import ModelEntry, Settings

_QUESTION: Final = (Message(role="user", content="Answer with one word."),)
_CHOICES: Final = ("A", "B")
_UPGRADE: Final = "bring it there: solon database upgrade"


class Component(BaseModel):
    """One thing that the service needs."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: Literal["ok", "failed", "idle"]
    """`idle`: it is started when it is first needed."""
    detail: str = ""
    remedy: str = ""
    seconds: float = 0.0


class Unready(Exception):
    """A component is not what it should be."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail, self.remedy = detail, remedy


class Idle(Unready):
    """Not running, and not expected to be."""


Check = Callable[[], Awaitable[None]]
"""Returns where all is well; raises Unready, or SolonError, where it is not."""


@runtime_checkable
class Probed(Protocol):
    """Models that can be looked at without waiting behind other requests."""

    def probed(self, name: str) -> OpenAIChat | None:
        """A client of the model, not yet open, that makes one attempt; None where the model is not running yet."""
        ...


@dataclass
class _Kept:
    component: Component
    at: float


class Readiness:
    """Looks at all components, each at most once in `kept_s` seconds however many ask."""

    def __init__(self, checks: Mapping[str, Check], probes: Probes) -> None:
        self._checks = checks
        self._probes = probes
        self._kept: dict[str, _Kept] = {}
        self._looking: dict[str, asyncio.Lock] = {name: asyncio.Lock() for name in checks}
        self.draining = False
        """Set when the server is to end: it finishes what it has and takes nothing new."""

    async def look(self) -> list[Component]:
        """All components, by name as they were given."""
        found = list(await asyncio.gather(*(self._component(name) for name in self._checks)))
        if self.draining:
            found.insert(0, _failed("server", Unready("the server is ending", "ask another one")))
        return found

    async def _component(self, name: str) -> Component:
        async with self._looking[name]:
            kept = self._kept.get(name)
            if kept is None or time.monotonic() - kept.at >= self._probes.kept_s:
                kept = self._kept[name] = _Kept(await self._looked(name), time.monotonic())
            return kept.component

    async def _looked(self, name: str) -> Component:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._probes.timeout_s):
                await self._checks[name]()
        except Idle as idle:
            return Component(name=name, status="idle", detail=idle.detail)
        except Unready as error:
            return _failed(name, error)
        except SolonError as error:
            return _failed(name, Unready(error.message, error.remedy))
        except TimeoutError:
            remedy = "see whether it is overloaded, or raise probes.timeout_s"
            return _failed(name, Unready(f"no answer in {self._probes.timeout_s:g} s", remedy))
        return Component(name=name, status="ok", seconds=round(time.monotonic() - began, 4))


def _failed(name: str, error: Unready) -> Component:
    return Component(name=name, status="failed", detail=error.detail, remedy=error.remedy)


def database_answers(database: Engine) -> Check:
    """A query comes back."""

    def ask() -> None:
        try:
            with database.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            remedy = "see that the database runs, and that `database` names it"
            raise Unready(f"the database does not answer ({type(error).__name__})", remedy) from error

    return lambda: asyncio.to_thread(ask)


def schema_is_current(database: Engine) -> Check:
    """The database is at the revision that this version works with."""

    def ask() -> None:
        try:
            found = standing(database)
        except SQLAlchemyError as error:
            raise Unready(f"the database does not answer ({type(error).__name__})", "see `database`") from error
        if not found.current:
            raise Unready(f"the database is at schema {found.revision}, needed is {found.needed}", _UPGRADE)

    return lambda: asyncio.to_thread(ask)


def jobs_are_run(is_alive: Callable[[], bool]) -> Check:
    """Somebody takes queued jobs."""

    async def ask() -> None:
        if not is_alive():
            raise Unready("jobs are not being run", "restart the server")

    return ask


def judges_answer(settings: Settings, models: Models) -> dict[str, Check]:
    """A check for each registered judge, by component name."""
    if not settings.probes.judges or not isinstance(models, Probed):
        return {}
    singles = {name: entry for name, entry in sorted(settings.models.items()) if entry.kind == "judge"}
    return {
        f"judge {name}": _judge_answers(name, entry, models)
        for name, entry in singles.items()
        if entry.engine != "jury"  # its members are here themselves
    }


def _judge_answers(name: str, entry: ModelEntry, models: Probed) -> Check:
    async def ask() -> None:
        client = models.probed(name)
        if client is None:
            raise Idle("its server starts when it is first asked", "")
        async with client as judge:
            if entry.judge.method == "reward_model":
                await judge.score(_QUESTION)
            elif entry.engine == "openai" and entry.judge.method != "json":
                await judge.complete(_QUESTION, max_tokens=1)  # never asked under a constraint
            elif entry.engine == "openai":
                _require("response_format", name, await _by_schema(judge))
            else:
                _require("structured_outputs", name, await judge.choose(_QUESTION, _CHOICES))

    return ask


async def _by_schema(judge: OpenAIChat) -> str:
    """The word, from a server that takes JSON schemas."""
    word = {"type": "string", "enum": list(_CHOICES)}
    schema = {"type": "object", "properties": {"word": word}, "required": ["word"], "additionalProperties": False}
    reply = await judge.complete(_QUESTION, max_tokens=32, json_schema=schema)
    try:
        return str(json.loads(reply.choices[0].text)["word"])
    except (ValueError, KeyError, TypeError):
        return ""


def _require(constraint: str, name: str, word: str) -> None:
    if word.strip() not in _CHOICES:
        raise Unready(
            f"the server ignores `{constraint}`: it wrote something other than the words it was given",
            f"serve models.{name} with vLLM 0.12 or newer, or with another server that honours the field",
        )
