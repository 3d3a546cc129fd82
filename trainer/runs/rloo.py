"""A child of type `rloo`; see `trainer.runs.groups`."""

from trainer.runs.groups import run

__all__ = ["run"]
