"""Files of pairs in the formats of others, read and written a row at a time: JSON lines, Parquet, a JSON document."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Literal

from pydantic import ValidationError

from critic.audit import human_votes
from critic.exchange import annotated
from critic.exchange.given import Given, malformed, record
from critic.exchange.shapes import (
    OpenAIPreference,
    Ours,
    Shape,
    ShareGPT,
    Transcripts,
    TrlPreference,
    TrlUnpaired,
    Votes,
)
from solon.errors import InvalidInput, NotFound
from solon.formats import text_lines
from solon.records import POSITION_INCONSISTENT, Discard, Message, PreferencePair, Status

ExportFormat = Literal["trl_preference", "trl_unpaired", "openai_preference", "sharegpt", "annotated_pairs", "votes"]
ImportFormat = Literal["trl_preference", "trl_unpaired", "openai_preference", "sharegpt", "annotated_pairs", "hh"]

UNPAIRED: Final = "unpaired"
"""Reason of a discard: no row beside it has the same prompt and the other label."""
_HARD: Final = frozenset({"trl_unpaired", "openai_preference", "sharegpt"})
"""Formats whose readers know a better and a worse side only."""
_ROWS_PER_GROUP: Final = 1024
_WRITERS: Final[dict[str, Callable[[PreferencePair], Iterator[dict[str, Any]]]]] = {
    "trl_preference": TrlPreference.write,
    "trl_unpaired": TrlUnpaired.write,
    "openai_preference": OpenAIPreference.write,
    "sharegpt": ShareGPT.write,
    "votes": Votes.write,
}
_READERS: Final[dict[str, type[TrlPreference | OpenAIPreference | ShareGPT | Transcripts]]] = {
    "trl_preference": TrlPreference,
    "openai_preference": OpenAIPreference,
    "sharegpt": ShareGPT,
    "hh": Transcripts,
}


def withheld(pair: PreferencePair, *, ties: bool = False, hard: bool = False) -> str | None:
    """Why a pair is in no file that others train on; None where it is.

    Args:
        ties: lets ties pass.
        hard: the file says which side is better, not how sure that is; with this the order of listing must not decide.
    """
    if pair.quarantined:
        return "quarantined"
    if hard and pair.status is Status.OK and POSITION_INCONSISTENT in pair.flags:
        return POSITION_INCONSISTENT
    if pair.status is Status.OK and pair.chosen is not None:
        return None
    if pair.status is Status.TIE and pair.p_a is not None and ties:
        return None
    return f"status:{pair.status}"


def _left_out(pair: PreferencePair, form: ExportFormat) -> str | None:
    """Why a pair is not in a file of this format; votes are people's, whatever the judge said."""
    if form != "votes":
        return withheld(pair, ties=form == "annotated_pairs", hard=form in _HARD)
    return "quarantined" if pair.quarantined else None if human_votes(pair) else "no_votes"


