"""The training child as a process: events, exit codes, and what it leaves on disk."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from solon.datasets import write_pairs
from solon.records import Completion, Message, Prompt, Status
from tests.unit.trainer.conftest import MakePair
from trainer.data import Sample, write_samples

pytestmark = pytest.mark.slow


def _child(tmp_path: Path, **config: Any) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, events and log of a child."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"threads": 1, "output": str(tmp_path / "out"), **config}))
    done = subprocess.run([sys.executable, "-m", "trainer.run", str(file)], capture_output=True, text=True, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def pairs(tmp_path: Path, make_pair: MakePair) -> Path:
    rows = [make_pair(f"p{i}", a=f"yes {i}", b=f"no {i}") for i in range(8)]
    write_pairs(tmp_path / "pairs.jsonl", [*rows, make_pair("off", p_a=None, status=Status.OFF_FORMAT)])
    return tmp_path / "pairs.jsonl"


def test_a_dpo_child_publishes_a_model_that_differs_from_its_base_in_the_weights_only(
    tmp_path: Path, chat_model: Path, pairs: Path
):
    code, events, log = _child(tmp_path, type="dpo", model=str(chat_model), pairs=str(pairs), batch_size=4, epochs=1.0)
    assert code == 0, log
    steps = [event for event in events if event["event"] == "progress"]
    assert [(event["step"], event["max_steps"]) for event in steps] == [(1, 2), (2, 2)]
    done = events[-1]
    assert (done["event"], done["pairs"], done["dropped"]) == ("done", 8, {"status:off_format": 1})

    out = tmp_path / "out"
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["pairs"] == {"read": 9, "used": 8, "dropped": {"status:off_format": 1}}
    assert provenance["manifest"]["statuses"] == {"ok": 8, "off_format": 1}
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (chat_model / name).read_bytes(), name
    assert (out / "model.safetensors").stat().st_size == (chat_model / "model.safetensors").stat().st_size
    assert (out / "model.safetensors").read_bytes() != (chat_model / "model.safetensors").read_bytes()
    assert (
        AutoModelForCausalLM.from_pretrained(str(out)).dtype
        == AutoModelForCausalLM.from_pretrained(str(chat_model)).dtype
    )
    assert not list(tmp_path.glob(".out-*"))


def test_a_training_computes_in_the_precision_it_was_asked_for(tmp_path: Path, chat_model: Path, pairs: Path):
    norms: dict[str, float] = {}
    for precision in ("float32", "bfloat16"):
        place = tmp_path / precision
        place.mkdir()
        settings = {"model": str(chat_model), "pairs": str(pairs), "batch_size": 8, "epochs": 1.0}
        code, events, log = _child(place, type="dpo", precision=precision, **settings)
        assert code == 0, log
        (norms[precision],) = (event["metrics"]["grad_norm"] for event in events if event["event"] == "progress")
        assert json.loads((place / "out" / "provenance.json").read_text())["precision"] == precision
    assert norms["bfloat16"] != norms["float32"]
    assert norms["bfloat16"] == pytest.approx(norms["float32"], rel=0.05)


def test_a_kl_child_measures_and_writes_its_result(tmp_path: Path, chat_model: Path):
    prompt = Prompt(id="x", messages=(Message(role="user", content="Why?"),))
    samples = [Sample(prompt=prompt, completion=Completion(text="Because.", finish_reason="stop"))]
    write_samples(tmp_path / "s.jsonl", samples)
    code, events, log = _child(
        tmp_path, type="kl", policy=str(chat_model), reference=str(chat_model), samples=str(tmp_path / "s.jsonl")
    )
    assert code == 0, log
    assert events[-1]["result"]["kl_nats"] == 0.0
    assert json.loads((tmp_path / "out" / "divergence.json").read_text())["sequences"] == 1


def test_pairs_that_cannot_be_trained_on_fail_with_their_reasons_and_leave_nothing(
    tmp_path: Path, chat_model: Path, make_pair: MakePair
):
    write_pairs(tmp_path / "pairs.jsonl", [make_pair(p_a=None, status=Status.TIMEOUT)])
    code, events, _ = _child(tmp_path, type="dpo", model=str(chat_model), pairs=str(tmp_path / "pairs.jsonl"))
    assert code == 2
    assert events[-1]["event"] == "error"
    assert "1 status:timeout" in events[-1]["message"]
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out-*"))


def test_an_output_that_exists_is_not_overwritten(tmp_path: Path, chat_model: Path, pairs: Path):
    (tmp_path / "out").mkdir()
    code, events, _ = _child(tmp_path, type="dpo", model=str(chat_model), pairs=str(pairs))
    assert (code, events[-1]["field"]) == (2, "output")


@pytest.mark.parametrize(
    ("change", "field"), [({"beta": -1}, "dpo.beta"), ({"model": "/nowhere"}, "model"), ({"pairs": "/nowhere"}, None)]
)
def test_wrong_input_is_one_event_with_a_remedy_and_no_traceback(
    change: dict[str, Any], field: str | None, tmp_path: Path, chat_model: Path, pairs: Path
):
    code, events, log = _child(tmp_path, **({"type": "dpo", "model": str(chat_model), "pairs": str(pairs)} | change))
    assert code == 2
    assert (events[-1]["event"], events[-1]["field"]) == ("error", field)
    assert events[-1]["remedy"]
    assert "Traceback" not in log
