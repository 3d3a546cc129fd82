"""Every deliberate error of the project.

    SolonError                      anything we raise on purpose; `message` says what is wrong, `remedy` what to do
    ├── UsageError                  the caller's fault (CLI exit code 2, HTTP 4xx)
    │   ├── Unauthorized            no key, or one that is not valid (any more)                      401
    │   ├── Forbidden               the key's scopes do not allow this                               403
    │   ├── InvalidInput            a malformed file, row, recipe or request; names the field        422
    │   ├── TooLarge                more than the settings allow                                     413
    │   ├── NotFound                an unknown model, constitution, file, job                        404
    │   ├── Conflict                the object is in a state that forbids this                       409
    │   │   └── StillRunning        the same request is being answered; try again in a moment        409
    │   ├── PreconditionFailed      the object is not the one the change was made from               412
    │   └── PreconditionRequired    the change does not say which object it was made from            428
    ├── Busy                        a queue is full; try again after `retry_after_s`                 429
    │   └── QuotaSpent              a project has used what it may until a time                      429
    └── Failed                      the work could not be done (CLI exit code 1, HTTP 5xx)
        ├── ModelUnavailable        an endpoint failed after the client's retries                    503
        ├── StorageUnavailable      database or artifacts cannot be reached, are full or locked      503
        ├── CoverageTooLow          too few of the judge's answers were usable                       500
        ├── BudgetSpent             a cap on calls, tokens or money left no room for another call    500
        └── TrainingFailed          a training child died or diverged                                500
            └── TrainingLost        the child was killed from outside; the same may work next time       500

A judge's unusable reply is not an error: it is a `Status` on the record (see `solon.records`).
"""

from typing import ClassVar


class SolonError(Exception):
    """Something a user can act on: what is wrong, where, and the remedy, each one line."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, remedy: str = "", field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.field = field

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{where}{self.message}" + (f" ({self.remedy})" if self.remedy else "")


class UsageError(SolonError):
    """The caller's fault."""

    exit_code = 2
    http_status = 400


class Unauthorized(UsageError):
    """No API key, or one that is not valid (any more)."""

    http_status = 401


class Forbidden(UsageError):
    """The key's scopes do not allow this."""

    http_status = 403


class InvalidInput(UsageError):
    """A malformed file, row, recipe or request."""

    http_status = 422


class TooLarge(UsageError):
    """More than the settings allow."""

    http_status = 413


class NotFound(UsageError):
    """An unknown model, constitution, file or job."""

    http_status = 404


class Conflict(UsageError):
    """The object is in a state that forbids this."""

    http_status = 409


class StillRunning(Conflict):
    """The same request is being answered; try again in a moment."""


class PreconditionFailed(UsageError):
    """The object is not the one the change was made from."""

    http_status = 412


class PreconditionRequired(UsageError):
    """The change does not say which object it was made from."""

    http_status = 428


class Busy(SolonError):
    """A queue is full."""

    http_status = 429

    def __init__(self, message: str, *, retry_after_s: float = 1.0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy or f"try again in {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class QuotaSpent(Busy):
    """A project has used what it may for the time being."""


class Failed(SolonError):
    """The work could not be done."""


class ModelUnavailable(Failed):
    """An endpoint failed after the client's retries."""

    http_status = 503


class StorageUnavailable(Failed):
    """Database or artifacts cannot be reached, are full or locked; what was being written is not there."""

    http_status = 503

    def __init__(self, message: str, *, remedy: str, retry_after_s: float = 5.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_s = retry_after_s


class CoverageTooLow(Failed):
    """Too few of the judge's answers were usable."""


class BudgetSpent(Failed):
    """A cap on calls, tokens or money left no room for another call."""


class TrainingFailed(Failed):
    """A training child died or diverged."""


class TrainingLost(TrainingFailed):
    """A training child was killed from outside, such as for memory: no fault of the training's."""
