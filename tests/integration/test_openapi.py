"""The OpenAPI document is an interface: a change to it is made on purpose.

After a wanted change: SOLON_UPDATE_GOLDEN=1 pytest tests/integration/test_openapi.py
"""

import json
import os
from pathlib import Path
from typing import Any

from api.app import create_app
from solon.settings import Settings
from tests.integration.service import FakeModels

GOLDEN = Path(__file__).parents[1] / "golden" / "openapi.json"


def document(folder: Path) -> dict[str, Any]:
    settings = Settings.load(overrides=[f"database=sqlite:///{folder / 'x.db'}"], environment={})
    return create_app(settings, models=FakeModels()).openapi()


def test_the_document_is_the_one_that_was_agreed(tmp_path: Path):
    text = json.dumps(document(tmp_path), indent=1, sort_keys=True) + "\n"
    if os.environ.get("SOLON_UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_every_route_says_what_it_does_and_how_it_fails(tmp_path: Path):
    for path, methods in document(tmp_path)["paths"].items():
        for method, route in methods.items():
            assert route["description"], f"{method} {path} has no description"
            assert "application/problem+json" in route["responses"]["default"]["content"]
