"""The judgement cache that all jobs share: one SQLite file, safe under many threads and processes.

    with JudgementStore(path) as cache:      # a `critic.cache.Cache`
        kept = cache.put(key, reading)

Every judgement is a transaction of its own in a write-ahead log: what was put is seen by all others at once, and a
process that is killed loses nothing that it had put. Memory does not grow with the file. It has to be on a disk of this
machine; other machines get a copy by `solon cache export` and `import`.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from critic.cache import packed, unpacked
from critic.readings import Reading
from solon.errors import Failed, InvalidInput

_APPLICATION: Final = 0x536F4A75
"""Written into the file's header ("SoJu"), so that no other SQLite file is taken for a cache."""
_FORMAT: Final = 1
_TABLE: Final = "CREATE TABLE judgements (key BLOB PRIMARY KEY, reading TEXT NOT NULL)"
_BUSY_S: Final = 60.0
_AT_ONCE: Final = 500
"""Rows read, or written under one lock."""


@dataclass(frozen=True)
class CacheStats:
    """What a cache holds."""

    path: str
    judgements: int
    prompt_tokens: int
    """Of the requests that need not be made again."""
    completion_tokens: int
    file_bytes: int
    """With the write-ahead log."""


@dataclass(frozen=True)
class Merged:
    """What became of judgements from elsewhere."""

    added: int = 0
    known: int = 0
    differing: int = 0
    """Another reading is kept under the key; it stays, since labels were made with it."""


class JudgementStore:
    """Readings by key. Use as `with JudgementStore(path) as cache`; one object may serve many threads.

    Raises InvalidInput where the file is no cache or cannot be written, Failed where the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=16
            )
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return int(self._one("SELECT count(*) FROM judgements")[0])

    def close(self) -> None:
        """Close the file; what was put is already written."""
        with self._lock:
            self._connection.close()

    def get(self, key: str) -> Reading | None:
        """The reading kept under the key."""
        found = self._one("SELECT reading FROM judgements WHERE key = ?", bytes.fromhex(key))
        return unpacked(found[0]) if found is not None else None

    def put(self, key: str, reading: Reading) -> Reading:
        """The reading that is kept: this one, or the one that came first, from whichever process."""
        with self._lock, _explained(self.path):
            return self._kept(key, reading)[0]

    def merge(self, entries: Iterable[tuple[str, Reading]]) -> Merged:
        """What became of judgements from elsewhere; those that are here already stay."""
        added = known = differing = 0
        for part in _parts(entries):
            with self._lock, _explained(self.path), self._transaction():
                for key, reading in part:
                    kept, new = self._kept(key, reading)
                    added, known, differing = (
                        added + new,
                        known + (not new and kept == reading),
                        differing + (kept != reading),
                    )
        return Merged(added, known, differing)

    def items(self) -> Iterator[tuple[str, Reading]]:
        """All judgements by ascending key; what others add meanwhile may be among them."""
        last = b""
        query = "SELECT key, reading FROM judgements WHERE key > ? ORDER BY key LIMIT ?"
        while rows := self._all(query, last, _AT_ONCE):
            for key, reading in rows:
                yield key.hex(), unpacked(reading)
            last = rows[-1][0]

    def stats(self) -> CacheStats:
        """Counts, and the size of the file."""
        total = "ifnull(sum(json_extract(reading, '$.{}')), 0)"
        totals = ", ".join(total.format(name) for name in ("prompt_tokens", "completion_tokens"))
        count, prompt_tokens, completion_tokens = self._one(f"SELECT count(*), {totals} FROM judgements")
        parts = [self.path.with_name(self.path.name + suffix) for suffix in ("", "-wal")]
        size = sum(part.stat().st_size for part in parts if part.exists())
        return CacheStats(str(self.path), count, prompt_tokens, completion_tokens, size)

    def _kept(self, key: str, reading: Reading) -> tuple[Reading, bool]:
        """The reading under the key, and whether it is new."""
        digest = bytes.fromhex(key)
        insert = "INSERT OR IGNORE INTO judgements VALUES (?, ?)"
        if self._connection.execute(insert, (digest, packed(reading))).rowcount:
            return reading, True
        found = self._connection.execute("SELECT reading FROM judgements WHERE key = ?", (digest,)).fetchone()
        return unpacked(found[0]), False

    def _one(self, query: str, *values: Any) -> Any:
        with self._lock, _explained(self.path):
            return self._connection.execute(query, values).fetchone()

    def _all(self, query: str, *values: Any) -> list[Any]:
        with self._lock, _explained(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _prepare(self) -> None:
        """Make the table, or see that this is a cache. One process at a time: the journal's mode is being set."""
        with _alone(self.path):
            (application,) = self._connection.execute("PRAGMA application_id").fetchone()
            (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if tables and (application, version) != (_APPLICATION, _FORMAT):
                raise _not_a_cache(self.path)
            self._connection.execute("PRAGMA journal_mode = WAL")
            # After a power cut the last judgements may be missing, the file is whole; a killed process loses none.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            if not tables:
                with self._transaction():
                    self._connection.execute(_TABLE)
                    self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    self._connection.execute(f"PRAGMA user_version = {_FORMAT}")


def _parts(entries: Iterable[tuple[str, Reading]]) -> Iterator[list[tuple[str, Reading]]]:
    part: list[tuple[str, Reading]] = []
    for entry in entries:
        part.append(entry)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    if part:
        yield part


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """No other process of this machine is inside the block for the same file."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _not_a_cache(path: Path) -> InvalidInput:
    return InvalidInput(
        "is not a judgement cache",
        field=str(path),
        remedy="give another file; JSON lines of an earlier version are read by `solon cache import`",
    )


@contextmanager
def _explained(path: Path) -> Generator[None]:
    """What SQLite and the disk say, as an error with a remedy."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError) or "readonly" in str(said) or "unable to open" in str(said):
            raise InvalidInput(
                f"cannot use the judgement cache {path}: {said}",
                field="cache",
                remedy="name a file that may be written (`--set cache=FILE`), or turn it off (`--set cache=off`)",
            ) from error
        raise Failed(f"the judgement cache {path} failed: {said}", remedy="see that its disk has room") from error
    except sqlite3.DatabaseError as error:
        raise _not_a_cache(path) from error