def export_pairs(pairs: Iterable[PreferencePair], out: Path, form: ExportFormat) -> tuple[int, dict[str, int]]:
    """How many pairs were written, and how many were not, by reason; the file appears when it is whole.

    A quarantined pair is never written. Ties are in annotated pairs only: the other formats have a better side.
    Of pairs whose side depends on the order of listing, formats with hard labels hold none.
    """
    left_out: Counter[str] = Counter()

    def usable() -> Iterator[PreferencePair]:
        for pair in pairs:
            if why := _left_out(pair, form):
                left_out[why] += 1
            else:
                yield pair

    if form == "annotated_pairs" and out.suffix == ".parquet":
        raise InvalidInput("annotated pairs are one JSON document", field="--out", remedy="give OUT.json")
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        count = _write(usable(), partial, form, out)
        os.replace(partial, out)
    except OSError as error:
        raise InvalidInput(
            f"cannot write {out}: {error.strerror}", field="--out", remedy="give a file that may be written"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return count, dict(sorted(left_out.items()))


def import_pairs(path: Path, form: ImportFormat, annotator: str | None = None) -> Iterator[PreferencePair | Discard]:
    """The pairs of a file, in order, and a Discard with place and reason for each row that makes none.

    Raises NotFound, or InvalidInput where the file as a whole cannot be read.
    """
    if form == "annotated_pairs":
        yield from _annotated(path, annotator)
    elif form == "trl_unpaired":
        yield from _joined(_rows(path))
    else:
        shape = _READERS[form]
        for place, values in _rows(path):
            found = _checked(shape, values)
            given = found if isinstance(found, str) else _given(found.read)
            yield malformed(place, given) if isinstance(given, str) else record(given, place)


def _write(pairs: Iterator[PreferencePair], partial: Path, form: ExportFormat, out: Path) -> int:
    if out.suffix == ".parquet":
        return _write_parquet(pairs, partial, _WRITERS[form])
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        if form == "annotated_pairs":
            return annotated.write_document(file, pairs, out.stem)
        return _write_lines(pairs, file, _WRITERS[form])


def _write_lines(
    pairs: Iterator[PreferencePair], file: IO[str], rows: Callable[[PreferencePair], Iterator[dict[str, Any]]]
) -> int:
    count = 0
    for pair in pairs:
        for row in rows(pair):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        count += 1
    return count


def _write_parquet(
    pairs: Iterator[PreferencePair], partial: Path, rows: Callable[[PreferencePair], Iterator[dict[str, Any]]]
) -> int:
    """Rows of one format have the same keys, so the first ones tell the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, waiting, writer = 0, list[dict[str, Any]](), None
    pa_table: Any = pa.Table
    try:
        for pair in pairs:
            waiting += rows(pair)
            count += 1
            if len(waiting) >= _ROWS_PER_GROUP:
                writer = writer or pq.ParquetWriter(partial, pa_table.from_pylist(waiting).schema, compression="zstd")
                writer.write_table(pa_table.from_pylist(waiting, schema=writer.schema))
                waiting = []
        writer = writer or pq.ParquetWriter(partial, pa_table.from_pylist(waiting).schema, compression="zstd")
        if waiting:
            writer.write_table(pa_table.from_pylist(waiting, schema=writer.schema))
    finally:
        if writer is not None:
            writer.close()
    return count


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Places and values of the rows; a line that is no JSON has its reason, a text, for a value."""
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    for number, line in text_lines(path):
        place = f"line {number}"
        try:
            yield place, json.loads(line)
        except (ValueError, RecursionError):
            yield place, None


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise NotFound(f"there is no file {path}", remedy="check the path")
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(_ROWS_PER_GROUP):
                for values in batch.to_pylist():
                    number += 1
                    yield f"row {number}", values
    except pa.ArrowException as error:
        raise InvalidInput("not a Parquet file", field=str(path), remedy="give JSON lines or Parquet") from error


def _checked(shape: type[Shape], values: Any) -> Any:
    """The row as its shape, or what is wrong with it."""
    if values is None:
        return "not JSON"
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        return annotated.explained(error)


def _given(read: Callable[[], Given]) -> Given | str:
    try:
        return read()
    except ValueError as error:
        return str(error)


def _annotated(path: Path, annotator: str | None) -> Iterator[PreferencePair | Discard]:
    if not path.is_file():
        raise NotFound(f"there is no file {path}", remedy="check the path")
    with path.open("rb") as file:
        try:
            for place, given in annotated.read_document(file, annotator):
                yield malformed(place, given) if isinstance(given, str) else record(given, place)
        except ValueError as error:
            raise InvalidInput(str(error), field=str(path), remedy="give AnnotatedPairs JSON 2.0") from error


def _joined(rows: Iterable[tuple[str, Any]]) -> Iterator[PreferencePair | Discard]:
    """Neighbours of one prompt with both labels as pairs; all others are named."""
    waiting: tuple[str, TrlUnpaired, list[Message], str] | None = None
    for place, values in rows:
        found = _checked(TrlUnpaired, values)
        try:
            if isinstance(found, str):
                raise ValueError(found)
            one = (place, found, found.messages, found.text)
        except ValueError as error:
            yield malformed(place, str(error))
            continue
        if waiting is not None and _belong(waiting, one):
            good, bad = (waiting, one) if waiting[1].label else (one, waiting)
            yield record(Ours.given(good[1], good[2], good[3], bad[3]), place)
            waiting = None
            continue
        if waiting is not None:
            yield _alone(waiting)
        waiting = one
    if waiting is not None:
        yield _alone(waiting)


def _belong(
    one: tuple[str, TrlUnpaired, list[Message], str], other: tuple[str, TrlUnpaired, list[Message], str]
) -> bool:
    return one[2] == other[2] and one[1].id == other[1].id and one[1].label != other[1].label


def _alone(row: tuple[str, TrlUnpaired, list[Message], str]) -> Discard:
    why = f"{row[0]}: no neighbour with the other label"
    return Discard(prompt_id=row[1].prompt_id or row[0], reason=UNPAIRED, detail=why)
