"""Supervised processes: begun once, adopted, stopped, lost; on this machine and through a scheduler's commands."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from api.launching import Launch, Launcher, LocalLauncher, Task, held
from api.slurm import SlurmLauncher
from api.supervisor import ALREADY, read_whole, write_whole
from solon.errors import Failed
from solon.tether import ORPHANED, tethered

PATIENCE_S = 60.0
SLEEP = "import time; print('begun', flush=True); time.sleep(60)"


def task(folder: Path, code: str) -> Task:
    return Task("job-01", folder / "run", (sys.executable, "-S", "-c", code))


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def until(launcher: Launcher, wanted: Task, *states: str) -> Launch:
    wait(lambda: launcher.poll(wanted).state in states)
    return launcher.poll(wanted)


def begun(launcher: Launcher, wanted: Task) -> dict[str, int]:
    """The running launch, once its process has said something."""
    until(launcher, wanted, "running")
    output = wanted.folder / "events.jsonl"
    wait(lambda: output.exists() and "begun" in output.read_text())
    wait(lambda: bool(read_whole(wanted.folder / "launch.json")))
    return read_whole(wanted.folder / "launch.json")


def gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.fixture
def local() -> LocalLauncher:
    return LocalLauncher(lease_s=60)


def test_a_process_is_begun_once_however_often_it_is_wanted(tmp_path: Path, local: LocalLauncher):
    wanted = task(tmp_path, "print('done')")
    assert local.poll(wanted) == Launch("none")
    for _ in range(3):
        local.ensure(wanted, 1)
    assert until(local, wanted, "ended") == Launch("ended", 1, 0, None)
    local.ensure(wanted, 1)
    time.sleep(0.3)
    assert (wanted.folder / "events.jsonl").read_text() == "done\n"


def test_a_failed_process_leaves_its_code_and_the_next_launch_adds_to_its_output(tmp_path: Path, local: LocalLauncher):
    wanted = task(tmp_path, "import sys; sys.stdout.write('torn'); sys.exit(3)")
    local.ensure(wanted, 1)
    assert until(local, wanted, "ended") == Launch("ended", 1, 3, None)
    local.ensure(wanted, 2)
    wait(lambda: local.poll(wanted).number == 2 and local.poll(wanted).state == "ended")
    assert (wanted.folder / "events.jsonl").read_text() == "torn\ntorn"


def test_a_running_process_is_stopped_and_says_so(tmp_path: Path, local: LocalLauncher):
    wanted = task(tmp_path, SLEEP)
    local.ensure(wanted, 1)
    launch = begun(local, wanted)
    local.ensure(wanted, 2)  # another one is alive
    local.stop(wanted)
    ended = until(local, wanted, "ended")
    assert (ended.number, ended.why) == (1, "stopped")
    assert gone(launch["process"])
    local.ensure(wanted, 2)
    begun(local, wanted)
    local.stop(wanted)
    assert until(local, wanted, "ended").number == 2


def test_a_process_dies_with_its_supervisor_and_is_lost(tmp_path: Path, local: LocalLauncher):
    wanted = task(tmp_path, SLEEP)
    local.ensure(wanted, 1)
    launch = begun(local, wanted)
    os.kill(launch["supervisor"], signal.SIGKILL)
    wait(lambda: gone(launch["process"]))
    assert until(local, wanted, "lost") == Launch("lost", 1)


def test_a_process_that_nobody_follows_ends_with_its_lease(tmp_path: Path):
    launcher = LocalLauncher(lease_s=0.5)
    wanted = task(tmp_path, SLEEP)
    launcher.ensure(wanted, 1)
    wait(lambda: (wanted.folder / "exit.json").exists())  # polling would renew it
    assert launcher.poll(wanted).why == "lease lapsed"


def test_whoever_comes_next_finds_the_process_alive(tmp_path: Path, local: LocalLauncher):
    wanted = task(tmp_path, SLEEP)
    code = f"""
from api.launching import LocalLauncher, Task
from pathlib import Path
import os
LocalLauncher(60).ensure(Task("job-01", Path({str(wanted.folder)!r}), {wanted.command!r}), 1)
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3])
    launch = begun(local, wanted)
    assert local.poll(wanted) == Launch("running", 1)
    local.stop(wanted)
    until(local, wanted, "ended")
    assert gone(launch["process"])


