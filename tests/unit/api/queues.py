"""Stands in for the queues of workers."""

from dataclasses import dataclass, field

from sqlalchemy.orm import Session


@dataclass
class NoQueue:
    """Remembers what it was told, and hands it to nobody."""

    queued: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    """Job, run and priority."""
    withdrawn: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def prepare(self) -> None:
        """Nothing to do."""

    def enqueue(self, session: Session, job_id: str, run: int, priority: int) -> None:
        """Remember it."""
        self.queued.append((job_id, run, priority))

    def withdraw(self, job_id: str, run: int) -> None:
        """Remember it."""
        self.withdrawn.append((job_id, run))
