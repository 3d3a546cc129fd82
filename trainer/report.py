"""The report of a run: one self-contained HTML page and the same as JSON. Torch-free.

The page says what changed, under which principles, from which pairs, and what a control does under the same training.
It needs no network: style and charts are in it, for light, dark and print.
"""

from pathlib import Path

from trainer.findings import (
    ConstitutionText,
    Control,
    Curve,
    Example,
    PairSummary,
    PrincipleText,
    Report,
    constitution_text,
    pick_examples,
    pick_pairs,
    read_curve,
    summarise_pairs,
)
from trainer.page import headline, render

__all__ = [
    "ConstitutionText",
    "Control",
    "Curve",
    "Example",
    "PairSummary",
    "PrincipleText",
    "Report",
    "constitution_text",
    "headline",
    "pick_examples",
    "pick_pairs",
    "read_curve",
    "render",
    "summarise_pairs",
    "write_report",
]


def write_report(report: Report, out_dir: Path) -> Path:
    """The page `out_dir/report.html`; `report.json` stands beside it."""
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    page = out_dir / "report.html"
    page.write_text(render(report), encoding="utf-8")
    return page
