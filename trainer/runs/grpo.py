"""A child of type `grpo`; see `trainer.runs.groups`."""

from trainer.runs.groups import run

__all__ = ["run"]
