"""Real servers, workers and step processes, killed at random: nothing is lost, done twice, or left running."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kills import JOBS, RECIPE, Findings, Site, patient, torture
from tests.integration.postgres import DATABASES, new_database

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long]


@pytest.mark.parametrize("kind", DATABASES)
def test_kills_lose_no_job_and_double_no_effect(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    database = new_database(kind, tmp_path)
    found: Findings = torture(tmp_path, database, jobs=2, workers=2, seed=7, between_s=1.0, most_kills=5)
    with capsys.disabled():
        print(f"\n{found}")  # noqa: T201 - how long a restart took is what people want to see
    assert found.clean, found
    assert sum(found.kills.values()) > 0


def until(site: Site, job_id: str, *statuses: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while True:
        job = patient("GET", f"{site.url}/v1/jobs/{job_id}")
        if job["status"] in statuses:
            return job
        assert time.monotonic() < end, job
        time.sleep(0.1)


@pytest.mark.parametrize("kind", DATABASES)
def test_what_a_dead_worker_had_is_taken_over_and_its_process_adopted(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TICK_S", "0.6")
    site = Site(tmp_path, new_database(kind, tmp_path), 1, JOBS)
    try:
        job_id = patient("POST", f"{site.url}/v1/jobs", json={"recipe": RECIPE})["id"]
        home = tmp_path / "artifacts" / "jobs" / job_id
        while not (home / "progress-1").exists():
            time.sleep(0.05)
        (process,) = site.steps()
        site.workers[0].kill()
        site.workers[0].wait()
        identity = (tmp_path / "artifacts" / "workers" / "1").read_text()
        (tmp_path / "artifacts" / "workers" / "1").write_text("worker-of-another-host")  # so that nobody has its name
        site.workers.append(site.start_worker())
        while not (home / "effect-1").exists():
            assert process in site.steps() or (home / "effect-1").exists()
            time.sleep(0.05)
        assert until(site, job_id, "succeeded", "failed")["status"] == "succeeded"
        assert json.loads((home / "runs" / "01" / "launch.json").read_text())["number"] == 1
        assert identity != "worker-of-another-host"
    finally:
        site.stop()


def test_a_worker_that_is_told_to_stop_leaves_the_process_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TICK_S", "3")  # the step outlives the change of workers
    site = Site(tmp_path, f"sqlite:///{tmp_path / 'solon.db'}", 1, JOBS)
    try:
        job_id = patient("POST", f"{site.url}/v1/jobs", json={"recipe": RECIPE})["id"]
        home = tmp_path / "artifacts" / "jobs" / job_id
        while not (home / "progress-1").exists():
            time.sleep(0.05)
        (process,) = site.steps()
        site.workers[0].send_signal(signal.SIGTERM)
        assert site.workers[0].wait(20) == 0
        assert process in site.steps()
        site.workers.append(site.start_worker())
        patient("POST", f"{site.url}/v1/jobs/{job_id}/pause")
        until(site, job_id, "paused")
        end = time.monotonic() + 30  # where nobody had begun to follow it again, it ends with its lease
        while site.running("scripted_steps.py", "supervisor.py"):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert (home / "progress-1").exists()
        assert json.loads((home / "runs" / "01" / "launch.json").read_text())["number"] == 1
    finally:
        site.stop()


def test_an_embedded_worker_ends_with_its_server_whatever_that_ends_of(tmp_path: Path):
    (tmp_path / "solon.yaml").write_text(f"database: sqlite:///{tmp_path / 'solon.db'}\n")
    command = [sys.executable, "-m", "api.cli", "serve", "--port", "0", "--json"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        end = time.monotonic() + 60
        while not (workers := _children(server.pid)):
            assert time.monotonic() < end
            time.sleep(0.05)
        server.kill()
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < end
            time.sleep(0.05)


def _children(parent: int) -> list[int]:
    """Workers among the children of a process."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            ours = (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(parent)
            if ours and b"api.embedded" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
