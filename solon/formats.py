"""How the items of a dataset are laid out in files: JSON lines, and Parquet with the whole record in one column."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

from solon.errors import InvalidInput, NotFound
from solon.records import Discard, PreferencePair

_ROWS_PER_GROUP = 1024
_VOTES: Final[Any] = {"votes": {"__all__": {"cache_hit"}}}
_ABOUT_THE_RUN: Final[Any] = {
    "verdicts": {"__all__": {**_VOTES, "jurors": {"__all__": _VOTES}}},
    "provenance": {"judge_calls", "cache_hits"},
}
"""Differs when the same labels are made again from the cache."""


class Sink(Protocol):
    """Where items go, one after the other."""

    def add(self, item: PreferencePair | Discard) -> None:
        """Append one item."""
        ...

    def close(self) -> None:
        """Make everything durable; closing again does nothing."""
        ...


class JsonlSink:
    """One item a line."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8", newline="\n")

    def add(self, item: PreferencePair | Discard) -> None:
        """Append one line."""
        self._file.write(json_line(item) + "\n")

    def close(self) -> None:
        """Flush to the disk."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


class ParquetSink:
    """Columns for people and for data tools; the column `record` holds the item as in JSONL."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        turn = pa.struct([("role", pa.string()), ("content", pa.string())])
        texts = ("id", "status", "prompt_id", "scope", "a", "b", "chosen", "rejected", "constitution_hash", "record")
        self._schema: Any = pa.schema(
            [(name, pa.string()) for name in texts]
            + [(name, pa.float64()) for name in ("p_a", "p_chosen", "margin")]
            + [("messages", pa.list_(turn)), ("flags", pa.list_(pa.string()))]
        )
        self._writer: Any = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._table: Any = pa.Table
        self._rows: list[dict[str, Any]] = []

    def add(self, item: PreferencePair | Discard) -> None:
        """Append one row; rows are written a thousand at a time."""
        if isinstance(item, Discard):
            raise TypeError("a Parquet dataset holds pairs")
        self._rows.append(_columns(item))
        if len(self._rows) == _ROWS_PER_GROUP:
            self._write()

    def close(self) -> None:
        """Write the last rows and the footer."""
        if self._writer.is_open:
            self._write()
            self._writer.close()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(self._table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def json_line(item: PreferencePair | Discard) -> str:
    """The item as JSON, without what is about the run that made it."""
    if isinstance(item, Discard):
        return item.model_dump_json()
    return item.model_dump_json(exclude=_ABOUT_THE_RUN)


def text_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbers, from 1, and bytes of the lines that are not blank."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", remedy="check the path") from error
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}", remedy="give a file that may be read") from error


def parquet_records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbers, from 1, and bytes of the column `record`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise NotFound(f"there is no file {path}", remedy="check the path")
    try:
        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_PER_GROUP, columns=["record"]):
                for value in batch.column("record").to_pylist():
                    number += 1
                    yield number, value.encode()
    except (pa.ArrowException, KeyError) as error:
        raise InvalidInput(
            "not a Parquet dataset of pairs", field=str(path), remedy="give one written by `solon label`"
        ) from error


def write_text(path: Path, text: str) -> None:
    """The text in a file that appears whole; InvalidInput where it cannot be written."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InvalidInput(
            f"cannot write {path}: {error.strerror}", remedy="give a folder that can be written"
        ) from error


def check_apart(out: Path, *inputs: Path | str | None, beside: Sequence[str] = ()) -> None:
    """Raises InvalidInput where writing `out` would write over an input.

    Args:
        beside: endings of the files that are written next to it: `texts.jsonl` for `OUT.texts.jsonl`.
    """
    written = [out, *(out.with_name(f"{out.stem}.{ending}") for ending in beside)]
    for each in (Path(given) for given in inputs if given is not None):
        over = next((path for path in written if each.is_file() and path.exists() and path.samefile(each)), None)
        if over is not None:
            what = "is the input itself" if over is out else f"{over.name} beside it is the input itself"
            raise InvalidInput(f"{out}: {what}", field="--out", remedy="write to another file")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", remedy="check the path") from error


def _columns(pair: PreferencePair) -> dict[str, Any]:
    return {
        "id": pair.id,
        "status": pair.status.value,
        "prompt_id": pair.prompt.id,
        "scope": pair.prompt.scope,
        "messages": [message.model_dump() for message in pair.prompt.messages],
        "a": pair.a.text,
        "b": pair.b.text,
        "chosen": pair.chosen_text,
        "rejected": pair.rejected_text,
        "p_a": pair.p_a,
        "p_chosen": pair.p_chosen,
        "margin": pair.margin,
        "flags": list(pair.flags),
        "constitution_hash": pair.provenance.constitution_hash,
        "record": json_line(pair),
    }
