"""A real server that is told to end: not ready at once, answering for a while, then gone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from tests.e2e.test_cli import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_server_that_is_told_to_end_is_not_ready_answers_for_a_while_and_ends(tmp_path: Path):
    command = [sys.executable, "-m", "api.cli", "--set", "limits.drain_s=1.5", "serve", "--port", "0", "--json"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    options = ["--workers-embedded", "0"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [*command, *options], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=log
        ) as server,
    ):
        assert server.stdout is not None
        with httpx2.Client(base_url=json.loads(server.stdout.readline())["url"]) as client:
            before = client.get("/readyz").status_code
            server.send_signal(signal.SIGTERM)
            time.sleep(0.4)
            ending, alive = client.get("/readyz"), client.get("/livez")
        server.wait(20)

    assert (before, ending.status_code, alive.status_code) == (200, 503, 200)
    assert ending.json()["detail"].startswith("server: ")
