"""Training children: progress passed on, failures as one error, nothing left running."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from api import children
from solon.errors import TrainingFailed
from trainer.config import KLConfig


@pytest.fixture
def config(tmp_path: Path) -> KLConfig:
    return KLConfig(type="kl", policy=tmp_path, reference=tmp_path, samples=tmp_path / "s", output=tmp_path / "o")


def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """The child is this script instead of the trainer."""
    script = tmp_path / "child.sh"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}'\n")
    script.chmod(0o755)
    monkeypatch.setattr(children.sys, "executable", str(script))


async def test_progress_and_the_final_event_come_back(
    tmp_path: Path, config: KLConfig, monkeypatch: pytest.MonkeyPatch
):
    lines = (
        'print("noise")',
        'print("{\\"event\\": \\"progress\\", \\"step\\": 1, \\"max_steps\\": 2, \\"metrics\\": {\\"loss\\": 0.5}}")',
        'print("{\\"event\\": \\"done\\", \\"seconds\\": 1}")',
    )
    scripted(monkeypatch, tmp_path, "; ".join(lines))
    seen: list[tuple[int, int, dict[str, float]]] = []
    done = await children.train(config, tmp_path / "kl", lambda *progress: seen.append(progress))
    assert done["seconds"] == 1
    assert seen == [(1, 2, {"loss": 0.5})]
    assert KLConfig.model_validate_json((tmp_path / "kl.json").read_text()) == config


async def test_a_child_that_says_why_it_failed_is_quoted(
    tmp_path: Path, config: KLConfig, monkeypatch: pytest.MonkeyPatch
):
    told = {"event": "error", "message": "no pairs", "remedy": "label more", "field": "pairs"}
    event = json.dumps(told).replace('"', '\\"')
    scripted(monkeypatch, tmp_path, f'print("{event}"); raise SystemExit(2)')
    with pytest.raises(TrainingFailed) as caught:
        await children.train(config, tmp_path / "kl", lambda *_: None)
    assert str(caught.value) == "pairs: training failed: no pairs (label more)"


async def test_a_child_that_dies_silently_points_to_its_log(
    tmp_path: Path, config: KLConfig, monkeypatch: pytest.MonkeyPatch
):
    scripted(monkeypatch, tmp_path, 'import os, sys; print("oops", file=sys.stderr); sys.stderr.flush(); os._exit(9)')
    with pytest.raises(TrainingFailed, match="code 9") as caught:
        await children.train(config, tmp_path / "kl", lambda *_: None)
    assert caught.value.remedy == f"an operator reads {tmp_path / 'kl.log'}"
    assert "oops" in (tmp_path / "kl.log").read_text()


async def test_cancelling_ends_the_child(tmp_path: Path, config: KLConfig, monkeypatch: pytest.MonkeyPatch):
    here = tmp_path / "pid"
    scripted(monkeypatch, tmp_path, f'import os, time; open("{here}", "w").write(str(os.getpid())); time.sleep(60)')
    task = asyncio.create_task(children.train(config, tmp_path / "kl", lambda *_: None))
    async with asyncio.timeout(10):
        while not (here.exists() and here.read_text()):
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not Path(f"/proc/{here.read_text()}").exists()


async def test_the_real_child_refuses_a_wrong_configuration_in_one_line(tmp_path: Path, config: KLConfig):
    with pytest.raises(TrainingFailed) as caught:
        await children.train(config, tmp_path / "kl", lambda *_: None)
    assert caught.value.message.startswith("training failed: ")
    assert "\n" not in str(caught.value)
