"""Kills servers, workers, supervisors and step processes at random while jobs are done, and counts what went wrong.

    python -m benchmarks.kills --jobs 40                                   SQLite in a temporary folder
    python -m benchmarks.kills --jobs 40 --database postgresql+psycopg://...

A job has three steps; a step works for half a second from its own checkpoint, and publishes one effect. Every job is
posted twice under one key, every stream is followed over the kills of its server. Prints one line of JSON, and ends
with code 1 where anything was lost, done twice, left running, or told with a gap or a repeat.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx2
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
STEPS = ROOT / "tests" / "integration" / "scripted_steps.py"
RECIPE: dict[str, Any] = {
    "name": "effects",
    "constitution": "civic",
    "judge": "starter-judge",
    "steps": [{"type": "label"}, {"type": "dpo", "epochs": 1}, {"type": "evaluate"}],
}
JOBS: dict[str, Any] = {
    "launcher": {"prefix": [sys.executable, "-S", str(STEPS)]},
    "attempts": 1000,
    "backoff_s": 0.1,
    "poll_s": 0.1,
    "heartbeat_s": 0.5,
    "dead_after_s": 2.0,
    "lease_s": 10.0,
    "label_per_worker": 4,
}


@dataclass
class Findings:
    """What happened."""

    database: str
    jobs: int
    kills: dict[str, int] = field(default_factory=dict[str, int])
    jobs_lost: int = 0
    """Not succeeded in the end."""
    jobs_doubled: int = 0
    """Made twice under one key."""
    effects_missing: int = 0
    effects_twice: int = 0
    """Steps that were at work twice at once, or told twice that they made their effect."""
    orphans: int = 0
    """Processes left over once everything is stopped."""
    gaps_or_repeats: int = 0
    """Streams that told events with a gap or a repeat over their reconnects."""
    reconnects: int = 0
    launches: int = 0
    server_ready_s: float = 0.0
    """Longest time from a restart to the first answer."""
    worker_ready_s: float = 0.0
    """Longest time from a restart to taking jobs."""
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        wrong = (self.jobs_lost, self.jobs_doubled, self.effects_missing, self.effects_twice, self.orphans)
        return not any(wrong) and not self.gaps_or_repeats


class Site:
    """A service with workers, in a folder of its own; its processes can be killed and come back."""

    def __init__(self, folder: Path, database: str, workers: int, jobs: dict[str, Any]) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        settings = {
            "database": database,
            "artifacts": str(folder / "artifacts"),
            "limits": {"queued_jobs": 10_000, "event_streams": 500},
            "jobs": jobs,
        }
        with (folder / "solon.yaml").open("w") as file:
            YAML().dump(settings, file)
        self.server_ready_s: list[float] = []
        self.worker_ready_s: list[float] = []
        self._log = (folder / "log.txt").open("ab")
        self.server = self.start_server()
        self.workers = [self.start_worker() for _ in range(workers)]

    @property
    def url(self) -> str:
        """Address of the server, the same after a restart."""
        return f"http://127.0.0.1:{self.port}"

    def start_server(self) -> subprocess.Popen[str]:
        """A server, once it answers."""
        self.server = self._start(
            "serve", "--port", str(self.port), "--workers-embedded", "0", ready=self.server_ready_s
        )
        return self.server

    def start_worker(self) -> subprocess.Popen[str]:
        """A worker, once it takes jobs."""
        return self._start("worker", ready=self.worker_ready_s)

    def _start(self, *arguments: str, ready: list[float]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "api.cli", "--config", str(self.folder / "solon.yaml"), *arguments, "--json"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TICK_S": os.environ.get("TICK_S", "0.05")}
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=self._log
        )
        if not _output(process).readline():
            raise RuntimeError(f"`{arguments[0]}` ended: {(self.folder / 'log.txt').read_text()[-2000:]}")
        ready.append(time.monotonic() - began)
        return process

    def stop(self) -> None:
        """End what was started, in order."""
        for process in (self.server, *self.workers):
            process.send_signal(signal.SIGTERM)
        for process in (self.server, *self.workers):
            process.wait(60)
            _output(process).close()
        self._log.close()

    def steps(self) -> list[int]:
        """Ids of the processes of steps, without their supervisors."""
        return [
            process for process in self.running("scripted_steps.py") if process not in self.running("supervisor.py")
        ]

    def running(self, *kinds: str) -> list[int]:
        """Ids of the processes of this site whose command lines hold one of these words."""
        found: list[int] = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(self.folder) in line and any(kind in line for kind in kinds):
                found.append(int(entry.name))
        return found


class Killer:
    """Kills one process after another, and starts again what does not start by itself."""

    def __init__(self, site: Site, seed: int, most: int) -> None:
        self._site, self._most = site, most
        self._random = random.Random(seed)
        self.kills: Counter[str] = Counter()

    def strike(self) -> None:
        """One kill, unless there were enough."""
        if sum(self.kills.values()) >= self._most:
            return
        what = self._random.choice(("server", "worker", "worker", "supervisor", "step", "host"))
        if what == "server":
            self._end(self._site.server)
            time.sleep(self._random.uniform(0, 0.3))
            self._site.start_server()
        elif what in ("worker", "host"):
            place = self._random.randrange(len(self._site.workers))
            if what == "host":  # with all that runs for it
                for process in self._site.running("supervisor.py", "scripted_steps.py"):
                    _kill(process)
            self._end(self._site.workers[place])
            time.sleep(self._random.uniform(0, 0.3))
            self._site.workers[place] = self._site.start_worker()
        else:
            victims = self._site.running("supervisor.py") if what == "supervisor" else self._site.steps()
            if not victims:
                return
            _kill(self._random.choice(victims))
        self.kills[what] += 1

    def _end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()
        _output(process).close()


def _output(process: subprocess.Popen[str]) -> IO[str]:
    if process.stdout is None:
        raise RuntimeError("it was started with a pipe")
    return process.stdout


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


class Follower:
    """Follows a job's stream to its end, over as many servers as it takes."""

    def __init__(self, url: str, job_id: str) -> None:
        self._path = f"{url}/v1/jobs/{job_id}/events/stream"
        self.seen: list[int] = []
        self.reconnects = -1

    def run(self, deadline: float) -> None:
        """Every event once."""
        with httpx2.Client(timeout=5, trust_env=False) as client:
            while time.monotonic() < deadline:
                self.reconnects += 1
                headers = {"Last-Event-ID": str(self.seen[-1] if self.seen else 0)}
                try:
                    with client.sse(self._path, headers=headers) as events:
                        for event in events:
                            if event.event == "end":
                                return
                            self.seen.append(int(event.id or 0))
                except (httpx2.TransportError, httpx2.HTTPError, ValueError):
                    time.sleep(0.5)  # as many as there are jobs knock while a server starts


