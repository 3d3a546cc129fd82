"""The Slurm launcher: each launch is a batch job under the same supervisor, on a file system that all hosts share.

`sbatch`, `squeue` and `scancel` are asked; no library is needed. The number of the batch job is kept in `slurm.json`,
and its name holds the launch: a worker that died between `sbatch` and writing finds the job by its name.
"""

import shlex
import subprocess

from api.launching import Launch, Task, ask_to_stop, environment, polled, prepare, renew, supervised
from api.supervisor import read_whole, write_whole
from solon.errors import Failed

_TIMEOUT_S = 60.0
_WAITING = ("PENDING", "CONFIGURING", "RESV_DEL_HOLD", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "SUSPENDED")


class SlurmLauncher:
    """Processes on a cluster."""

    def __init__(self, lease_s: float, arguments: tuple[str, ...] = ()) -> None:
        """Args:
        arguments: of `sbatch`, such as `--partition=gpu --gres=gpu:1`.
        """
        self._lease_s = lease_s
        self._arguments = arguments

    def ensure(self, task: Task, number: int) -> None:
        """Submit launch `number`, unless it was submitted before."""
        prepare(task)
        name = f"{task.name}-{number}"
        if read_whole(task.folder / "slurm.json").get("number") == number or _queued(name) is not None:
            return
        command = shlex.join(supervised(task, number, self._lease_s))
        log = str(task.folder / "slurm-%j.txt")
        script = f"#!/bin/sh\nexec {command}\n"
        options = ["--parsable", f"--job-name={name}", f"--output={log}", "--no-requeue", "--signal=B:TERM@30"]
        answered = _run(["sbatch", *options, *self._arguments], script)
        batch_job = answered.strip().partition(";")[0]
        write_whole(task.folder / "slurm.json", {"number": number, "job": batch_job, "name": name})

    def poll(self, task: Task) -> Launch:
        """The latest launch: what its supervisor left, and until that begins what the queue says."""
        launch = polled(task)
        submitted = read_whole(task.folder / "slurm.json")
        if not submitted or launch.state == "running" or launch.number >= submitted["number"]:
            return launch
        if _queued(submitted["name"]) is not None:
            renew(task)  # a lease must not lapse while the process waits for its turn
            return Launch("running", submitted["number"])
        launch = polled(task)  # it may have begun and ended in between
        return launch if launch.number >= submitted["number"] else Launch("lost", submitted["number"])

    def stop(self, task: Task) -> None:
        """Ask the supervisor to end the process; a batch job that waits is taken out of the queue."""
        ask_to_stop(task)
        submitted = read_whole(task.folder / "slurm.json")
        if submitted and _queued(submitted["name"]) in _WAITING:
            _run(["scancel", submitted["job"]])


def _queued(name: str) -> str | None:
    """State of the batch job of this name; None where the queue has none."""
    lines = _run(["squeue", "--noheader", "--me", f"--name={name}", "--format=%T"]).split()
    return lines[0] if lines else None


def _run(command: list[str], given: str = "") -> str:
    """What the command prints; raises Failed, after which the caller tries again later."""
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment(), check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"`{command[0]}` does not answer", remedy="is Slurm installed on this host, and up?") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Failed(f"`{command[0]}` failed: {last}", remedy="see `jobs.launcher.arguments` in the settings")
    return done.stdout
