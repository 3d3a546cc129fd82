"""Registered models, running: what workflows and routes ask for by name."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from solon.chat import ChatModel
from solon.settings import Settings


class Models(Protocol):
    """Registered models by name: `api.engines.Engines`, or a fake."""

    async def chat(self, name: str) -> ChatModel:
        """The running model; raises NotFound or ModelUnavailable."""
        ...

    async def serve(self, directories: Mapping[str, Path]) -> None:
        """Make model directories available to `chat` under these names."""
        ...


@asynccontextmanager
async def opened(settings: Settings, models: Models | None = None) -> AsyncGenerator[Models]:
    """The given models, or engines of our own that are stopped at the end."""
    if models is not None:
        yield models
        return
    from api.engines import Engines

    async with Engines(settings) as engines:
        yield engines
