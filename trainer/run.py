"""The training child: `python -m trainer.run CONFIG.json`.

Standard output carries events, one JSON object a line, and nothing else; what libraries print goes to standard error.

    {"event": "phase", "name": "train"}                                     what it is doing
    {"event": "progress", "step": 3, "max_steps": 60, "metrics": {...}}     after each step
    {"event": "done", ...}                                                  last line of a run that worked
    {"event": "error", "message": ..., "remedy": ..., "field": ...}         last line of one that did not

Exit codes: 0 done, 1 failed, 2 the configuration or its files are wrong. SIGTERM leaves nothing behind but
checkpoints, where the configuration names a directory for them.
"""

import importlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import IO, Any

from solon.errors import InvalidInput, SolonError
from trainer import launch
from trainer.config import AnyConfig, read_config
from trainer.config.child import Training
from trainer.runs.records import Emit

_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def _set_environment(threads: int | None) -> None:
    """Set what torch and the hub libraries read at import: offline, no telemetry, no bars, few
    kernels kept, so many threads."""
    os.environ.update(_QUIET)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")  # not 1024 kernels for as many widths of batches
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def run(config: AnyConfig, emit: Emit) -> None:
    """Do what the configuration says, in `trainer.runs`; the result is on disk when the `done` event is out."""
    _set_environment(config.threads)
    emit("phase", name="load")
    if isinstance(config, Training):
        from trainer import processes

        processes.join(config.processes)
    importlib.import_module(f"trainer.runs.{config.type}").run(config, emit)


def peak_memory_mib() -> float:
    """The most memory that this process has held: of the accelerator where torch used one, else resident."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _stdout() -> IO[str]:
    """The real standard output, which from here on is standard error to everything else."""
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return stream


def _events(stream: IO[str]) -> Emit:
    """A writer of events; `done` gets the peak memory. Of several processes the first tells, the others errors only."""
    telling = launch.is_first()

    def emit(event: str, **fields: Any) -> None:
        if not telling and event != "error":
            return
        if event == "done":
            fields["peak_memory_mib"] = round(peak_memory_mib(), 1)
        stream.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
        stream.flush()

    return emit


def main(arguments: list[str]) -> int:
    """The exit code; see the module's text."""
    stream = _stdout()
    emit = _events(stream)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if len(arguments) != 1:
            raise InvalidInput("one argument is needed", remedy="python -m trainer.run CONFIG.json")
        config = read_config(Path(arguments[0]))
        if isinstance(config, Training) and config.processes > 1 and not launch.is_launched():
            return launch.launch(config, config.threads, Path(arguments[0]), stream)
        run(config, emit)
    except SolonError as error:
        emit("error", message=error.message, remedy=error.remedy, field=error.field)
        launch.leave(error.exit_code)
        return error.exit_code
    except Exception as error:  # the process boundary: the parent gets one line, the log gets the traceback
        emit("error", message=f"{type(error).__name__}: {error}", remedy="", field=None)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
