"""Checkpoints of a run that was stopped: taken up by a run of the same work, thrown away before any other."""

import hashlib
import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

_SAME_WORK_ELSEWHERE = {"output", "threads", "state", "save_every", "references", "report_to"}


@contextmanager
def kept_state(state: Path | None, facts: dict[str, Any]) -> Generator[None]:
    """Work during which `state` holds what an earlier try at the same work left; afterwards it is gone.

    Args:
        facts: a run's provenance: configuration, weights and data. Checkpoints of any other work are removed first.
    """
    if state is None:
        yield
        return
    from trainer import processes

    if processes.is_first():
        _clear_unless_same(state, _digest(facts))
    processes.wait()
    yield
    processes.wait()
    if processes.is_first():
        shutil.rmtree(state)


def _clear_unless_same(state: Path, digest: str) -> None:
    mark = state / "work.json"
    try:
        same = json.loads(mark.read_text(encoding="utf-8")) == {"digest": digest}
    except (OSError, ValueError):
        same = False
    if not same:
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
        mark.write_text(json.dumps({"digest": digest}), encoding="utf-8")


def _digest(facts: dict[str, Any]) -> str:
    config = _lasting({name: value for name, value in facts["config"].items() if name not in _SAME_WORK_ELSEWHERE})
    names = ("base_weights", "reference_weights", "data", "rewards", "versions")
    work = {"config": config} | {name: facts.get(name) for name in names}
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()


def _lasting(value: Any) -> Any:
    """Plain values without the addresses of services, which are served anew for each try."""
    if isinstance(value, dict):
        return {name: _lasting(each) for name, each in cast(dict[str, Any], value).items() if name != "url"}
    return [_lasting(each) for each in cast(list[Any], value)] if isinstance(value, list) else value
