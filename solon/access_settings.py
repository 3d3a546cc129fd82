"""The settings of access: what projects may use and share, where requests may go, how events are delivered."""

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """Frozen, strict about unknown keys, documented under each field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Quota(Part):
    """The most that a project may use; None is no limit. Days and months are those of UTC."""

    requests_per_minute: int | None = Field(default=None, ge=0)
    calls_per_day: int | None = Field(default=None, ge=0)
    """Requests to judges and policies, those of its jobs included."""
    calls_per_month: int | None = Field(default=None, ge=0)
    usd_per_day: float | None = Field(default=None, ge=0)
    """At the prices of the registry."""
    usd_per_month: float | None = Field(default=None, ge=0)
    queued_jobs: int | None = Field(default=None, ge=0)
    """Jobs that may wait."""
    storage_bytes: int | None = Field(default=None, ge=0)
    """Of its files."""


class Tenancy(Part):
    """What projects share."""

    quota: Quota = Quota()
    """Of a project that has none of its own."""

    share_judgements: bool = False
    """Whether a project may get from the cache what another had judged, and so learn by time and cost that it had."""


class EgressRules(Part):
    """Where requests may go whose address somebody gave. Metadata services and link-local addresses never are."""

    allow_private: bool = False
    """Whether webhooks may go to this machine and to private networks, and there over plain HTTP."""
    models_private: bool = True
    """Whether the endpoints of registered models may be there; only operators register them."""


class Webhooks(Part):
    """How events are delivered."""

    key_env: str | None = None
    """Name of the environment variable with the key that all signing secrets are derived from, 32 characters or more;
    None: a file beside a SQLite database, made when it is first needed."""
    timeout_s: float = Field(default=15.0, gt=0)
    """For an answer."""
    retries_s: tuple[float, ...] = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    """Waits between attempts; after the last one a delivery has failed."""
    disable_after_s: float = Field(default=5 * 86_400.0, ge=0)
    """An endpoint at which nothing has arrived for so long is disabled."""
    keep_s: float = Field(default=30 * 86_400.0, ge=0)
    """Deliveries that ended longer ago are removed."""
    per_project: int = Field(default=20, ge=0)
    """Endpoints that a project may have."""
