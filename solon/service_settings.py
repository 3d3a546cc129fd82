"""Settings of the running service: how much it takes on, what it says, how jobs are done."""

from typing import Literal

from pydantic import Field, model_validator

from solon.access_settings import Part

MOST_UPLOAD_BYTES = 16 << 30
"""More than any `limits.upload_bytes`."""


class Limits(Part):
    """How much the service takes on at once, and how long it waits."""

    patience_s: float = Field(default=900.0, ge=0)
    """How long a job waits for a model server that went away, before it fails; one never reached gets seconds."""

    queued_jobs: int = Field(default=32, ge=0)
    """Jobs that may wait; one more is answered 429."""
    requests_in_flight: int = Field(default=8, ge=0)
    """POST /v1/preferences requests that may be worked on; one more is answered 429."""
    prompts_per_request: int = Field(default=64, ge=1)
    audits_running: int = Field(default=2, ge=0)
    """Audits at one time; one more is answered 429."""
    rows_per_audit: int = Field(default=1000, ge=1)
    upload_bytes: int = Field(default=512 << 20, ge=1, le=MOST_UPLOAD_BYTES)
    """Of one uploaded file; a larger one is answered 413."""
    requests_open: int = Field(default=512, ge=1)
    """Requests of all kinds that may be open, event streams among them; one more is answered 503."""
    event_streams: int = Field(default=64, ge=0)
    """Event streams that may be open; one more is answered 429."""
    client_timeout_s: float = Field(default=30.0, gt=0)
    """How long a client may take to send the next part of a body, or to take the next part of an answer."""
    drain_s: float = Field(default=2.0, ge=0)
    """How long the server goes on after SIGTERM while /readyz says that it is ending, so that nobody sends more."""
    grace_s: float = Field(default=5.0, ge=0)
    """How long requests may take after that to be answered; what is left is answered 503."""


class Logs(Part):
    """What the service says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """auto: coloured lines on a terminal, JSON otherwise."""


class Probes(Part):
    """How /readyz looks at what the service needs."""

    judges: bool = True
    """Whether each judge is asked for one token under a constraint."""
    timeout_s: float = Field(default=5.0, gt=0)
    """How long each thing may take to answer."""
    kept_s: float = Field(default=10.0, ge=0)
    """How long an answer stands before it is asked for again."""


class LauncherOptions(Part):
    """Where the processes of jobs run."""

    type: Literal["local", "slurm"] = "local"
    """`local`: on the worker's machine; `slurm`: as batch jobs, on a file system that all hosts share."""
    prefix: tuple[str, ...] = ()
    """Put before the command of each process, such as [nice, -n, "10"]."""
    arguments: tuple[str, ...] = ()
    """Of `sbatch`, such as [--partition=gpu, "--gres=gpu:1"]."""


class JobOptions(Part):
    """How jobs are done; see docs/jobs.md."""

    launcher: LauncherOptions = LauncherOptions()
    pipelines_per_worker: int = Field(default=100, ge=1)
    """Jobs that one worker may have begun; they mostly wait for their steps."""
    label_per_worker: int = Field(default=2, ge=1)
    """Steps that ask models which one worker runs at a time."""
    train_per_worker: int = Field(default=1, ge=1)
    """Trainings which one worker runs at a time; run one worker for each accelerator."""
    attempts: int = Field(default=5, ge=1)
    """How often a step's process may end without a word before its job fails."""
    backoff_s: float = Field(default=2.0, gt=0)
    """Pause before the second attempt; each further one doubles it."""
    lease_s: float = Field(default=600.0, gt=0)
    """How long a step's process goes on while no worker follows it."""
    poll_s: float = Field(default=0.5, gt=0)
    """How often queues and processes are looked at."""
    heartbeat_s: float = Field(default=2.0, gt=0)
    """How often a worker says that it lives."""
    dead_after_s: float = Field(default=10.0, gt=0)
    """How long a worker may be silent before others take over what it has."""

    @model_validator(mode="after")
    def _outlive_each_other(self) -> "JobOptions":
        if self.dead_after_s < 3 * self.heartbeat_s:
            raise ValueError("`dead_after_s` must be three times `heartbeat_s` or more")
        if self.lease_s < 3 * self.dead_after_s:
            raise ValueError("`lease_s` must be three times `dead_after_s` or more")
        return self