def test_a_tethered_command_does_not_run_for_a_parent_that_is_gone():
    line = list(tethered("true"))
    assert subprocess.run(line, check=False).returncode == 0
    line[line.index(str(os.getpid()))] = "1"
    assert subprocess.run(line, check=False).returncode == ORPHANED


def test_a_file_is_whole_or_not_there(tmp_path: Path):
    assert read_whole(tmp_path / "x.json") == {}
    write_whole(tmp_path / "x.json", {"a": 1})
    assert read_whole(tmp_path / "x.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


FAKE = """#!/bin/sh
# A cluster of one folder: a batch job is a file with its name and state.
cd {folder}
case "$(basename "$0")" in
sbatch)
    test -e down && {{ echo "sbatch: error: down" >&2; exit 1; }}
    for option; do case "$option" in --job-name=*) name="${{option#--job-name=}}";; esac; done
    cat > "$name.sh"; echo "$@" > "$name.options"
    if test -e busy; then echo PENDING > "$name.state"
    else echo RUNNING > "$name.state"; (sh "$name.sh" > out.txt 2>&1; rm -f "$name.state") > /dev/null 2>&1 & fi
    echo 17 ;;
squeue)
    for option; do case "$option" in --name=*) name="${{option#--name=}}";; esac; done
    cat "$name.state" 2>/dev/null; true ;;
scancel) rm -f *.state; echo "$@" > cancelled ;;
esac
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which batch jobs run at once, or wait where it holds a file `busy`."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    for name in ("sbatch", "squeue", "scancel"):
        (folder / name).write_text(FAKE.format(folder=folder))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_slurm_runs_a_launch_once_under_the_same_supervisor(tmp_path: Path, cluster: Path):
    launcher = SlurmLauncher(60, ("--partition=gpu",))
    wanted = task(tmp_path, "print('done')")
    assert launcher.poll(wanted) == Launch("none")
    launcher.ensure(wanted, 1)
    launcher.ensure(wanted, 1)
    assert until(launcher, wanted, "ended") == Launch("ended", 1, 0, None)
    assert "--partition=gpu" in (cluster / "job-01-1.options").read_text()
    assert (wanted.folder / "events.jsonl").read_text() == "done\n"
    launcher.ensure(wanted, 2)
    wait(lambda: launcher.poll(wanted) == Launch("ended", 2, 0, None))


def test_a_slurm_job_that_waits_counts_as_running_and_is_taken_out_of_the_queue(tmp_path: Path, cluster: Path):
    (cluster / "busy").touch()
    launcher, wanted = SlurmLauncher(60), task(tmp_path, SLEEP)
    launcher.ensure(wanted, 1)
    assert launcher.poll(wanted) == Launch("running", 1)
    launcher.stop(wanted)
    assert (cluster / "cancelled").read_text() == "17\n"
    assert launcher.poll(wanted) == Launch("lost", 1)


def test_a_running_slurm_job_is_stopped_by_its_supervisor(tmp_path: Path, cluster: Path):
    launcher, wanted = SlurmLauncher(60), task(tmp_path, SLEEP)
    launcher.ensure(wanted, 1)
    begun(launcher, wanted)
    launcher.stop(wanted)
    assert until(launcher, wanted, "ended").why == "stopped"


def test_a_cluster_that_is_down_is_an_error_to_try_again_after(tmp_path: Path, cluster: Path):
    (cluster / "down").touch()
    launcher, wanted = SlurmLauncher(60), task(tmp_path, "print('done')")
    with pytest.raises(Failed, match="sbatch"):
        launcher.ensure(wanted, 1)
    (cluster / "down").unlink()
    launcher.ensure(wanted, 1)
    assert until(launcher, wanted, "ended").code == 0


def test_a_second_supervisor_has_nothing_to_start(tmp_path: Path, local: LocalLauncher):
    from api.launching import prepare, supervised

    wanted = task(tmp_path, "pass")
    prepare(wanted)
    assert subprocess.run(supervised(wanted, 2, 60), check=False).returncode == ALREADY
    assert not held(wanted)
