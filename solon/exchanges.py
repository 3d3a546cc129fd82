"""Requests to model servers as those see them who count, time and trace; this package itself does none of that.

    with observer.exchange("starter-judge", "chat") as exchange:
        ...                             # sent with exchange.headers
        exchange.answered(prompt_tokens=700, completion_tokens=1)

A process that wants to watch its model calls gives an `Observer` to the clients it makes, or sets one for all of them
(`observe`), as it would set up logging.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, Protocol

from solon.records import Discard, PreferencePair

Operation = Literal["chat", "score"]


class Exchange(Protocol):
    """One request under way, with its retries. It ends with its block; an exception there is how it failed."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent with the request, such as `traceparent` and `X-Request-ID`."""
        ...

    def attempted(self) -> None:
        """An attempt begins; the first one counts."""
        ...

    def answered(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> None:
        """An answer was read; the cached tokens are among the prompt's. 0 where the server does not say."""
        ...


class Observer(Protocol):
    """Sees every exchange and every label; its own work has to be small, and must not fail."""

    def exchange(self, model: str, operation: Operation) -> AbstractContextManager[Exchange]:
        """The block in which a request to a registered model is made."""
        ...

    def labelled(self, item: PreferencePair | Discard) -> None:
        """A comparison was labelled, or a row made none."""
        ...


class _Unseen:
    """Nobody looks."""

    def __init__(self) -> None:
        self.headers: Mapping[str, str] = {}

    def attempted(self) -> None:
        """Not counted."""

    def answered(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> None:
        """Not counted."""


class Nobody:
    """The observer that does nothing."""

    _block: Final = nullcontext(_Unseen())

    def exchange(self, model: str, operation: Operation) -> AbstractContextManager[Exchange]:
        """A block that nobody looks at."""
        return self._block

    def labelled(self, item: PreferencePair | Discard) -> None:
        """Not counted."""


UNSEEN: Final[Exchange] = _Unseen()

_watching: Observer = Nobody()


def observe(observer: Observer) -> None:
    """Let `observer` see the exchanges of all clients that are made from now on and are given none of their own."""
    global _watching
    _watching = observer


def watching() -> Observer:
    """Who sees the exchanges of this process."""
    return _watching
