"""What is published under a name: a folder of this machine, or a bucket that several hosts share.

    artifacts = open_artifacts(settings)
    stored = artifacts.put("files/file_01.jsonl", path)     # whole or not at all, and once
    with artifacts.open(stored.name) as stream: ...

A name is published once: the same bytes again are no error, others are a Conflict. Readers see all of it or nothing.
Methods block; call them from a thread. Raises StorageUnavailable where disk or bucket cannot work just now.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Protocol

from solon.errors import Conflict, Failed, InvalidInput, NotFound, StorageUnavailable
from solon.records import Record
from solon.settings import Settings

CHUNK: Final = 1 << 20
"""Bytes that are in memory at once."""
_UNFINISHED: Final = ".unfinished-"


class Stored(Record):
    """Something that is published."""

    name: str
    bytes: int
    sha256: str
    """Of its content, in hex."""


class Artifacts(Protocol):
    """Published content by name; a name is a relative path with `/`."""

    def put(self, name: str, source: Path) -> Stored:
        """Publish the content of a file; raises Conflict where other content has the name."""
        ...

    def open(self, name: str) -> BinaryIO:
        """The content; raises NotFound."""
        ...

    def find(self, name: str) -> Stored | None:
        """What is published under the name, its digest included."""
        ...

    def names(self, under: str) -> Iterator[str]:
        """Names that begin with the folder `under`, sorted."""
        ...

    def delete(self, name: str) -> None:
        """Nothing is published under the name any more, whether it was or not."""
        ...


def open_artifacts(settings: Settings) -> Artifacts:
    """The artifacts that the settings name; raises InvalidInput where their library is not installed."""
    if settings.bucket is None:
        return FolderArtifacts(settings.artifacts)
    from api.store.bucket import BucketArtifacts

    return BucketArtifacts(settings.bucket)


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


def not_published() -> NotFound:
    """Nothing has the name."""
    return NotFound("nothing is published under this name", remedy="it may have been deleted; list what there is")


def other_content() -> Conflict:
    """The name is taken."""
    return Conflict("other content is published under this name", remedy="publish it under a new name")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def checked(name: str) -> str:
    """The name, if it stays within the artifacts."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise InvalidInput("is no name of an artifact", field="name", remedy="a relative path with /")
    return name


_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def storage_errors() -> Generator[None]:
    """Errors of a disk as StorageUnavailable with a remedy; a file that is not there stays one."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, FileExistsError):
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageUnavailable(
                "the disk of the artifacts is full", remedy="make room on it; nothing was published"
            ) from error
        raise StorageUnavailable(
            f"the artifacts cannot be used: {error.strerror or type(error).__name__}",
            remedy="see that `artifacts` can be reached and may be written to",
        ) from error
