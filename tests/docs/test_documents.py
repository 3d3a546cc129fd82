"""What README and docs claim: links lead somewhere, code runs, commands and files are accepted as written."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from api.cli import app
from api.recipes import Recipe
from constitution.document import parse
from critic.rules import RuleSet
from solon.documents import parse_value, validated

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(*languages: str) -> list[object]:
    """Every fenced block in one of the languages, named by its file and place."""
    return [
        pytest.param(match[2], id=f"{document.relative_to(ROOT)}#{index}")
        for document in DOCUMENTS
        for index, match in enumerate(_BLOCK.finditer(document.read_text()), start=1)
        if match[1] in languages
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files(document: Path) -> None:
    targets = [target.partition("#")[0] for target in _LINK.findall(document.read_text()) if "://" not in target]
    broken = [target for target in targets if target and not (document.parent / target).exists()]

    assert broken == []


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)


@pytest.mark.parametrize("text", blocks("json", "jsonl"))
def test_json_blocks_are_json(text: str) -> None:
    values = [json.loads(text)] if text.lstrip().startswith("{\n") else [json.loads(line) for line in text.splitlines()]

    assert values


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_blocks_are_accepted(text: str) -> None:
    if text.startswith("format: constitution/"):
        RuleSet(parse(text.encode(), "block"))
    elif "\nsteps:" in text:
        validated(Recipe, parse_value(text, "block"), "block")
    else:
        assert parse_value(text, "block")


@pytest.mark.parametrize("text", blocks("", "bash", "sh", "console"))
def test_commands_exist_with_the_options_shown(text: str) -> None:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True) if line.startswith(("$ solon", "solon")) else []
        if words[:1] == ["solon"]:
            accept(typer.main.get_command(app), words[1:])


def accept(command: Any, words: list[str]) -> None:
    """Fails unless the words name a command that has every option among them."""
    for word in words:
        if word in getattr(command, "commands", {}):
            command = command.commands[word]
        elif word.startswith("--"):
            options = {
                option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
            }
            assert word.partition("=")[0] in options | {"--help"}, f"{command.name} has no {word}"
        else:
            assert not hasattr(command, "commands"), f"{command.name} has no command {word}"


@pytest.mark.parametrize("text", blocks("", "bash", "sh", "console"))
def test_make_verbs_exist(text: str) -> None:
    verbs = set(re.findall(r"^(?:\$ )?make (\w+)", text, re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert verbs <= targets


def test_every_page_of_the_docs_is_reached_from_the_readme_or_an_index() -> None:
    linked = {
        (document.parent / target.partition("#")[0]).resolve()
        for document in DOCUMENTS
        for target in _LINK.findall(document.read_text())
        if "://" not in target
    }

    assert set((ROOT / "docs").rglob("*.md")) - linked == set()
