"""Which checkpoint a training goes on from."""

from pathlib import Path

import pytest

from trainer import processes
from trainer.trl_run import last_whole


def saved(state: Path, step: int, text: str = '{"global_step": 0}', ranks: int = 0) -> Path:
    folder = state / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    for rank in range(ranks):
        (folder / f"rng_state_{rank}.pth").touch()
    if text:
        (folder / "trainer_state.json").write_text(text)
    return folder


def test_the_newest_counts_by_number(tmp_path: Path):
    newest = saved(tmp_path, 100)
    saved(tmp_path, 50)

    assert last_whole(tmp_path) == newest


@pytest.mark.parametrize("text", ["", '{"global_st'])
def test_one_that_was_not_written_to_its_end_is_passed_over(text: str, tmp_path: Path):
    whole = saved(tmp_path, 50)
    saved(tmp_path, 100, text)

    assert last_whole(tmp_path) == whole


def test_one_that_lacks_the_random_state_of_a_process_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = saved(tmp_path, 50, ranks=2)
    saved(tmp_path, 100, ranks=1)
    monkeypatch.setattr(processes, "count", lambda: 2)

    assert last_whole(tmp_path) == whole


@pytest.mark.parametrize("steps", [[], [10, 20]])
def test_without_a_whole_one_a_training_begins_anew(steps: list[int], tmp_path: Path):
    for step in steps:
        saved(tmp_path, step, text="")

    assert last_whole(tmp_path / "missing") is None
    assert last_whole(tmp_path) is None
