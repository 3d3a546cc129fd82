"""Directories that appear complete or not at all. Torch-free."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from solon.errors import Conflict
from trainer.launch import is_first


@contextmanager
def published(output: Path) -> Generator[Path]:
    """A scratch directory that becomes `output` by one rename at the end, and vanishes when anything fails before.

    Of several processes only the first publishes; what the others write vanishes.

    Raises:
        Conflict: `output` exists already.
    """
    if not is_first():
        with TemporaryDirectory(prefix="solon-rank-") as aside:
            yield Path(aside)
        return
    if output.exists():
        raise Conflict(f"{output} exists already", field="output", remedy="name a new directory or remove this one")
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.rename(output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
