"""Judgements as JSON lines: how a cache travels to another machine, or beside a dataset whose making is to be replayed.

{"key": "<64 hex digits>", "p_first": 0.83, "label_mass": 0.99, ...}
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from api.store.judgements import JudgementStore, Merged
from critic.cache import packed, unpacked
from critic.readings import Reading
from solon.errors import InvalidInput
from solon.formats import text_lines

_KEY_BYTES = 32


def export_judgements(store: JudgementStore, out: Path) -> int:
    """How many were written; the file appears when all are, sorted by key."""
    partial, count = out.with_name(f".{out.name}.partial"), 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            for key, reading in store.items():
                file.write(f'{{"key":"{key}",{packed(reading).removeprefix("{")}\n')
                count += 1
        os.replace(partial, out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InvalidInput(
            f"cannot write {out}: {error.strerror}", field="OUT.jsonl", remedy="give a file that may be written"
        ) from error
    return count


def import_judgements(store: JudgementStore, file: Path) -> Merged:
    """What became of them. Raises InvalidInput naming the first line that is no judgement; nothing is added then."""
    for _ in read_judgements(file):
        pass
    return store.merge(read_judgements(file))


def read_judgements(file: Path) -> Iterator[tuple[str, Reading]]:
    """Keys and readings, in order; raises NotFound, or InvalidInput naming the first line that is none."""
    for number, line in text_lines(file):
        try:
            yield _entry(line)
        except ValueError as error:
            raise InvalidInput(
                "not a judgement", field=f"{file}:{number}", remedy="give a file of `solon cache export`"
            ) from error


def _entry(line: bytes) -> tuple[str, Reading]:
    values: Any = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("not an object")
    fields = cast(dict[str, Any], values)
    key = fields.pop("key", None)
    if not isinstance(key, str) or len(bytes.fromhex(key)) != _KEY_BYTES:
        raise ValueError("no key")
    return key.lower(), unpacked(json.dumps(fields))
