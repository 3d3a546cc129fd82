"""The models that users name, running: one child process for all local ones, connections to all others.

    async with Engines(settings) as engines:
        judge = await engines.chat("starter-judge")

The child is `python -m trainer.server --control` on a free loopback port. Models are loaded into it when they are first
asked for, by lines on its stdin; when that pipe closes, for whatever reason, the child ends. So no model server
outlives the process that wanted it.
"""

import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from solon.breaker import Notice
from solon.chat import ChatModel, OpenAIChat, RetryPolicy
from solon.egress import guarded
from solon.errors import Conflict, InvalidInput, ModelUnavailable
from solon.exchanges import Nobody, Observer
from solon.lanes import Lanes
from solon.profiles import Profiled
from solon.settings import ModelEntry, Settings
from trainer.config.child import Precision

_START_S = 300.0  # importing torch on a busy machine takes its time
_GRACE_S = 10.0


class Engines:
    """Chat models by registered name. Use as `async with Engines(settings) as engines`."""

    def __init__(
        self,
        settings: Settings,
        *,
        patience_s: float | None = None,
        notice: Notice | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Args:
        patience_s: how long a request waits for a server of somebody else that cannot be reached; None: seconds.
        notice: told when such a server goes away and when it is back.
        observer: sees each request; None: whoever watches the process.
        """
        self._settings = settings
        self._retry = RetryPolicy(patience_s=patience_s)
        self._notice = notice
        self._observer = observer
        self._directories: dict[str, Path] = {}
        self._chats: dict[str, ChatModel] = {}
        self._server: LocalServer | None = None
        self._one_at_a_time = asyncio.Lock()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def serve(self, directories: Mapping[str, Path]) -> None:
        """Make model directories that are not registered available to `chat`, under names of their own."""
        for name, directory in directories.items():
            if name in self._settings.models or self._directories.get(name, directory) != directory:
                raise Conflict(f"a model named {name!r} is there already", remedy="take another name")
        self._directories.update(directories)

    async def chat(self, name: str) -> ChatModel:
        """The model registered or served as `name`, running; raises NotFound or ModelUnavailable."""
        async with self._one_at_a_time:
            if name not in self._chats:
                running = await self._open.enter_async_context(await self._connect(name))
                profile = self._entry(name).profile
                self._chats[name] = Profiled(running, profile) if profile else running
            return self._chats[name]

    async def _connect(self, name: str) -> OpenAIChat:
        entry = self._entry(name)
        if entry.engine == "jury":
            raise InvalidInput(f"{name!r} is a jury and writes nothing", field="model", remedy="name one of its judges")
        if entry.endpoint is not None:
            key = entry.api_key()
            return OpenAIChat(
                name,
                entry.endpoint,
                entry.model or name,
                key,
                entry.max_concurrency,
                entry.timeout_s,
                retry=self._retry,
                notice=self._notice,
                takes_salt=entry.engine == "vllm",
                observer=self._observer,
                transport=self._guarded(name, entry.endpoint),
            )
        if entry.engine != "local":
            start = f"solon model serve --engine {entry.engine} {name}"
            remedy = f"start it with `{start}` and set models.{name}.endpoint"
            raise ModelUnavailable(f"model {name!r} has no endpoint", remedy=remedy)
        directory = entry.directory()
        if self._server is None:
            self._server = await self._open.enter_async_context(LocalServer())
        await self._server.load(name, directory)
        # Our own child does not come back when it is gone: nothing to wait for.
        limits = (entry.max_concurrency, entry.timeout_s)
        return OpenAIChat(name, self._server.endpoint, name, None, *limits, observer=self._observer)

    def probed(self, name: str) -> OpenAIChat | None:
        """A client of the model, not yet open, that makes one attempt and is not counted; None: not running yet."""
        entry = self._entry(name)
        transport = None
        if entry.endpoint is not None:
            where, model, key = entry.endpoint, entry.model or name, entry.api_key()
            transport = self._guarded(name, where)
        elif name in self._chats and self._server is not None:
            where, model, key = self._server.endpoint, name, None
        else:
            return None
        once = RetryPolicy(budget_s=0.01)  # over before a second attempt could begin
        return OpenAIChat(
            name, where, model, key, 1, entry.timeout_s, retry=once, observer=Nobody(), transport=transport
        )

    def _guarded(self, name: str, endpoint: str) -> Lanes:
        return guarded(name, endpoint, allow_private=self._settings.egress.models_private)

    def _entry(self, name: str) -> ModelEntry:
        if name in self._directories:
            return ModelEntry(kind="policy", engine="local", path=str(self._directories[name]))
        return self._settings.model(name)


class LocalServer:
    """A `trainer.server` child. Use as `async with LocalServer() as server`."""

    def __init__(self, precision: Precision = "auto") -> None:
        """Args:
        precision: what its models compute in; auto is bfloat16 where the hardware multiplies it natively.
        """
        self._precision: Precision = precision
        self.endpoint = ""
        """Base URL, once it runs."""
        self._child: Process | None = None
        self._log: IO[bytes] | None = None

    async def __aenter__(self) -> Self:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __aexit__
        self._child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "trainer.server", "--control", "--precision", self._precision),
            stdin=PIPE,
            stdout=PIPE,
            stderr=self._log,
            env=child_environment(),
            start_new_session=True,  # an interrupt at the terminal is for us; we end the child
        )
        try:
            event = await self._event()
        except BaseException:
            await self.__aexit__()
            raise
        self.endpoint = f"http://127.0.0.1:{event['port']}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        child = self._child
        if child is not None and child.returncode is None:
            assert child.stdin is not None  # noqa: S101 - we asked for a pipe
            child.stdin.close()
            if not await _ends(child):
                child.terminate()
                if not await _ends(child):
                    child.kill()
                    await child.wait()
        if self._log is not None:
            self._log.close()

    async def load(self, name: str, directory: Path) -> None:
        """Serve the model in `directory` as `name`."""
        child = self._child
        assert child is not None and child.stdin is not None  # noqa: S101, PT018 - entered
        command = {"load": str(directory.resolve()), "as": name}
        with suppress(ConnectionError):  # the child is gone: then there is no event, and that says why
            child.stdin.write(json.dumps(command).encode() + b"\n")
            await child.stdin.drain()
        await self._event()

    async def _event(self) -> dict[str, Any]:
        """The child's next event; raises ModelUnavailable where it is an error or does not come."""
        assert self._child is not None and self._child.stdout is not None  # noqa: S101, PT018
        try:
            line = await asyncio.wait_for(self._child.stdout.readline(), _START_S)
        except TimeoutError as error:
            raise ModelUnavailable(
                f"the local model server said nothing for {_START_S:g} s", remedy="is the machine overloaded?"
            ) from error
        if not line:
            raise ModelUnavailable(f"the local model server ended: {self._last_words()}", remedy=_INSTALL)
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "error":
            raise ModelUnavailable(event["message"], remedy=event["remedy"])
        return event

    def _last_words(self) -> str:
        assert self._log is not None  # noqa: S101
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"


_INSTALL = "it needs the trainer's packages: pip install 'solon[trainer]'"


async def _ends(child: Process) -> bool:
    """Whether the child ends within the time it is given."""
    with suppress(TimeoutError):
        await asyncio.wait_for(child.wait(), _GRACE_S)
    return child.returncode is not None


def child_environment() -> dict[str, str]:
    """Our environment for a process that computes with torch; what is set already stays.

    glibc hands large blocks back to the system at every free, and torch then pays for fresh pages at every operation;
    the two limits keep them. Hubs are never asked: models are local directories.
    """
    defaults = {
        "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    return {**defaults, **os.environ}
