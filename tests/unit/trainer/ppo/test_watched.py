"""PPO under a monitor: observations, the alarm, the best weights, and what a killed run remembers."""

import json
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from solon.records import Message, Prompt
from trainer import checkpoint
from trainer.config import PPOConfig
from trainer.data import Sample, write_samples
from trainer.monitor.summary import read_observations, read_summary
from trainer.runs import ppo

torch.set_num_threads(1)


class _Scorer(BaseHTTPRequestHandler):
    """The reward is the share of even characters; the held-out judge prefers what has fewer of them."""

    def do_POST(self) -> None:
        """One answer."""
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        even = [_even(item["completion"]["text"]) for item in asked["items"]]
        if asked["reward"] == "judge":
            others = [_even(item["against"]["text"]) for item in asked["items"]]
            scores: list[Any] = [0.5 + 0.5 * (b - a) for a, b in zip(even, others, strict=True)]
            scores[0] = "failed"
        else:
            scores = [float("sorry" in item["completion"]["text"]) for item in asked["items"]]
            scores = even if asked["reward"] == "even" else scores
        body = json.dumps({"scores": scores}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def _even(text: str) -> float:
    return sum(ord(c) % 2 == 0 for c in text) / max(1, len(text))


@pytest.fixture(scope="module")
def url() -> Generator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Scorer)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make(chat_model: Path, url: str, tmp_path: Path) -> Any:
    rows = [
        Prompt(id=f"{i}", messages=(Message(role="user", content=f"{i}?"),), metadata={"benign": i % 2 == 0})
        for i in range(6)
    ]
    prompts, text = tmp_path / "prompts.jsonl", tmp_path / "text.jsonl"
    prompts.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    write_samples(text, [Sample(prompt=rows[0], completion={"text": "It is.", "finish_reason": "stop"})])  # pyright: ignore[reportArgumentType]
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text(rows[0].model_copy(update={"metadata": {"answer": "never said"}}).model_dump_json() + "\n")

    def service(name: str) -> dict[str, Any]:
        return {"type": "service", "url": url, "name": name}

    def config(out: str, monitor: dict[str, Any], **settings: Any) -> PPOConfig:
        watched = {"prompts": prompts, "every": 1, "judge": service("judge"), "refusals": service("refusals")}
        values: dict[str, Any] = {
            "steps": 6, "episodes": 16, "minibatch": 8, "micro_batch": 24, "max_tokens": 8, "max_length": 64,
            "learning_rate": 1e-2, "critic": "policy", "kl": {"beta": 0.0}, "missing_eos_penalty": 0.0,
        }  # fmt: skip
        return PPOConfig.model_validate(
            {"type": "ppo", "model": chat_model, "prompts": prompts, "output": tmp_path / out, **values, **settings}
            | {"rewards": [service("even")], "monitor": watched | {"text": text, "tasks": tasks} | monitor}
        )

    return config


def _run(config: PPOConfig, stop_at: int | None = None) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []

    def emit(event: str, **fields: Any) -> None:
        events.append({"event": event, **fields})
        if event == "progress" and fields["step"] == stop_at:
            raise KeyboardInterrupt

    ppo.run(config, emit)
    return events


def test_a_hacked_run_is_stopped_and_its_best_weights_are_published(make: Any, chat_model: Path):
    config = make("out", {"samples": 4}, steps=12)
    events = _run(config)
    done, out = events[-1], config.output
    assert done["ended_by"] == "alarm"
    assert "the reward is being hacked" in done["monitor"]["alarm"]["message"]
    assert [event["step"] for event in events if event["event"] == "alarm"] == [done["monitor"]["alarm"]["step"]]
    seen, found = read_observations(out), read_summary(out)
    assert found is not None
    assert [each.step for each in seen] == list(range(len(seen)))
    assert seen[-1].proxy is not None
    assert seen[0].proxy is not None
    assert seen[-1].proxy.value > seen[0].proxy.value
    assert seen[0].kl_nats == 0.0
    assert seen[-1].distance > 0.1
    assert seen[0].failed == pytest.approx(2 / 24)  # one in each request
    best = max(seen, key=lambda each: (each.gold["judge"].value, -each.step))
    assert found.published["step"] == best.step < seen[-1].step
    if best.step == 0:
        weights = [checkpoint.load(path, "model")[0].state_dict() for path in (chat_model, out)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert json.loads((out / "provenance.json").read_text())["published"] == found.published
    last = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][-1]
    assert last["monitor_alarm"] == 1.0
    assert last["monitor_gold_judge"] == seen[-1].gold["judge"].value
    assert not list(out.glob("watched*"))


def test_what_is_watched_besides_gold_is_measured(make: Any):
    config = make("out", {"stop": False, "publish": "last", "every": 2}, steps=3)
    _run(config)
    seen = read_observations(config.output)
    assert [each.step for each in seen] == [0, 2, 3]
    first, last = seen[0], seen[-1]
    assert first.perplexity == pytest.approx(first.reference_perplexity)
    assert last.perplexity != last.reference_perplexity
    assert first.accuracy == 0.0
    assert (first.benign_refusal, first.benign_compliance, first.harmful_compliance) == (0.0, 1.0, 1.0)
    assert 0 < first.distinct_2 <= 1
    found = read_summary(config.output)
    assert found is not None
    assert found.published["step"] == 3


def test_a_watched_run_that_was_killed_ends_as_if_it_had_not_been(make: Any, tmp_path: Path):
    whole, again = (
        make("whole", {"every": 2}, steps=4),
        make("again", {"every": 2}, steps=4, state=tmp_path / "state", save_every=2),
    )
    _run(whole)
    with pytest.raises(KeyboardInterrupt):
        _run(again, stop_at=3)
    _run(again)
    lines = [
        [each.model_copy(update={"seconds": 0.0}) for each in read_observations(config.output)]
        for config in (whole, again)
    ]
    assert lines[0] == lines[1]
    weights = [(config.output / "model.safetensors").read_bytes() for config in (whole, again)]
    assert weights[0] == weights[1]
