"""The tables of jobs besides `jobs` and `events`: their steps, curves and checkpoints, and the workers that do them."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from api.store.tables import Table


class StepRow(Table):
    """What is known of one step of a job; the columns are those of `api.store.runs.Step`."""

    __tablename__ = "job_steps"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    """From 1, in the order of the recipe."""
    cursor: Mapped[int] = mapped_column(BigInteger)
    """Bytes of the process's output that are stored; moved in the transaction that stores them."""
    attempts: Mapped[int]
    """Launches of this run that failed without a word."""
    counted: Mapped[int]
    """Number of the last launch that is among them."""
    outcome: Mapped[dict[str, Any] | None]


class MetricRow(Table):
    """One point of a training's curve."""

    __tablename__ = "job_metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    series: Mapped[str] = mapped_column(String(100), primary_key=True)
    """Step and training, such as `02-dpo/model`."""
    number: Mapped[int] = mapped_column(primary_key=True)
    """Optimiser step, from 1; one that is done again after a loss replaces what it was."""
    total: Mapped[int]
    created_at: Mapped[float]
    metrics: Mapped[dict[str, Any]]


class CheckpointRow(Table):
    """A checkpoint of a training."""

    __tablename__ = "job_checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    series: Mapped[str] = mapped_column(String(100), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    """Optimiser step after which it was written."""
    path: Mapped[str] = mapped_column(String(500))
    """Inside of the job's folder."""
    kept: Mapped[bool]
    """Whether a training that is stopped can go on from it; false once the training is done."""
    created_at: Mapped[float]


class WorkerRow(Table):
    """A worker; the columns are those of `api.store.workers.Worker`."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    process: Mapped[int]
    queues: Mapped[str] = mapped_column(String(255))
    started_at: Mapped[float]
    seen_at: Mapped[float]
    """By the database's clock, as is `started_at`; 0: it said goodbye."""
