"""What artifacts are, wherever they are kept: content under names, each published whole and once."""

import errno
import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Protocol

from solon.errors import Conflict, InvalidInput, NotFound, StorageUnavailable
from solon.records import Record

CHUNK: Final = 1 << 20
"""Bytes that are in memory at once."""


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
