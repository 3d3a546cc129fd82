"""Watches over one process of a job: `python -I -S supervisor.py FOLDER NUMBER LEASE_S GRACE_S COMMAND...`.

    run.lock       locked by the supervisor and by the process, so held as long as either lives
    launch.json    number, host, supervisor's and process's ids of the latest launch
    exit.json      number, exit code, and why it was ended (`stopped`, `lease lapsed`, null: by itself); absent where
                   the supervisor was killed
    lease          renewed by whoever follows; when it lapses the process is ended, since nobody wants it any more
    stop           made to have it stopped
    events.jsonl   the process's standard output, of all launches;   log.txt   its standard error

It begins launch NUMBER of a folder, or nothing where that launch was begun before or another one is alive (exit code
75): of two who want to start the same thing, one does. The process dies with the supervisor, and it is in a session of
its own: whoever starts a supervisor may die, and another one adopts what runs.

Standard library only, and run by path: it costs 10 MB and no time.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

TETHER = Path(__file__).resolve().parent.parent / "solon" / "tether.py"
ALREADY = 75
"""Exit code where there is nothing to start."""
_TICK_S = 0.05
_LOOK_S = 0.25


def write_whole(path: Path, value: dict[str, Any]) -> None:
    """The value as JSON in a file that is never seen half written and survives a power cut."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("w", encoding="utf-8") as file:
        file.write(json.dumps(value))
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def read_whole(path: Path) -> dict[str, Any]:
    """What `write_whole` wrote; empty where there is nothing."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


class Supervised:
    """The process of one launch."""

    def __init__(self, folder: Path, lock: IO[str], lease_s: float, grace_s: float) -> None:
        self._folder, self._lock = folder, lock
        self._lease_s, self._grace_s = lease_s, grace_s
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True

    def run(self, number: int, command: list[str]) -> None:
        """Runs the command to its end, and leaves `exit.json`."""
        me = os.getpid()
        with (self._folder / "events.jsonl").open("ab+") as out, (self._folder / "log.txt").open("ab") as errors:
            _end_line(out)
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(TETHER), str(me), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                start_new_session=True,
                pass_fds=[self._lock.fileno()],
            )
        started = {"number": number, "host": socket.gethostname(), "supervisor": me, "process": child.pid}
        write_whole(self._folder / "launch.json", started)
        why = self._watch(child)
        _signal(child.pid, signal.SIGKILL)  # what it left in its group
        write_whole(self._folder / "exit.json", {"number": number, "code": child.returncode, "why": why})

    def _watch(self, child: subprocess.Popen[bytes]) -> str | None:
        """Why the process was ended; None where it ended by itself."""
        why, looked, deadline = None, 0.0, 0.0
        while child.poll() is None:
            now = time.monotonic()
            if why is None and now - looked >= _LOOK_S:
                looked, why = now, self._reason()
                if why is not None:
                    _signal(child.pid, signal.SIGTERM)
                    deadline = now + self._grace_s
            elif why is not None and now > deadline:
                _signal(child.pid, signal.SIGKILL)
            time.sleep(_TICK_S)
        return why

    def _reason(self) -> str | None:
        if self._asked or (self._folder / "stop").exists():
            return "stopped"
        age_s = time.time() - (self._folder / "lease").stat().st_mtime
        return "lease lapsed" if age_s > self._lease_s else None


def _end_line(file: IO[bytes]) -> None:
    """A line that a killed process left torn is ended, so that the next one is not spoilt."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.write(b"\n")
        file.flush()


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def main(arguments: list[str]) -> int:
    """The exit code: 0 once the process is gone, 75 where there was nothing to start."""
    folder, number, lease_s, grace_s = Path(arguments[0]), int(arguments[1]), float(arguments[2]), float(arguments[3])
    with (folder / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ALREADY
        if read_whole(folder / "launch.json").get("number", 0) != number - 1:
            return ALREADY
        (folder / "stop").unlink(missing_ok=True)
        Supervised(folder, lock, lease_s, grace_s).run(number, arguments[4:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
