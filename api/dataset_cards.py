"""The card of a dataset, beside it: what the labels are, who gave them under which text, and how they lean.

labels.card.md      Markdown with the metadata that dataset hubs read
"""

from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from critic.audit import Audit, audit
from solon.datasets import Manifest, read_discards, read_manifest, read_pairs
from solon.formats import write_text
from solon.intervals import Interval

LICENCE = "licence"
"""Key of a manifest's `about` under which the licence of the texts is."""


def write_card(dataset: Path, found: Audit | None = None, *, licence: str | None = None) -> Path:
    """The card of the dataset; the same dataset gives the same bytes.

    Args:
        found: the audit of the dataset; None makes it, reading pair by pair.
        licence: of the texts, such as CC-BY-4.0; None takes the one in the manifest.
    """
    manifest = read_manifest(dataset, verify=False)
    found = found or audit(chain(read_pairs(dataset), read_discards(dataset)))
    path = card_path(dataset)
    write_text(path, render(manifest, found, licence or manifest.about.get(LICENCE)))
    return path


def card_path(dataset: Path) -> Path:
    """Where the card of a dataset stands."""
    return dataset.with_name(f"{dataset.stem}.card.md")


def render(manifest: Manifest, found: Audit, licence: str | None) -> str:
    """The card as Markdown."""
    about = {key: value for key, value in manifest.about.items() if key != LICENCE}
    return _template().render(manifest=manifest, licence=licence, about=about, bias=_bias(found), size=_size)


def _bias(found: Audit) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each number that there is."""
    position = found.position
    rows: list[tuple[str, Interval | float | None, str]] = [
        ("coverage", found.coverage, "share of comparisons that ended as `ok` or `tie`"),
        ("first-slot share", position.first_slot_share, "how often the first-listed wins; 0.5 is unbiased"),
        ("same-position rate", position.same_position_rate, "share of verdicts with the same slot in both orders"),
        ("position bias, log-odds", position.logit_bias, "above 0 favours the first slot"),
        ("flip rate", found.flip_rate, "share of labels whose side depends on the order of listing"),
        ("longer wins", found.longer_chosen, "share of labels that prefer the longer text; 0.5 is blind to length"),
        ("agreement with people", found.agreement, "where both decided"),
    ]
    return [(name, _shown(value), meaning) for name, value, meaning in rows if value is not None]


def _shown(value: Interval | float | None) -> str:
    if isinstance(value, Interval):
        return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}], n = {value.n}"
    return "-" if value is None else f"{value:.3f}"


def _size(rows: int) -> str:
    """The size category as hubs name it."""
    bounds = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
    return next((name for bound, name in bounds if rows < bound), "n>1M")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("api", "pages"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    return environment.get_template("card.md.jinja")


def _cell(value: Any) -> str:
    """The value in a table's cell: one line, no bar that ends it, no markup."""
    text = " ".join(str(value).split())
    return text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
