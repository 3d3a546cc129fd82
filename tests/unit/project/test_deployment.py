"""Dashboard and alerts ask for what is measured, and everything that is measured is documented."""

import json
import re
from pathlib import Path

import pytest

from api.gauges import DatabaseGauges
from api.metrics import Metrics, names
from api.store.database import open_database
from solon.documents import read_yaml

ROOT = Path(__file__).parents[3]
_SERIES = re.compile(r"\b(?:solon|process)_[a-z_]+")


@pytest.fixture
def measured(tmp_path: Path) -> set[str]:
    """Every series that a scrape can bring."""
    database = open_database(f"sqlite:///{tmp_path / 'solon.db'}")
    gauges = {metric.name for metric in DatabaseGauges(database, 10.0).collect()}
    database.dispose()
    return names(Metrics()) | gauges | {"process_resident_memory_bytes"}


def test_every_series_of_the_dashboard_exists(measured: set[str]) -> None:
    board = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    asked = {
        name for panel in board["panels"] for target in panel["targets"] for name in _SERIES.findall(target["expr"])
    }

    assert len(board["panels"]) >= 12
    assert asked - measured == set()


def test_every_series_of_the_alerts_exists_and_every_alert_says_what_to_do(measured: set[str]) -> None:
    (group,) = read_yaml(ROOT / "deploy" / "alerts.yaml")["groups"]
    asked = {name for rule in group["rules"] for name in _SERIES.findall(rule["expr"])}

    assert asked - measured == set()
    assert all(rule["annotations"].keys() == {"summary", "action"} for rule in group["rules"])


def test_every_series_is_documented(measured: set[str]) -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    own = {re.sub(r"_(bucket|sum|count)$", "", name) for name in measured if name.startswith("solon_")}

    assert {name for name in own if f"`{name}`" not in text} == set()


def test_every_alert_is_documented() -> None:
    (group,) = read_yaml(ROOT / "deploy" / "alerts.yaml")["groups"]
    text = (ROOT / "docs" / "operations.md").read_text()

    assert {rule["alert"] for rule in group["rules"] if rule["alert"] not in text} == set()
