"""The command line as a process: help, exit codes, one-line errors."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
RECIPE = "name: r\nconstitution: civic\njudge: starter-judge\nsteps: [{type: label}, {type: dpo}]\n"


def solon(*arguments: str | Path, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The finished process; it runs in `folder`, so that no solon.yaml of the checkout is read."""
    command = [sys.executable, "-m", "api.cli", *map(str, arguments)]
    variables = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "COLUMNS": "120", **environment}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder or ROOT, env=variables, check=False)


def test_help_is_quick_and_lists_every_command():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = solon("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 1.0  # of the CPU, in seconds
    assert done.returncode == 0
    for command in ("demo", "align", "label", "serve", "model", "job", "constitution", "config"):
        assert f"\n  {command} " in done.stdout


def test_help_imports_no_web_framework_and_no_database():
    code = "import sys, api.cli; print([n for n in ('torch', 'fastapi', 'sqlalchemy', 'uvicorn') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def rows(folder: Path, text: str) -> Path:
    path = folder / "rows.jsonl"
    path.write_text(text)
    return path


GOOD = '{"prompt": "Hi", "response_a": "Hello.", "response_b": "Go away.", "label": "a"}\n'
WRONG = [
    ("demo --method ppo", 2, "--method: the demo has no such method (available: dpo; for PPO see"),
    ("align absent.yaml", 2, "there is no file absent.yaml"),
    ("align recipe.yaml --set steps.1.beta=-1", 2, "steps.1.beta: Input should be greater than 0"),
    ("align recipe.yaml --set steps.1.type=magic", 2, "a step needs a known `type`; available: critique_revision,"),
    ("align recipe.yaml --set policy=gpt", 2, "no model is registered as 'gpt' (registered: starter, starter-critic)"),
    ("align recipe.yaml --set constitution=nowhere", 2, "nowhere"),
    ("align recipe.yaml --set judge=null", 2, "judge: the constitution 'civic' needs a judge"),
    ("align recipe.yaml --out file/inside", 2, "--out: cannot write to file/inside"),
    ("align recipe.yaml --server http://127.0.0.1:9", 1, "there is no service at http://127.0.0.1:9"),
    ("label absent.jsonl --constitution civic --judge starter-judge --out o.jsonl", 2, "there is no file absent.jsonl"),
    ("label bad.jsonl --constitution civic --judge starter-judge --out o.jsonl", 2, "bad.jsonl:2: response_b"),
    ("label good.jsonl --constitution nowhere --judge starter-judge --out o.jsonl", 2, "nowhere"),
    ("label good.jsonl --constitution civic --judge gpt --out o.jsonl", 2, "no model is registered as 'gpt'"),
    ("label good.jsonl --constitution civic --judge starter --out o.jsonl", 2, "is a policy, not a judge"),
    ("label good.jsonl --constitution civic --out o.jsonl", 2, "judge: the constitution 'civic' needs a judge"),
    ("label good.jsonl --constitution civic --judge starter-judge --out file/o.jsonl", 2, "cannot write to file"),
    ("label good.jsonl --constitution civic --judge dead --out o.jsonl", 1, "model 'dead' cannot be reached"),
    ("label good.jsonl", 2, "Missing option"),
    ("serve --host 0.0.0.0", 2, "--host: 0.0.0.0 can be reached from other machines"),
    ("serve --port 70000", 2, "Invalid value for '--port'"),
    ("job ls", 1, "there is no service at http://127.0.0.1:9"),
    ("job show job_x --server nonsense", 1, "there is no service at nonsense"),
    ("job show ../models", 2, "job: is not an id"),
    ("--set database=nodb://x serve", 2, "database: not a database URL"),
    ("--set databse=1 config show", 2, "databse: Extra inputs are not permitted"),
    ("--config absent.yaml config show", 2, "there is no file absent.yaml"),
    ("frobnicate", 2, "No such command 'frobnicate'"),
]


@pytest.mark.parametrize(("line", "code", "says"), WRONG, ids=[line for line, _, _ in WRONG])
def test_a_wrong_command_ends_in_one_line_that_says_what_to_do(tmp_path: Path, line: str, code: int, says: str):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "good.jsonl").write_text(GOOD)
    (tmp_path / "bad.jsonl").write_text(GOOD + '{"prompt": "Hi", "response_a": "Hello."}\n')
    (tmp_path / "file").write_text("")
    (tmp_path / "solon.yaml").write_text(
        "server: http://127.0.0.1:9\n"
        "models: {dead: {kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1', timeout_s: 1}}\n"
    )
    done = solon(*line.split(), folder=tmp_path)
    errors = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr
    assert errors[-1].startswith("error: ")
    assert says in errors[-1]
    assert errors[-1].endswith(")"), "every error says what to do"
    assert "Traceback" not in done.stderr


def test_settings_are_printed_as_they_are_in_force(tmp_path: Path):
    (tmp_path / "solon.yaml").write_text("database: sqlite:///file.db\n")
    done = solon("--set", "limits.queued_jobs=3", "config", "show", "--resolved", "--json", folder=tmp_path)
    values = json.loads(done.stdout)
    assert (values["database"], values["limits"]["queued_jobs"]) == ("sqlite:///file.db", 3)
    assert "starter-judge" in values["models"]
    short = solon("config", "show", folder=tmp_path, SOLON_SERVER="http://h:1").stdout
    assert "server: http://h:1" in short
    assert "artifacts" not in short


def test_models_are_listed():
    done = solon("model", "ls", "--json")
    assert {model["name"] for model in json.loads(done.stdout)} >= {"starter", "starter-judge"}
    assert "starter-judge" in solon("model", "ls").stdout
