"""`solon pairs import|export|dedup|decontaminate`: a dataset in, a dataset out, and nothing lost without a reason."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from api.dataset_cards import LICENCE, write_card
from critic.contamination import Decontaminator, decontaminated
from critic.duplicates import deduplicated
from critic.exchange.files import ExportFormat, ImportFormat, export_pairs, import_pairs
from critic.exchange.given import MALFORMED
from solon.datasets import BESIDE, PairWriter, read_discards, read_manifest, read_pairs
from solon.errors import InvalidInput
from solon.formats import check_apart, sha256_of
from solon.records import Discard, PreferencePair
from solon.rows import read_rows

_NAMED: Final = 3
"""Malformed rows that are quoted; the others are in the file of discards."""


def import_file(
    path: Path,
    form: ImportFormat,
    out: Path,
    *,
    annotator: str | None = None,
    licence: str | None = None,
    strict: bool = False,
) -> dict[str, Any]:
    """Counts, and the first rows that could not be read; the dataset is at `out`, with its card.

    Raises InvalidInput where no row is a pair and, if `strict`, at the first malformed one.
    """
    check_apart(out, path, beside=BESIDE)
    about = {"imported_from": {"file": path.name, "format": form, "sha256": sha256_of(path)}}
    about |= {LICENCE: licence} if licence else {}
    refused: list[str] = []
    with PairWriter(out, about=about) as writer:
        for item in import_pairs(path, form, annotator):
            if isinstance(item, Discard) and item.reason == MALFORMED:
                if strict:
                    raise _malformed(path, item.detail)
                refused += [item.detail] if len(refused) < _NAMED else []
            writer.write(item)
        if not writer.counts:
            raise _malformed(path, refused[0] if refused else "no rows")
        manifest = writer.commit()
    card = write_card(out, licence=licence)
    counts = {"pairs": manifest.rows, "statuses": manifest.statuses, "discards": manifest.discards}
    return {**counts, "refused": refused, "out": str(out), "card": str(card)}


def export_file(dataset: Path, form: ExportFormat, out: Path) -> dict[str, Any]:
    """How many pairs were written, and how many were left out by reason; the pairs left out stay in the dataset."""
    check_apart(out, dataset)
    count, left_out = export_pairs(read_pairs(dataset), out, form)
    return {"pairs": count, "left_out": left_out, "format": form, "out": str(out)}


def dedup_file(dataset: Path, out: Path, threshold: float) -> dict[str, Any]:
    """Counts; the dataset at `out` holds the first of all that say the same, its discards the others."""
    return _reduced(dataset, out, deduplicated(read_pairs(dataset), threshold), {"deduplicated": threshold})


def decontaminate_file(dataset: Path, out: Path, against: Iterable[Path], known: Decontaminator) -> dict[str, Any]:
    """Counts; the dataset at `out` holds no pair with a prompt of the row files `against`, its discards do."""
    files = list(against)
    check_apart(out, *files, beside=BESIDE)
    for file in files:
        for row in read_rows(file):
            known.add(row.prompt, f"{file.name}: {row.prompt.id}")
    thresholds = {"run_words": known.run_words, "covered": known.covered, "similarity": known.threshold}
    evaluation = [{"file": file.name, "sha256": sha256_of(file)} for file in files]
    about = {"decontaminated": {"against": evaluation, "prompts": len(known), **thresholds}}
    return _reduced(dataset, out, decontaminated(read_pairs(dataset), known), about)


def _reduced(
    dataset: Path, out: Path, items: Iterator[PreferencePair | Discard], about: dict[str, Any]
) -> dict[str, Any]:
    """Counts of what was read, kept and left out; earlier discards are passed on."""
    check_apart(out, dataset, beside=BESIDE)
    made_from = {"file": dataset.name, "sha256": sha256_of(dataset)}
    inherited = read_manifest(dataset, verify=False).about if _has_manifest(dataset) else {}
    with PairWriter(out, about={**inherited, **about, "made_from": made_from}) as writer:
        for item in items:
            writer.write(item)
        removed, kept = writer.discards, sum(writer.counts.values())
        for discard in read_discards(dataset):
            writer.write(discard)
        writer.commit()
    card = write_card(out)
    counts = {"pairs": kept + sum(removed.values()), "kept": kept, "removed": removed}
    return {**counts, "out": str(out), "card": str(card)}


def _has_manifest(dataset: Path) -> bool:
    return dataset.with_name(f"{dataset.stem}.manifest.json").exists()


def _malformed(path: Path, why: str) -> InvalidInput:
    return InvalidInput(why, field=str(path), remedy="correct the row, or name the format it is in (--format)")
