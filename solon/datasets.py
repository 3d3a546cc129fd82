"""Datasets of preference pairs: JSONL or Parquet, with a manifest beside that says what they are made of.

    labels.jsonl            one `PreferencePair` a line (or labels.parquet, with the same record in its column `record`)
    labels.discards.jsonl   one `Discard` a line, only if there are any
    labels.manifest.json    provenance, counts per status and per reason, SHA-256 of the data

All three appear together when the last item is written, or not at all. The same items give the same bytes: what is only
about the run that made them (judge calls issued, cache hits) is left out.
"""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import Field, ValidationError

from solon import __version__
from solon.errors import InvalidInput
from solon.formats import JsonlSink, ParquetSink, Sink, parquet_records, sha256_of, text_lines
from solon.records import Discard, PreferencePair, Provenance, Record
from solon.rows import HumanVote, Row, parse_row, read_rows

__all__ = [
    "BESIDE",
    "HumanVote",
    "Manifest",
    "PairWriter",
    "Row",
    "parse_row",
    "read_discards",
    "read_manifest",
    "read_pairs",
    "read_rows",
    "write_pairs",
]

BESIDE: Final = ("manifest.json", "discards.jsonl", "card.md")
"""Endings of the files that stand beside a dataset, its card included."""

AnyRecord = TypeVar("AnyRecord", bound=Record)


