"""What is published under a name: a folder of this machine, or a bucket that several hosts share.

    artifacts = open_artifacts(settings)
    stored = artifacts.put("files/file_01.jsonl", path)     # whole or not at all, and once
    with artifacts.open(stored.name) as stream: ...

A name is published once: the same bytes again are no error, others are a Conflict. Readers see all of it or nothing.
Methods block; call them from a thread. Raises StorageUnavailable where disk or bucket cannot work just now.
"""

import os
import secrets
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from api.store.bucket import BucketArtifacts
from api.store.content import (
    CHUNK,
    Artifacts,
    Stored,
    checked,
    not_published,
    other_content,
    sha256_of,
    storage_errors,
)
from solon.errors import Failed
from solon.settings import Settings

_UNFINISHED: Final = ".unfinished-"


def open_artifacts(settings: Settings) -> Artifacts:
    """The artifacts that the settings name; raises InvalidInput where their library is not installed."""
    return FolderArtifacts(settings.artifacts) if settings.bucket is None else BucketArtifacts(settings.bucket)


def get(artifacts: Artifacts, name: str, target: Path) -> Stored:
    """Copy published content to a file of this machine, whole or not at all.

    Raises NotFound, and Failed where the content is damaged.
    """
    stored = artifacts.find(name)
    if stored is None:
        raise not_published()
    with storage_errors(), artifacts.open(name) as stream, whole(target, replace=True) as partial:
        with partial.open("wb") as file:
            shutil.copyfileobj(stream, file, CHUNK)
        if sha256_of(partial) != stored.sha256:
            raise Failed("published content is damaged", remedy=f"its SHA-256 is not {stored.sha256}; publish it again")
    return stored


class FolderArtifacts:
    """Artifacts in a folder of this machine, or of a file system that several mount."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Where the content of a name is, or would be."""
        return self._root / checked(name)

    def put(self, name: str, source: Path) -> Stored:
        """See `Artifacts.put`."""
        target = self.path(name)
        with storage_errors():
            with whole(target, replace=False) as partial:
                shutil.copyfile(source, partial)
            stored = Stored(name=name, bytes=source.stat().st_size, sha256=sha256_of(source))
            if sha256_of(target) != stored.sha256:
                raise other_content()
            return stored

    def open(self, name: str) -> BinaryIO:
        """See `Artifacts.open`."""
        try:
            with storage_errors():
                return self.path(name).open("rb")
        except (FileNotFoundError, IsADirectoryError) as error:
            raise not_published() from error

    def find(self, name: str) -> Stored | None:
        """See `Artifacts.find`."""
        path = self.path(name)
        with storage_errors():
            if not path.is_file():
                return None
            return Stored(name=name, bytes=path.stat().st_size, sha256=sha256_of(path))

    def names(self, under: str) -> Iterator[str]:
        """See `Artifacts.names`."""
        with storage_errors():
            found = [path for path in self.path(under).rglob("*") if path.is_file()]
        return iter(sorted(str(path.relative_to(self._root)) for path in found if _UNFINISHED not in path.name))

    def delete(self, name: str) -> None:
        """See `Artifacts.delete`."""
        with storage_errors():
            self.path(name).unlink(missing_ok=True)


@contextmanager
def whole(target: Path, *, replace: bool) -> Generator[Path]:
    """A file beside the target that becomes it when the block ends well; one that is there stays unless `replace`.

    The bytes are on the disk before the name is.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        if replace:
            partial.replace(target)
        else:
            with suppress(FileExistsError):
                os.link(partial, target)
        _sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """The folder's entries are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
