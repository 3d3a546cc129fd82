"""A service over ASGI with scripted models, scripted jobs and a real SQLite file."""

import json
import sys
import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx2

from api.app import create_app
from api.workers import work
from solon.chat import ChatModel
from solon.errors import NotFound
from solon.settings import Settings
from tests.integration.postgres import database_in

STEPS = Path(__file__).with_name("scripted_steps.py")
SCRIPTED = f"jobs.launcher.prefix={json.dumps([sys.executable, '-S', str(STEPS)])}"
"""A setting: the process of every step is this script, which gets the command that it stands for."""


class FakeModels:
    """Registered names answered by scripted models."""

    def __init__(self, **models: ChatModel) -> None:
        self.models = models

    async def chat(self, name: str) -> ChatModel:
        """The scripted model of this name."""
        found = self.models.get(name.replace("-", "_"))
        if found is None:
            raise NotFound("no such model")
        return found

    async def serve(self, directories: Mapping[str, Path]) -> None:
        """Every directory is answered by the model scripted as `aligned`."""
        self.models |= {name.replace("-", "_"): self.models["aligned"] for name in directories}


def settings_in(folder: Path, *overrides: str) -> Settings:
    """Settings with database and artifacts in the folder."""
    places = [f"database={database_in(folder)}", f"artifacts={folder / 'artifacts'}"]
    return Settings.load(overrides=[*places, *filter(None, overrides)], environment={})


@asynccontextmanager
async def service(
    folder: Path, models: FakeModels | None = None, *overrides: str
) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of a running app whose database and artifacts are in `folder`; jobs wait."""
    app = create_app(settings_in(folder, *overrides), models=models or FakeModels())
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    client = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1")
    async with app.router.lifespan_context(app), client:
        yield client


@contextmanager
def working(settings: Settings) -> Generator[None]:
    """A worker in a thread of this process."""
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(
        target=work, args=(settings,), kwargs={"ready": lambda _: ready.set(), "stop": stop}, name="worker"
    )
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
