"""How a training tells how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after each step with (step, max_steps, metrics)."""
