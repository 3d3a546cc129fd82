"""`solon serve`: the service on a loopback address."""

import ipaddress
import socket
from collections.abc import Callable

import uvicorn

from api.app import create_app
from solon.errors import Failed, InvalidInput
from solon.settings import Settings


def loopback(host: str) -> str:
    """The host, if only this machine can reach it; there are no API keys yet to let others in."""
    try:
        safe = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        safe = False
    if not safe:
        raise InvalidInput(
            f"{host} can be reached from other machines, and this version has no API keys",
            field="--host",
            remedy="use 127.0.0.1 and, if others need it, an authenticating proxy in front",
        )
    return host


def serve(settings: Settings, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until interrupted; `announce` gets the address once requests are answered.

    Raises InvalidInput where others could reach the address, Failed where the port is taken.
    """
    listening = _listen(loopback(host), port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}"
    app = create_app(settings)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, server_header=False)
    _Server(config, lambda: announce(address)).run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
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
