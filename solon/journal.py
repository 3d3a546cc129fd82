"""A file of JSON objects, one a line, that several processes may append to and a crash cannot spoil."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from solon.errors import InvalidInput


class Journal:
    """Each object is appended by a single write of one line. A line that a crash cut short is skipped."""

    def __init__(self, path: Path, what: str) -> None:
        """Args:
        what: the file is, for errors.

        Raises InvalidInput where the file cannot be written.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise InvalidInput(f"cannot open {what} {path}: {error.strerror}", remedy="give a writable file") from error

    def entries(self) -> Iterator[dict[str, Any]]:
        """The objects so far; afterwards the file ends with a whole line."""
        whole = True
        with self.path.open("rb") as lines:
            for line in lines:
                whole = line.endswith(b"\n")
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    yield cast(dict[str, Any], entry)
        if not whole:  # so that the next line does not continue the torn one
            os.write(self._file, b"\n")

    def append(self, entry: dict[str, Any]) -> None:
        """Write one object; it is in the file when this returns."""
        os.write(self._file, json.dumps(entry).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
