"""Several processes for one training: started here, on this machine, by torchrun or accelerate. Torch-free.

    python -m trainer.run CONFIG.json           `processes: 2` in it
      `- python -m torch.distributed.run --nproc-per-node 2 --max-restarts 0 ... -m trainer.run CONFIG.json
           |- rank 0: tells the events, writes the result
           `- rank 1

With `sharding` it is `accelerate launch --config_file trainer/sharding/NAME.yaml`. Restarts are not torchrun's: one
that it restarted hung, while a whole training that is started again goes on from its checkpoint.
"""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from solon.errors import InvalidInput
from trainer.config.child import Training

SHARDING = Path(__file__).parent / "sharding"
EXIT_CODE = "SOLON_EXIT_CODE_FILE"
"""Names the file where rank 0 leaves its exit code: launchers turn every failure into 1."""

_GRACE_S = 20.0
_LOOPBACK = "127.0.0.1"


def is_launched() -> bool:
    """Whether a launcher started this process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process tells and writes; one process alone does."""
    return not is_launched() or os.environ.get("RANK", "0") == "0"


def command(training: Training, file: Path) -> list[str]:
    """What starts the processes of a configuration."""
    count = str(training.processes)
    if training.sharding == "none":
        start = ["torch.distributed.run", "--nproc-per-node", count, "--max-restarts", "0"]
        start += ["--standalone", "--local-addr", _LOOPBACK]
    else:
        start = ["accelerate.commands.launch", "--config_file", str(SHARDING / f"{training.sharding}.yaml")]
        start += ["--num_processes", count, "--main_process_ip", _LOOPBACK]
    return [sys.executable, "-m", *start, "-m", "trainer.run", str(file)]


def environment(training: Training, threads: int | None, code: Path) -> dict[str, str]:
    """Of the processes: cores shared out, and the loopback for what they say to each other without an accelerator."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    each = threads or max(1, cores // training.processes)
    found = {**os.environ, "OMP_NUM_THREADS": str(each), EXIT_CODE: str(code)}
    if sys.platform == "linux":
        found.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return found


def require_deepspeed(sharding: str) -> None:
    """Raise InvalidInput where weights are to be shared out by DeepSpeed and it is not installed."""
    if sharding.startswith("zero") and find_spec("deepspeed") is None:
        remedy = "pip install deepspeed where it is trained, or use `sharding: fsdp2`"
        raise InvalidInput(f"{sharding} needs DeepSpeed, which is not installed", field="sharding", remedy=remedy)


def launch(training: Training, threads: int | None, file: Path, events: IO[str]) -> int:
    """Run all processes to the end; rank 0's exit code. Nothing is left running, however this ends."""
    require_deepspeed(training.sharding)
    with tempfile.TemporaryDirectory(prefix="solon-launch-") as folder:
        code = Path(folder) / "code"
        child = subprocess.Popen(
            command(training, file),
            stdin=subprocess.DEVNULL,
            stdout=events.fileno(),
            env=environment(training, threads, code),
            start_new_session=True,
        )
        try:
            failed = child.wait()
        finally:
            _end(child)
        if failed == 0:
            return 0
        return int(code.read_text()) if code.is_file() else 1


def _end(child: "subprocess.Popen[Any]") -> None:
    """All processes are gone: asked first, then killed."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def leave(code: int) -> None:
    """Tell the launcher's parent how rank 0 ended."""
    if is_launched() and is_first() and (path := os.environ.get(EXIT_CODE)):
        Path(path).write_text(str(code), encoding="utf-8")
