"""What the commands share: the context of the root options, results on standard output, one-line errors."""

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

from solon.errors import InvalidInput

if TYPE_CHECKING:
    from rich.table import Table

    from solon.settings import Settings

Result = TypeVar("Result")


@dataclass(frozen=True)
class Root:
    """The options given before the command."""

    config: Path | None = None
    overrides: tuple[str, ...] = ()

    @cached_property
    def settings(self) -> "Settings":
        """The settings from all layers."""
        from solon.settings import Settings

        return Settings.load(self.config, self.overrides)


def settings(context: typer.Context) -> "Settings":
    """The settings of the running command."""
    root = context.obj if isinstance(context.obj, Root) else Root()
    return root.settings


def write(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_json(value: Any) -> None:
    """A value as one line of JSON on standard output."""
    write(json.dumps(value, ensure_ascii=False))


def print_table(table: "Table") -> None:
    """A table on standard output; never narrower than it needs to be read in a file."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(table)


def fail(line: str, code: int) -> NoReturn:
    """End the process with `error: LINE` on standard error."""
    sys.stdout.flush()
    sys.stderr.write(f"error: {' '.join(line.split())}\n")
    sys.exit(code)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`; SIGTERM cancels it, so that it stops its children on the way out."""

    async def stoppable() -> Result:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None


def output_folder(path: Path) -> Path:
    """The folder, made if missing; InvalidInput where it cannot be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InvalidInput(
            f"cannot write to {path}: {error.strerror}", field="--out", remedy="give a folder that may be written to"
        ) from error
    return path


def write_file(path: Path, text: str) -> None:
    """The text in a file; InvalidInput where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"cannot write {path}: {error.strerror}", field="--out", remedy="give a file that may be written to"
        ) from error
