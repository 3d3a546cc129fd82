"""The id of the HTTP request, or of the job, that is being worked on."""

from contextvars import ContextVar
from typing import Final

REQUEST_ID: Final = ContextVar[str | None]("request_id", default=None)
"""Stands in log lines and problems, and goes along to model servers; None where nothing was asked."""
