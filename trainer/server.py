"""`python -m trainer.server`: the local model server as a process, on its own or as somebody's child.

    python -m trainer.server --model NAME=DIR [--model NAME=DIR ...] [--host 127.0.0.1] [--port 0] [--api-key-env VAR]
    python -m trainer.server --control

Every event is one JSON line on stdout: {"event": "listening", "port": N} when requests are taken, {"event": "error",
"message": ..., "remedy": ...} when it cannot start. Under --control each line on stdin, {"load": DIR, "as": NAME},
loads one more model and is answered by {"event": "loaded", "model": NAME} or an error; the end of stdin is the end.

It also ends on SIGTERM, and when the process that started it is gone.
"""

import argparse
import ipaddress
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import uvicorn

from solon.errors import InvalidInput, SolonError
from trainer.batcher import Batcher
from trainer.config.child import Precision
from trainer.language_model import LanguageModel
from trainer.openai_app import application
from trainer.prefix_cache import PrefixCache
from trainer.sampling import Sampler

_SMALL_PARAMETERS = 50_000_000
"""Up to here a model is sampled by one thread per core: an operation is too small to be split over cores.

With 4 million parameters, one forward pass on two cores took as long as on one; two at a time doubled the throughput.
"""


class Models:
    """The models being served, by name; all take turns on the cores."""

    def __init__(self, precision: Precision, threads: int, max_rows: int, max_outstanding: int) -> None:
        self.batchers: dict[str, Batcher] = {}
        self.failed = False
        """Whether a thread of a model has died."""
        self._precision: Precision = precision
        self._threads, self._max_rows, self._max_outstanding = threads, max_rows, max_outstanding
        self._compute = threading.Semaphore(threads)

    def load(self, name: str, path: Path) -> None:
        """Serve the model in `path` as `name`, from now on."""
        if name in self.batchers:
            raise InvalidInput(f"a model named {name!r} is being served already", remedy="take another name")
        model = LanguageModel.load(path, name, self._precision)
        small = model.device.type == "cpu" and model.network.num_parameters() <= _SMALL_PARAMETERS
        workers, threads = (self._threads, 1) if small else (1, self._threads)
        prefixes, rows = PrefixCache(), -(-self._max_rows // workers)
        batcher = Batcher(
            [Sampler(model, max_rows=rows, prefixes=prefixes) for _ in range(workers)],
            self._compute,
            threads=threads,
            max_outstanding=self._max_outstanding,
            on_death=self._died,
        )
        batcher.start()
        self.batchers[name] = batcher

    def stop(self) -> None:
        """End the threads of all models."""
        for batcher in self.batchers.values():
            batcher.stop()

    def _died(self) -> None:
        self.failed = True


class Server(uvicorn.Server):
    """Announces its port, and ends when its parent or one of its models does."""

    def __init__(self, config: uvicorn.Config, port: int, models: Models) -> None:
        super().__init__(config)
        self._port, self._models = port, models
        self._parent = os.getppid()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Announce the port once requests are taken."""
        await super().startup(sockets)
        if self.started:
            say({"event": "listening", "port": self._port})

    async def on_tick(self, counter: int) -> bool:
        """True when it is time to end; asked ten times a second."""
        orphaned = counter % 10 == 0 and os.getppid() != self._parent
        return orphaned or self._models.failed or await super().on_tick(counter)


def say(event: dict[str, Any]) -> None:
    """One JSON line on stdout."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def say_error(error: SolonError) -> None:
    """The error as an event."""
    say({"event": "error", "message": error.message, "remedy": error.remedy})


def follow_commands(models: Models, server: uvicorn.Server) -> None:
    """Obey the lines on stdin until it ends, then end the server."""
    for line in sys.stdin:
        command = json.loads(line)
        try:
            models.load(command["as"], Path(command["load"]))
        except SolonError as error:
            say_error(error)
        else:
            say({"event": "loaded", "model": command["as"]})
    server.should_exit = True


def serve(options: argparse.Namespace) -> bool:
    """Serve until told to end; whether nothing failed meanwhile."""
    api_key = _api_key(options.api_key_env, options.host)
    listener = _listener(options.host, options.port)
    models = Models(options.precision, options.threads, options.max_rows, options.max_outstanding)
    for name, path in options.model:
        models.load(name, path)
    app = application(models.batchers, api_key=api_key)
    config = uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False, timeout_graceful_shutdown=5)
    server = Server(config, listener.getsockname()[1], models)
    if options.control:
        threading.Thread(target=follow_commands, args=(models, server), name="control", daemon=True).start()
    signal.signal(
        signal.SIGTERM, lambda *_: None
    )  # uvicorn passes it on once it has ended; there is nothing left to do
    server.run(sockets=[listener])
    failed = models.failed
    models.stop()
    return not failed


def _api_key(variable: str | None, host: str) -> str | None:
    key = os.environ.get(variable, "") if variable else None
    if key == "":
        raise InvalidInput(f"the key in ${variable} is not set", field="--api-key-env", remedy=f"export {variable}=...")
    if key is None and not _is_loopback(host):
        raise InvalidInput(
            f"{host} can be reached from elsewhere",
            field="--host",
            remedy="name a key with --api-key-env, or bind 127.0.0.1",
        )
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise InvalidInput(
            f"cannot listen on {host}:{port}: {error.strerror}", field="--port", remedy="--port 0 takes a free one"
        ) from error


def _named_directory(text: str) -> tuple[str, Path]:
    name, equals, directory = text.partition("=")
    if not (name and equals and directory):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR")
    return name, Path(directory)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve as the command line says; the exit code."""
    parser = argparse.ArgumentParser("trainer.server", description="An OpenAI-compatible server of local models.")
    parser.add_argument("--model", action="append", type=_named_directory, default=[], metavar="NAME=DIR")
    parser.add_argument("--control", action="store_true", help="take more models by lines on stdin; end when it ends")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key-env", help="variable that holds the key clients must send")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--max-rows", type=int, default=128, help="sequences sampled at once, per model")
    parser.add_argument("--max-outstanding", type=int, default=1024, help="sequences in progress or waiting, per model")
    options = parser.parse_args(arguments)
    if not options.model and not options.control:
        parser.error("name a model: --model NAME=DIR")
    try:
        return 0 if serve(options) else 1
    except SolonError as error:
        say_error(error)
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
