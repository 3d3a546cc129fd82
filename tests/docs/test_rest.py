"""docs/rest.md lists every route.

After a wanted change: SOLON_UPDATE_GOLDEN=1 pytest tests/docs/test_rest.py
"""

import os
from pathlib import Path
from typing import Any

from tests.integration.test_openapi import document

PAGE = Path(__file__).parents[2] / "docs" / "rest.md"
HEADING = "## Routes\n"


def test_the_page_lists_every_route(tmp_path: Path):
    table = routes(document(tmp_path))
    text = PAGE.read_text()
    head, _, listed = text.partition(HEADING)
    if os.environ.get("SOLON_UPDATE_GOLDEN"):
        PAGE.write_text(f"{head}{HEADING}\n{table}")
        return
    assert listed.strip() == table.strip()


def routes(described: dict[str, Any]) -> str:
    """One line a route: what it is, what it does, which scope it needs."""
    rows = ["| route | | scope |", "|---|---|---|"]
    for path, operations in sorted(described["paths"].items()):
        for method, operation in operations.items():
            scopes = [scope for each in operation.get("security", ()) for names in each.values() for scope in names]
            first = operation["description"].partition("\n")[0].replace("|", "\\|")
            rows.append(f"| `{method.upper()} {path}` | {first} | {', '.join(dict.fromkeys(scopes))} |")
    return "\n".join(rows) + "\n"
