"""Training children: everything that needs torch runs as `python -m trainer.run CONFIG.json` and tells its progress."""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from solon.errors import TrainingFailed, TrainingLost
from solon.tether import tethered
from trainer.config import AnyConfig

Progress = Callable[[int, int, dict[str, float]], None]
"""Takes steps done, steps in all, and the metrics of the last one."""
Train = Callable[[AnyConfig, Path, Progress], Coroutine[Any, Any, dict[str, Any]]]
"""Runs a configuration, with its file and log at the given path plus a suffix; the fields of its `done` event."""

_LINE_LIMIT = 1 << 22
_GRACE_S = 10.0


async def train(config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
    """The fields of the child's `done` event. The child ends with us, whatever we end of; cancelling ends it.

    Raises TrainingFailed where it fails, TrainingLost where it was killed from outside.
    """
    where.parent.mkdir(parents=True, exist_ok=True)
    file, log = where.with_suffix(".json"), where.with_suffix(".log")
    file.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    with log.open("wb") as errors:
        child = await asyncio.create_subprocess_exec(
            *tethered(sys.executable, "-m", "trainer.run", str(file)),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=errors,
            limit=_LINE_LIMIT,
        )
    try:
        last = await _follow(child, progress)
    finally:
        await _end(child)
    if child.returncode == 0 and last.get("event") == "done":
        return last
    if child.returncode is not None and child.returncode < 0 and last.get("event") != "error":
        remedy = f"start it again; its log is {log}"
        raise TrainingLost(f"training was ended by signal {-child.returncode}", remedy=remedy)
    message = last["message"] if last.get("event") == "error" else f"the child ended with code {child.returncode}"
    remedy, field = last.get("remedy") or f"an operator reads {log}", last.get("field")
    raise TrainingFailed(f"training failed: {message}", remedy=remedy, field=field)


async def _follow(child: Process, progress: Progress) -> dict[str, Any]:
    """The child's last event, after passing its progress on."""
    last: dict[str, Any] = {}
    assert child.stdout is not None  # noqa: S101 - we asked for a pipe
    async for line in child.stdout:
        event = _event(line)
        if event is None:
            continue
        last = event
        if event["event"] == "progress":
            progress(event["step"], event["max_steps"], event.get("metrics", {}))
    await child.wait()
    return last


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event: Any = json.loads(line)
    except ValueError:
        return None
    return cast(dict[str, Any], event) if isinstance(event, dict) and "event" in event else None


async def _end(child: Process) -> None:
    """The child is gone: asked first, then killed."""
    if child.returncode is not None:
        return
    child.terminate()
    try:
        await asyncio.wait_for(child.wait(), _GRACE_S)
    except TimeoutError:
        child.kill()
        await child.wait()
