"""Publishing a draft: its cases may have to pass first."""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass

from api.events import Event
from api.registry import Models
from api.services import Gate
from api.trials import require_floor, run_cases
from constitution.editing import Editor
from constitution.store import Precondition, Version
from solon.errors import Conflict, Failed
from solon.settings import Settings


@dataclass(frozen=True)
class PublishRequest:
    """Which draft is published, and how."""

    constitution: str
    draft: str
    precondition: Precondition
    author: str
    message: str | None = None
    version: str | None = None
    judge: str | None = None
    """Tries the cases; None: the one of the settings."""
    floor: float = 0.0
    """Share of the cases that must pass, in [0, 1]; the settings may demand more."""


async def publish(
    request: PublishRequest,
    editor: Editor,
    settings: Settings,
    *,
    models: Models | None = None,
    gate: Gate | None = None,
) -> Version:
    """The version that the draft becomes.

    Args:
        models: stands in for the engines of the registered models.
        gate: bounds how many drafts have their cases tried at once.

    Raises:
        Conflict: too few cases pass, or the version is published already.
        PreconditionFailed: the draft was changed, before this or while its cases were tried.
    """
    prepared = await asyncio.to_thread(
        editor.prepare,
        request.constitution,
        request.draft,
        request.precondition,
        author=request.author,
        message=request.message,
        version=request.version,
    )
    floor = max(request.floor, settings.publishing.floor)
    if floor > 0:
        judge = request.judge or settings.publishing.judge
        with gate.enter() if gate is not None else nullcontext():
            report = await run_cases(prepared.constitution, judge, settings, _unheard, models=models)
        try:
            require_floor(report, floor)
        except Failed as error:
            raise Conflict(error.message, field="cases", remedy=error.remedy) from error
    return await asyncio.to_thread(editor.publish, prepared)


def _unheard(event: Event) -> None:
    """Nobody follows the cases while a draft is published."""
