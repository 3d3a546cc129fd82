"""The life of a job: which states there are and what leads from one to another. No database, no processes.

queued -> running -> succeeded | failed
  |          |-> pausing -> paused -> queued (resume)
  |          '-> cancelling -> cancelled
  '-> paused | cancelled                          failed -> queued (resume)
"""

from enum import StrEnum

from solon.errors import Conflict


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    """Waiting for a worker."""
    RUNNING = "running"
    """A worker has it."""
    PAUSING = "pausing"
    """Asked to pause; its process may still be there."""
    PAUSED = "paused"
    """Stopped because someone asked; what is finished is kept, and `resume` goes on from there."""
    CANCELLING = "cancelling"
    """Asked to stop for good; its process may still be there."""
    SUCCEEDED = "succeeded"
    """Ended with a result."""
    FAILED = "failed"
    """Ended with an error, which it carries; `resume` tries again from there."""
    CANCELLED = "cancelled"
    """Stopped for good because someone asked."""


class Wish(StrEnum):
    """What someone asks of a job."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"


FINISHED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})
ASKED_TO_STOP = frozenset({JobStatus.PAUSING, JobStatus.CANCELLING})
AT_WORK = ASKED_TO_STOP | {JobStatus.RUNNING}
"""States of a job that a worker has."""

_Q, _R, _PG, _PD, _CG = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.PAUSED, JobStatus.CANCELLING
_WISHED = {
    Wish.CANCEL: {_Q: JobStatus.CANCELLED, _PD: JobStatus.CANCELLED, _R: _CG, _PG: _CG},
    Wish.PAUSE: {_Q: _PD, _R: _PG},
    Wish.RESUME: {_PD: _Q, JobStatus.FAILED: _Q},
}
_REFUSED = {
    (Wish.PAUSE, _CG): "wait until it is cancelled",
    (Wish.RESUME, _PG): "wait until it is paused",
    (Wish.RESUME, _CG): "submit the recipe again",
    (Wish.RESUME, JobStatus.CANCELLED): "submit the recipe again",
    (Wish.RESUME, JobStatus.SUCCEEDED): "it is done; submit the recipe again for another run",
} | {(Wish.PAUSE, finished): "it is finished" for finished in FINISHED}


def wished(status: JobStatus, wish: Wish) -> JobStatus:
    """Where a job goes that is asked this; where it is already there or on the way, it stays.

    Raises Conflict where the wish makes no sense any more.
    """
    if (remedy := _REFUSED.get((wish, status))) is not None:
        raise Conflict(f"a job that is {status} cannot {wish}", field="status", remedy=remedy)
    return _WISHED[wish].get(status, status)


def settled(status: JobStatus, outcome: str) -> JobStatus:
    """Where a job ends up whose work came to `done`, `failed` or `stopped`.

    One that was asked to stop for good is cancelled whatever became of its work. One that was asked to pause is
    paused, unless nothing is left to do.
    """
    if status == JobStatus.CANCELLING:
        return JobStatus.CANCELLED
    if outcome == "done":
        return JobStatus.SUCCEEDED
    if outcome == "failed":
        return JobStatus.FAILED
    return JobStatus.PAUSED if status == JobStatus.PAUSING else JobStatus.FAILED