class Manifest(Record):
    """What a dataset is made of. Lists hold each different value once, in order of appearance."""

    format: Literal["solon-pairs/v1"] = "solon-pairs/v1"
    file: str
    sha256: str
    """Of the data file."""
    rows: int
    statuses: dict[str, int]
    """Pairs per status."""
    discards: dict[str, int]
    """Discards per reason; they are listed in the file with `.discards.jsonl` at its end."""
    flags: dict[str, int]
    """Pairs per flag."""
    constitutions: tuple[dict[str, str], ...] = ()
    """id, version and hash."""
    principle_hashes: dict[str, str] = Field(default_factory=dict)
    weights: tuple[dict[str, float], ...] = ()
    """Given with the request; a factor for a principle or `tag:NAME`."""
    template_hashes: tuple[str, ...] = ()
    judges: tuple[dict[str, str | None], ...] = ()
    policies: tuple[str, ...] = ()
    samplings: tuple[dict[str, Any], ...] = ()
    seeds: tuple[int, ...] = ()
    spend: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By model: calls, tokens and money that the labels cost to make, in this run or an earlier one."""
    about: dict[str, Any] = Field(default_factory=dict)
    """What the writer added, such as the name of a job."""
    solon_version: str = __version__


def write_pairs(
    path: Path, items: Iterable[PreferencePair | Discard], *, about: dict[str, Any] | None = None
) -> Manifest:
    """The manifest of the dataset written at `path`; the suffix `.parquet` makes it Parquet, any other JSONL."""
    with PairWriter(path, about=about) as writer:
        for item in items:
            writer.write(item)
        return writer.commit()


def read_pairs(path: Path) -> Iterator[PreferencePair]:
    """The pairs of a dataset, one at a time, in order.

    Raises:
        NotFound: there is no such file.
        InvalidInput: names the first line (or Parquet row) that is no preference pair.
    """
    lines = parquet_records(path) if path.suffix == ".parquet" else text_lines(path)
    for number, line in lines:
        yield _record(PreferencePair, line, f"{path}:{number}", "give a dataset written by `solon label`")


def read_discards(path: Path) -> Iterator[Discard]:
    """The discards of the dataset at `path`; none if there were none."""
    beside = _beside(path, "discards.jsonl")
    if beside.exists():
        for number, line in text_lines(beside):
            yield _record(Discard, line, f"{beside}:{number}", "write the dataset again")


def read_manifest(path: Path, *, verify: bool = True) -> Manifest:
    """The manifest of the dataset at `path`.

    Raises:
        NotFound: there is no manifest.
        InvalidInput: it cannot be read or, with `verify`, the data are not the ones it describes.
    """
    beside = _beside(path, "manifest.json")
    lines = b"".join(line for _, line in text_lines(beside))
    manifest = _record(Manifest, lines, str(beside), "write the dataset again")
    if verify and sha256_of(path) != manifest.sha256:
        raise InvalidInput(
            "the file is not the one its manifest describes", field=str(path), remedy="write the dataset again"
        )
    return manifest


class PairWriter:
    """Writes a dataset item by item. Use as `with PairWriter(path) as writer`, and end with `writer.commit()`.

    Nothing exists at `path` before `commit`; leaving the block without it leaves nothing behind.
    """

    def __init__(self, path: Path, *, about: dict[str, Any] | None = None) -> None:
        self.path = path
        self._about = about or {}
        self._summary = _Summary()
        folder = path.parent
        if path.is_dir():
            raise InvalidInput(f"{path} is a folder", remedy="give the path of a file in it")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._scratch = tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=folder)
        except OSError as error:
            raise InvalidInput(
                f"cannot write to {folder}: {error.strerror}", remedy="give a path in a folder that may be written"
            ) from error
        scratch = Path(self._scratch.name)
        self._data, self._discards = scratch / "data", scratch / "discards"
        self._pairs: Sink = ParquetSink(self._data) if path.suffix == ".parquet" else JsonlSink(self._data)
        self._discarded: Sink = JsonlSink(self._discards)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pairs.close()
        self._discarded.close()
        self._scratch.cleanup()

    @property
    def counts(self) -> dict[str, int]:
        """Pairs per status so far."""
        return dict(sorted(self._summary.statuses.items()))

    @property
    def discards(self) -> dict[str, int]:
        """Discards per reason so far."""
        return dict(sorted(self._summary.discards.items()))

    def write(self, item: PreferencePair | Discard) -> None:
        """Add a pair or a discard."""
        self._summary.add(item)
        (self._discarded if isinstance(item, Discard) else self._pairs).add(item)

    def commit(self, *, spend: dict[str, dict[str, Any]] | None = None, stopped: str = "") -> Manifest:
        """The manifest, once data, discards and manifest stand at their places.

        Args:
            spend: what the labels cost, by model.
            stopped: why there are fewer items than there were to be.
        """
        self._pairs.close()
        self._discarded.close()
        about = self._about | ({"stopped": stopped} if stopped else {})
        manifest = self._summary.manifest(self.path.name, sha256_of(self._data), about, spend or {})
        written = self._data.with_name("manifest")
        written.write_text(json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n", "utf-8")
        listing = _beside(self.path, "discards.jsonl")
        if manifest.discards:
            os.replace(self._discards, listing)
        else:
            listing.unlink(missing_ok=True)  # of an earlier dataset of this name
        os.replace(self._data, self.path)
        os.replace(written, _beside(self.path, "manifest.json"))  # last: it vouches for the others
        return manifest


class _Summary:
    """The counts and the provenance of what was written."""

    def __init__(self) -> None:
        self.rows = 0
        self.statuses: Counter[str] = Counter()
        self.discards: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()
        self.principle_hashes: dict[str, str] = {}
        self.made_of: dict[str, dict[str, Any]] = {}
        self._latest: Provenance | None = None

    def add(self, item: PreferencePair | Discard) -> None:
        if isinstance(item, Discard):
            self.discards[item.reason] += 1
            return
        self.rows += 1
        self.statuses[item.status.value] += 1
        self.flags.update(item.flags)
        made = item.provenance
        if self._latest is not None and all(getattr(made, name) is getattr(self._latest, name) for name in _SOURCES):
            return  # most pairs are made by what made the one before
        self._latest = made
        self.principle_hashes |= made.principle_hashes
        for field, value in _made_of(made).items():
            self.made_of.setdefault(field, {}).setdefault(json.dumps(value, sort_keys=True), value)

    def manifest(self, file: str, sha256: str, about: dict[str, Any], spend: dict[str, dict[str, Any]]) -> Manifest:
        sources: dict[str, Any] = {field: tuple(values.values()) for field, values in self.made_of.items()}
        return Manifest(
            file=file,
            sha256=sha256,
            rows=self.rows,
            statuses=dict(sorted(self.statuses.items())),
            discards=dict(sorted(self.discards.items())),
            flags=dict(sorted(self.flags.items())),
            principle_hashes=dict(sorted(self.principle_hashes.items())),
            about=about,
            spend=spend,
        ).model_copy(update=sources)


_SOURCES = (
    "constitution",
    "constitution_version",
    "constitution_hash",
    "principle_hashes",
    "weights",
    "template_hash",
    "judge",
    "policy",
    "sampling",
    "seed",
)
"""Fields of a provenance that a manifest is made of."""


def _made_of(provenance: Provenance) -> dict[str, Any]:
    """The provenance of one pair under the manifest's names, without what is not set."""
    values: dict[str, Any] = {
        "constitutions": {
            "id": provenance.constitution,
            "version": provenance.constitution_version,
            "hash": provenance.constitution_hash,
        },
        "weights": provenance.weights,
        "template_hashes": provenance.template_hash,
        "judges": provenance.judge,
        "policies": provenance.policy,
        "samplings": provenance.sampling,
        "seeds": provenance.seed,
    }
    return {field: value for field, value in values.items() if value not in (None, "", {})}


def _record(kind: type[AnyRecord], line: str | bytes, where: str, remedy: str) -> AnyRecord:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        what = f"`{key}`: {first['msg']}" if key else "not JSON"
        raise InvalidInput(f"no {kind.__name__}: {what}", field=where, remedy=remedy) from error


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.stem}.{suffix}")
