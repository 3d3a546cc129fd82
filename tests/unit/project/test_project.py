"""The fence around generic import names, the layers, and the size of files and functions."""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("solon", "constitution", "critic", "trainer", "api")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("name", PACKAGES)
def test_an_import_name_belongs_to_us_alone(name: str) -> None:
    owners = set(packages_distributions().get(name, []))

    assert owners <= {"solon"}, f"{owners - {'solon'}} also installs a top-level {name!r}"


@pytest.mark.parametrize(
    "module", ["api.app", "api.cli", "critic.pipeline", "trainer", "trainer.config", "trainer.starter.oracle"]
)
def test_a_module_outside_the_trainers_runtime_starts_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'trl')))"

    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_and_its_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    longest = max(((node.end_lineno or 0) - node.lineno + 1 for node in functions), default=0)

    assert len(text.splitlines()) <= 400
    assert longest <= 60


def test_the_version_is_stated_once() -> None:
    from solon import __version__

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_every_requirement_has_a_version_known_to_work() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    required = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    names = {requirement.partition(">=")[0].partition("[")[0].lower() for requirement in required}

    assert names - {"solon"} <= pinned
