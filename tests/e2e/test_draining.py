"""A real server that is told to end: not ready at once, answering for a while, then gone; everybody gets an answer."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.store.answers import AnswerStore
from api.store.database import connect
from tests.e2e.test_cli import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAIR = {"prompt": "Hello?", "response_a": "good day to you", "response_b": "go away"}
KEY = {"Idempotency-Key": "one", "X-Request-ID": "mine-7"}


@contextmanager
def served(folder: Path, *settings: str) -> Generator[tuple[subprocess.Popen[bytes], httpx2.Client]]:
    """A server in the folder, its log in `log`, and a client of it."""
    sets = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "api.cli", *sets, "serve", "--port", "0", "--json", "--workers-embedded", "0"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log) as server,
    ):
        assert server.stdout is not None
        with httpx2.Client(base_url=json.loads(server.stdout.readline())["url"], timeout=30) as client:
            yield server, client


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


@contextmanager
def silent_judge() -> Generator[tuple[str, threading.Event]]:
    """A model server that takes requests and never answers, and whether it has been asked."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                asked.set()
                while connection.recv(1 << 16):
                    pass

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", asked


def test_a_server_that_is_told_to_end_is_not_ready_answers_for_a_while_and_ends(tmp_path: Path):
    with served(tmp_path, "limits.drain_s=1.5") as (server, client):
        before = client.get("/readyz").status_code
        server.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        ending, alive = client.get("/readyz"), client.get("/livez")
        code = server.wait(20)

    assert (before, ending.status_code, alive.status_code, code) == (200, 503, 200, 0)
    assert ending.json()["detail"].startswith("server: ")


def test_a_request_that_outlasts_the_grace_is_told_to_come_again_and_its_key_is_free(tmp_path: Path):
    with silent_judge() as (url, asked), ThreadPoolExecutor() as threads:
        limits = ("limits.drain_s=0", "limits.grace_s=0.5")
        judge = f"models.far={{kind: judge, engine: vllm, endpoint: '{url}'}}"
        with served(tmp_path, *limits, judge) as (server, client):
            body = {"constitution": "civic", "judge": "far", "prompts": [PAIR]}
            sent = threads.submit(client.post, "/v1/preferences", json=body, headers=KEY)
            assert asked.wait(20)
            server.send_signal(signal.SIGTERM)
            answer = sent.result(20)
            server.wait(20)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.headers["Content-Type"] == "application/problem+json"
    told = [line for line in lines(tmp_path) if line["event"] == "request" and line.get("request_id") == "mine-7"]
    assert [line["status"] for line in told] == [503]
    database = connect(f"sqlite:///{tmp_path / 'solon.db'}")
    assert AnswerStore(database).claim("default", "one", "hash") is None  # and not StillRunning
    database.dispose()
