"""What `git log --raw` says, as records."""

import re
from dataclasses import dataclass
from typing import Final

LOG_FORMAT: Final = "--format=%x1e%H%x1f%an%x1f%at%x1f%B%x1d"
"""For `git log --raw`: what `commits` reads."""


@dataclass(frozen=True)
class FileChange:
    """One file in a commit."""

    kind: str
    """A added, M modified, D deleted."""
    mode: str
    """Of the file afterwards, such as 100644."""
    blob: str
    """Of its content afterwards."""
    path: str


@dataclass(frozen=True)
class Commit:
    """One commit."""

    id: str
    author: str
    at: float
    """Unix time in seconds."""
    message: str
    changes: tuple[FileChange, ...]

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0]

    def trailer(self, name: str) -> str | None:
        """The value of a `Name: value` line of the message."""
        found = re.search(rf"^{re.escape(name)}: *(\S.*)$", self.message, re.MULTILINE)
        return found[1] if found is not None else None


def commits(output: bytes) -> list[Commit]:
    """The commits in the output of `git log --raw --no-abbrev` with `LOG_FORMAT`, in its order."""
    found: list[Commit] = []
    for block in output.decode(errors="replace").split("\x1e")[1:]:
        head, _, raw = block.partition("\x1d")
        identity, author, at, message = head.split("\x1f", 3)
        changes = tuple(_change(line) for line in raw.splitlines() if line.startswith(":"))
        found.append(Commit(identity, author, float(at), message.strip(), changes))
    return found


def _change(line: str) -> FileChange:
    facts, path = line.split("\t", 1)
    _, mode, _, blob, kind = facts.split(" ")
    return FileChange(kind[0], mode, blob, path)
