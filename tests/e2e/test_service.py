"""A real `solon serve` process, spoken to over HTTP and by the command line."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.test_cli import ROOT, solon

pytestmark = pytest.mark.e2e

RECIPE = {
    "name": "r",
    "constitution": "stories",
    "policy": "absent-weights",
    "prompts": {"limit": 2},
    "steps": [{"type": "label"}, {"type": "dpo"}],
}


@dataclass
class Server:
    """A running service."""

    url: str
    process: subprocess.Popen[str]
    folder: Path

    def cli(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """A finished command that talks to this service."""
        return solon(*arguments, folder=self.folder, SOLON_SERVER=self.url)


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """`solon serve` on a free port, in a folder of its own; a parameter sets the limits."""
    models = "models: {absent-weights: {kind: policy, path: nowhere}}"
    limits = getattr(request, "param", "queued_jobs: 4")
    (tmp_path / "solon.yaml").write_text(f"{models}\nlimits: {{{limits}}}\n")
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "api.cli", "serve", "--port", "0", "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield Server(json.loads(process.stdout.readline())["url"], process, tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def recipe_file(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(RECIPE))
    return path


def test_the_service_answers_and_documents_itself(server: Server):
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        assert client.get("/livez").json() == {"status": "ok"}
        assert client.get("/readyz").status_code == 200
        assert {"starter", "starter-judge"} <= {model["id"] for model in client.get("/v1/models").json()["data"]}
        paths: dict[str, Any] = client.get("/openapi.json").json()["paths"]
    assert {"/v1/preferences", "/v1/jobs", "/v1/jobs/{job_id}/events/stream"} <= paths.keys()


def test_a_job_on_the_service_ends_with_the_error_of_its_process(server: Server):
    done = server.cli("align", recipe_file(server.folder), "--server", server.url, "--json")
    assert done.returncode == 1
    assert "no model directory" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    job = json.loads(done.stdout.splitlines()[-1])
    assert job["status"] == "failed"

    (listed,) = json.loads(server.cli("job", "ls", "--json").stdout)
    assert listed["id"] == job["id"]
    assert json.loads(server.cli("job", "show", job["id"], "--json").stdout) == job
    events = [json.loads(line) for line in server.cli("job", "logs", job["id"]).stdout.splitlines()]
    assert [event["event"]["type"] for event in events][-1] == "run_failed"
    followed = server.cli("job", "logs", job["id"], "-f", "--json").stdout.splitlines()
    assert json.loads(followed[-1]) == job
    assert "failed" in server.cli("job", "show", job["id"]).stdout
    cancelled = json.loads(server.cli("job", "cancel", job["id"], "--json").stdout)
    assert cancelled == job


def test_a_preference_that_cannot_be_judged_is_a_problem(server: Server):
    body = {"constitution": "civic", "judge": "absent", "prompts": [{"prompt": "Hi", "completions": ["a", "b"]}]}
    answer = httpx2.post(f"{server.url}/v1/preferences", json=body, timeout=60)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


def test_rules_label_pairs_over_http_without_any_model(server: Server):
    row = {
        "prompt": "Once upon a time, there was a cat.",
        "response_a": "The cat was kind. It shared its milk with a friend and they smiled.",
        "response_b": "A scary monster came and the cat was afraid and hurt and",
    }
    body = {"constitution": "stories", "prompts": [row]}
    answer = httpx2.post(f"{server.url}/v1/preferences", json=body, timeout=60)
    (pair,) = answer.json()["data"]
    assert (answer.status_code, pair["status"]) == (200, "ok")
    assert pair[pair["chosen"]]["text"] == row["response_a"]


@pytest.mark.parametrize("server", ["queued_jobs: 0"], indirect=True)
def test_a_full_queue_is_one_line(server: Server):
    done = solon("align", recipe_file(server.folder), "--server", server.url, folder=server.folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the queue of 0 jobs is full (try again in 30 s)\n"


def test_a_taken_port_is_one_line(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = solon("serve", "--port", str(taken.getsockname()[1]), folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: --port: cannot listen on 127.0.0.1:")
    assert done.stderr.rstrip().endswith("(give another --port)")


def test_an_open_stream_does_not_keep_the_service_from_stopping(server: Server):
    body = {"recipe": RECIPE}
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        job = client.post("/v1/jobs", json=body).json()
        with client.sse(f"/v1/jobs/{job['id']}/events/stream") as source:
            next(iter(source))
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) in (0, -signal.SIGTERM)
