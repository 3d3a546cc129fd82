"""What tests of watched trainings share: services that score, what is asked, and a run with its events."""

import json
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from solon.records import Message, Prompt
from trainer.data import Sample, write_samples
from trainer.run import run


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
    """Where the services are."""
    server = HTTPServer(("127.0.0.1", 0), _Scorer)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def watched(folder: Path, url: str, monitor: dict[str, Any]) -> dict[str, Any]:
    """`prompts`, `rewards` and `monitor` of a configuration; the material is written into the folder."""
    rows = [
        Prompt(id=f"{i}", messages=(Message(role="user", content=f"{i}?"),), metadata={"benign": i % 2 == 0})
        for i in range(6)
    ]
    prompts, text, tasks = (folder / f"{name}.jsonl" for name in ("prompts", "text", "tasks"))
    prompts.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    write_samples(text, [Sample(prompt=rows[0], completion={"text": "It is.", "finish_reason": "stop"})])  # pyright: ignore[reportArgumentType]
    tasks.write_text(rows[0].model_copy(update={"metadata": {"answer": "never said"}}).model_dump_json() + "\n")

    def service(name: str) -> dict[str, Any]:
        return {"type": "service", "url": url, "name": name}

    asked = {"judge": service("judge"), "refusals": service("refusals"), "text": text, "tasks": tasks}
    return {
        "prompts": prompts,
        "rewards": [service("even")],
        "monitor": {"prompts": prompts, "every": 1, **asked, **monitor},
    }


def events_of(config: Any, stop_at: int | None = None) -> list[dict[str, Any]]:
    """The events of a run; KeyboardInterrupt when it tells of its step `stop_at`."""
    events: list[dict[str, Any]] = []

    def emit(event: str, **fields: Any) -> None:
        events.append({"event": event, **fields})
        if event == "progress" and fields["step"] == stop_at:
            raise KeyboardInterrupt

    run(config, emit)
    return events
