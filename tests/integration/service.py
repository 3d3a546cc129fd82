"""A service over ASGI with scripted models, scripted jobs and a real SQLite file."""

import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from api.app import create_app
from api.store.jobs import Job
from solon.chat import ChatModel
from solon.errors import NotFound
from solon.settings import Settings

EVENTS = """
import json, time
for done in range(3):
    print(json.dumps({"type": "progress", "step": "01-label", "done": done, "total": 3}), flush=True)
print("not an event", flush=True)
print(json.dumps({"type": "run_finished", "detail": {"kl_nats": 1.5}}), flush=True)
"""


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


def script(code: str):
    """A job command that runs a Python script."""

    def command(job: Job, folder: Path) -> Sequence[str]:
        return (sys.executable, "-c", code, str(folder))

    return command


@asynccontextmanager
async def service(
    folder: Path, models: FakeModels | None = None, code: str = EVENTS, *overrides: str
) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of a running app whose database and artifacts are in `folder`."""
    places = [f"database=sqlite:///{folder / 'solon.db'}", f"artifacts={folder / 'artifacts'}"]
    settings = Settings.load(overrides=[*places, *overrides], environment={})
    app = create_app(settings, models=models or FakeModels(), command=script(code))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    client = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1")
    async with app.router.lifespan_context(app), client:
        yield client
