"""The constitutions that others published, where they are at hand."""

from functools import cache
from pathlib import Path

import pytest

from constitution.importing import Heading, Imported, read_foreign

_DATA = Path(__file__).parents[4] / "shared" / "data"
REAL = (
    "constitution/cai_critique_revision_16.json",
    "constitution/llm_swarm_constitution_16.json",
    "constitution/claude_constitution_2026-01-20.md",
    "constitution/model_spec_no_examples.md",
    "rbr/proposition_prompts.yaml",
)


def real(path: str) -> Imported:
    """The document, imported; skips the test where it is absent."""
    file = _DATA / path
    if not file.exists():
        pytest.skip(f"no real data: {file} is absent")
    return _imported(file)


@cache
def _imported(file: Path) -> Imported:
    return read_foreign(file.read_bytes(), file.name, Heading())
