"""A step's process: what it tells of money, curves and checkpoints, and what its last word is."""

from pathlib import Path
from typing import Any

import pytest

from api import step_process
from api.accounts import Accounts
from api.children import Progress
from api.events import Event
from api.step_process import Ledger, main, recorded
from solon.errors import TrainingFailed, TrainingLost
from solon.settings import Settings
from solon.spending import Cap, Spend
from trainer.config import AnyConfig, SFTConfig


def test_what_was_paid_is_told_once(tmp_path: Path):
    accounts, told = Accounts(Settings(), Cap(calls=10)), list[Event]()
    ledger = Ledger(accounts, told.append)
    ledger.tell()
    accounts.of("judge").spent.add(Spend(3, 30, 3, 0.5))
    ledger.tell()
    ledger.tell()
    accounts.of("judge").spent.add(Spend(1, 10, 1, 0.25))
    ledger.tell()
    assert [event.detail["judge"]["calls"] for event in told] == [3, 1]
    assert [event.detail["judge"]["cost_usd"] for event in told] == [0.5, 0.25]


async def test_a_training_tells_its_curve_and_each_checkpoint_once(tmp_path: Path):
    told, passed = list[Event](), list[int]()
    state = tmp_path / "out" / "unfinished" / "02-dpo"
    (state / "checkpoint-2").mkdir(parents=True)  # from before the process was killed
    config = SFTConfig(type="sft", model=tmp_path, rows=tmp_path, output=tmp_path, state=state)

    async def train(config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
        for step in (3, 4):
            (state / f"checkpoint-{step}").mkdir()
            progress(step, 4, {"loss": 1.0 / step})
        return {"event": "done"}

    followed = recorded(train, tmp_path, told.append)
    done = await followed(config, tmp_path / "out" / "02-dpo" / "model-run", lambda step, *_: passed.append(step))
    assert (done, passed) == ({"event": "done"}, [3, 4])
    points = [(event.step, event.message, event.done, event.total) for event in told if event.type == "metrics"]
    assert points == [("02-dpo", "model", 3, 4), ("02-dpo", "model", 4, 4)]
    kept = [event for event in told if event.type == "checkpoint"]
    assert [event.done for event in kept] == [2, 3, 4]
    assert kept[0].message == "out/unfinished/02-dpo/checkpoint-2"
    assert {event.detail["series"] for event in kept} == {"02-dpo/model"}


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [(TrainingFailed("it diverged", remedy="less"), 1, "it diverged"), (TrainingLost("killed"), 75, None)],
)
def test_a_failure_is_a_last_word_and_a_loss_is_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    word: str | None,
):
    async def do(*_: object) -> None:
        raise error

    monkeypatch.setattr(step_process, "do", do)
    assert main([str(tmp_path), "1"]) == code
    lines = [Event.model_validate_json(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.message for line in lines] == ([] if word is None else [word])


def test_a_folder_that_cannot_be_read_is_a_last_word_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path), "1"]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert Event.model_validate_json(line).type == "run_failed"