def patient(method: str, url: str, **options: Any) -> Any:
    """The answer, however often the server is killed meanwhile."""
    for _ in range(300):
        try:
            answer = httpx2.request(method, url, timeout=10, trust_env=False, **options)
        except httpx2.TransportError:
            time.sleep(0.1)
            continue
        if answer.status_code not in (409, 429, 503):
            answer.raise_for_status()
            return answer.json()
        time.sleep(0.1)
    raise RuntimeError(f"no answer from {url}")


def submit(site: Site, number: int, recipe: dict[str, Any]) -> set[str]:
    """The ids that two posts under one key gave."""
    headers = {"Idempotency-Key": f"kill-{number}"}
    posts = [patient("POST", f"{site.url}/v1/jobs", json={"recipe": recipe}, headers=headers) for _ in range(2)]
    return {job["id"] for job in posts}


def torture(
    folder: Path, database: str, *, jobs: int, workers: int, seed: int, between_s: float, most_kills: int
) -> Findings:
    """What was found after all jobs came to an end, or an hour."""
    began = time.monotonic()
    site, findings = Site(folder, database, workers, JOBS), Findings(database.partition(":")[0], jobs)
    killer, chance = Killer(site, seed, most_kills), random.Random(seed + 1)
    deadline = began + 3600
    with ThreadPoolExecutor(jobs + 1) as threads:
        posted = threads.submit(lambda: [submit(site, number, RECIPE) for number in range(jobs)])
        while not posted.done():
            killer.strike()
            time.sleep(chance.uniform(0, between_s))
        ids = [min(each) for each in posted.result()]
        findings.jobs_doubled = sum(len(each) - 1 for each in posted.result())
        followers = [Follower(site.url, job_id) for job_id in ids]
        following = [threads.submit(each.run, deadline) for each in followers]
        while not all(each.done() for each in following):
            killer.strike()
            time.sleep(chance.uniform(0, between_s))
        for each in following:
            each.result()
    examine(site, ids, followers, findings)
    site.stop()
    time.sleep(1.0)
    findings.orphans = len(site.running("supervisor.py", "scripted_steps.py", "api.cli"))
    findings.kills = dict(sorted(killer.kills.items()))
    findings.server_ready_s = round(max(site.server_ready_s), 2)
    findings.worker_ready_s = round(max(site.worker_ready_s), 2)
    findings.seconds = round(time.monotonic() - began, 1)
    return findings


def examine(site: Site, ids: Sequence[str], followers: Sequence[Follower], findings: Findings) -> None:
    """Enter what became of the jobs."""
    for job_id, follower in zip(ids, followers, strict=True):
        job = patient("GET", f"{site.url}/v1/jobs/{job_id}")
        findings.jobs_lost += job["status"] != "succeeded"
        events = patient("GET", f"{site.url}/v1/jobs/{job_id}/events", params={"limit": 1000})["data"]
        numbers = list(range(1, len(events) + 1))
        findings.gaps_or_repeats += follower.seen != numbers or [event["id"] for event in events] != numbers
        findings.reconnects += follower.reconnects
        told = Counter(each["event"]["step"] for each in events if each["event"]["type"] == "step_finished")
        home = site.folder / "artifacts" / "jobs" / job_id
        findings.effects_twice += sum(count > 1 for count in told.values()) + (home / "violation").exists()
        findings.effects_missing += sum(not (home / f"effect-{n}").exists() for n in range(1, len(RECIPE["steps"]) + 1))
        for launch in home.glob("runs/*/launch.json"):
            findings.launches += json.loads(launch.read_text())["number"]


def main() -> None:
    """Print the findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--between-s", type=float, default=1.0, help="longest pause between two kills")
    parser.add_argument("--kills", type=int, default=1_000_000, help="at most so many")
    parser.add_argument("--database", default="", help="SQLAlchemy URL of an empty database; default: SQLite")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="solon-kills-") as name:
        folder = Path(name)
        database = given.database or f"sqlite:///{folder / 'solon.db'}"
        options = {"jobs": given.jobs, "workers": given.workers, "seed": given.seed, "between_s": given.between_s}
        options["most_kills"] = given.kills
        findings = torture(folder, database, **options)
        if not findings.clean:
            sys.stderr.write((folder / "log.txt").read_text()[-5000:])
    print(json.dumps({**asdict(findings), "kills_in_all": sum(findings.kills.values()), "clean": findings.clean}))
    sys.exit(not findings.clean)


if __name__ == "__main__":
    main()
