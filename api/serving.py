"""`solon serve`: the service on a loopback address, or, once there are keys, on another one."""

import asyncio
import gc
import ipaddress
import math
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.ending import Ending
from api.logs import set_up
from api.observation import Observation
from api.redaction import Secrets
from api.services import Services
from api.store.database import open_database
from api.store.keys import KeyStore
from api.tracing import open_tracing
from solon.errors import Failed, InvalidInput
from solon.service_settings import Limits
from solon.settings import Settings

_SPARE = 64
"""Connections beyond the requests that may be open: idle ones, and those that are told that there is no room."""
_CLEANING_S = 5
"""For requests that were cut short, before the server goes away under them."""


def reachable(host: str, settings: Settings) -> Settings:
    """The settings with which the host may be served.

    Raises InvalidInput where others can reach it and either there is no key, or no name is set to reach it by: a page
    in somebody's browser could otherwise get here under a name of its own.
    """
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return settings
    database = open_database(settings.database)
    try:
        has_keys = KeyStore(database).any_key()
    finally:
        database.dispose()
    if not has_keys:
        raise InvalidInput(
            f"{host} can be reached from other machines, and there is no API key",
            field="--host",
            remedy="make one: solon key create NAME; or use 127.0.0.1",
        )
    if address is not None and not address.is_unspecified:
        shown = f"[{host}]" if address.version == 6 else host
        return settings.model_copy(update={"hosts": (*settings.hosts, shown)})
    if not settings.hosts:
        raise InvalidInput("is empty", field="hosts", remedy="set the names by which the service is reached")
    return settings


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def serve(settings: Settings, host: str, port: int, announce: Callable[[str], None], *, workers: int = 1) -> None:
    """Serve until interrupted, with so many workers beside; `announce` gets the address once requests are answered.

    Raises InvalidInput where others could reach the address and must not, Failed where the port is taken.
    """
    settings = reachable(host, settings)
    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}"
    secrets = Secrets.of(settings)
    set_up(secrets, settings.logs.level, settings.logs.format)
    tracing = open_tracing(secrets)
    app = create_app(settings, workers=workers, observation=Observation(settings.models, provider=tracing))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # ours has route templates instead of paths, and ids
        timeout_graceful_shutdown=math.ceil(settings.limits.grace_s) + _CLEANING_S,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.limits.requests_open + _SPARE,
    )
    try:
        _Server(config, lambda: announce(address), lambda: drain(app), settings.limits, app.state.ending).run(
            sockets=[listening]
        )
    finally:
        if tracing is not None:
            tracing.shutdown()


def drain(app: FastAPI) -> None:
    """The app is not ready from now on, and answers all the same."""
    services: Services = app.state.services
    services.readiness.draining = True


class _Server(uvicorn.Server):
    """A server that says when it is ready, and goes on for a while after it was told to end."""

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], None],
        drain: Callable[[], None],
        limits: Limits,
        ending: Ending,
    ) -> None:
        super().__init__(config)
        self._ready, self._drain, self._limits, self._ending = ready, drain, limits, ending
        self._ends_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: not ready from now on; a second one ends the wait for others to notice it.

        uvicorn would raise it again at the end, and kill the process before it has sent its last spans.
        """
        if sig != signal.SIGTERM:
            super().handle_exit(sig, frame)
        elif self.started and self._ends_at is None:
            self._drain()
            self._ends_at = time.monotonic() + self._limits.drain_s
        else:
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new; what is being answered has `grace_s` seconds, and is cut short then."""
        ending = asyncio.create_task(self._ending.after(self._limits.grace_s), name="end of requests")
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def on_tick(self, counter: int) -> bool:
        """True when it is time to end; asked ten times a second."""
        over = self._ends_at is not None and time.monotonic() >= self._ends_at
        return over or await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer; what there is by now stays, so the collector need not look at it again and again."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        self._ready()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Failed(
            f"cannot listen on {host}:{port}: {error.strerror}", field="--port", remedy="give another --port"
        ) from error
    return listening
