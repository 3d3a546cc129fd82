"""What the server takes to start and to sit idle. Bounds are wide: `benchmarks/service_load.py startup` measures."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.service_load import processor_s, resident_mib
from tests.e2e.test_cli import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_the_server_starts_without_torch_and_sits_idle_in_little_memory(tmp_path: Path):
    command = [sys.executable, "-m", "api.cli", "serve", "--port", "0", "--json", "--workers-embedded", "0"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=log) as server,
    ):
        assert server.stdout is not None
        assert json.loads(server.stdout.readline())["event"] == "listening"
        used, memory = processor_s(server.pid), resident_mib(server.pid)
        mapped = Path(f"/proc/{server.pid}/maps").read_text()
        server.send_signal(signal.SIGTERM)
        server.wait(20)

    assert "torch" not in mapped
    assert memory < 190  # MiB
    assert used < 10  # seconds of processor time, on a machine that others use
