"""OpenTelemetry traces over OTLP/HTTP, where the standard variables ask for them; nothing otherwise.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 solon serve

The SDK is an extra (`solon[telemetry]`) and is imported only then.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from api.redaction import Secrets
from solon.errors import InvalidInput

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def is_asked_for(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the environment names somewhere to send traces."""
    found = os.environ if environment is None else environment
    if found.get("OTEL_SDK_DISABLED", "").lower() == "true" or found.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(found.get(name) for name in _ENDPOINTS)


def open_tracing(secrets: Secrets, service: str = "solon") -> "TracerProvider | None":
    """What makes and sends spans, to be shut down at the end; None where nobody asked.

    Raises InvalidInput where the packages for it are not installed.
    """
    if not is_asked_for():
        return None
    try:
        from api.spans import sending
    except ImportError as error:
        raise InvalidInput(
            "traces are asked for, and the packages that send them are not installed",
            field="OTEL_EXPORTER_OTLP_ENDPOINT",
            remedy="pip install 'solon[telemetry]', or unset it",
        ) from error
    return sending(secrets, service)
