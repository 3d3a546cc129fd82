"""Rewards from several sources: sums, what does not apply, what failed, and services over HTTP."""

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from solon.errors import InvalidInput, ModelUnavailable
from solon.records import Completion, Message, Prompt
from trainer.config import ServiceSource, parse
from trainer.rewards.mix import FAILED, Item, mixed
from trainer.rewards.sources import Service


def _items(*texts: str) -> list[Item]:
    prompt = Prompt(id="x", messages=(Message(role="user", content="Hm?"),))
    return [(prompt, Completion(text=text)) for text in texts]


@dataclass(frozen=True)
class Given:
    """Scores that are known."""

    name: str
    weight: float
    given: list[float | None]

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """As given."""
        return self.given


def test_a_reward_is_the_weighted_sum_of_what_applies_and_each_term_is_told_alone():
    sources = [Given("model", 2.0, [1.0, 1.0, None]), Given("rules", 0.5, [4.0, None, None])]
    found = mixed(sources, _items("a", "b", "c"))
    assert found.total == (4.0, 2.0, None)
    assert found.means() == {"model": 1.0, "rules": 4.0}


def test_a_source_that_failed_leaves_a_completion_without_a_reward():
    found = mixed([Given("model", 1.0, [1.0, 1.0]), Given("judge", 1.0, [FAILED, 3.0])], _items("a", "b"))
    assert found.total == (None, 4.0)
    assert found.means() == {"model": 1.0, "judge": 3.0}


class _Scorer(BaseHTTPRequestHandler):
    """Scores a completion by its length; some texts have their own way."""

    def do_POST(self) -> None:
        """One answer."""
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = [item["completion"]["text"] for item in asked["items"]]
        special: dict[str, Any] = {"skip": None, "fail": "failed"}
        body: Any = {"scores": [special.get(text, len(text)) for text in texts]}
        if "short" in texts:
            body["scores"].pop()
        self.send_response(400 if "refuse" in texts else 200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Generator[Service]:
    server = HTTPServer(("127.0.0.1", 0), _Scorer)
    thread = Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/score"
    yield Service(ServiceSource(type="service", url=url, name="length", batch_size=2))
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_service_scores_in_order_whatever_the_size_of_its_requests(service: Service):
    assert service.scores(_items("a", "bbb", "skip", "cc", "dddd")) == [1.0, 3.0, None, 2.0, 4.0]


def test_what_a_service_could_not_score_has_failed_alone(service: Service):
    found = mixed([service], _items("a", "fail", "refuse", "bb", "ccc"))
    assert found.total == (1.0, None, None, None, 3.0)


def test_a_service_that_answers_something_else_ends_the_run(service: Service):
    with pytest.raises(ModelUnavailable, match="1 scores for 2 items"):
        service.scores(_items("a", "short"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"minibatch": 99}, "`minibatch` is larger"),
        ({"critic": "head", "lora": {}}, "needs all weights"),
        ({"critic": "head", "critic_warmup": 1}, "cannot be trained before"),
        ({"kl": {"beta": 0.0, "target_kl_per_sequence": 1.0}}, "above 0"),
        ({"ptx_weight": 1.0}, "needs `ptx`"),
        ({"rewards": [{"type": "reward_model", "path": "x"}] * 2}, "name"),
        ({"rewards": []}, "at least 1 item"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, Any], says: str):
    rewards = [{"type": "reward_model", "path": "rm"}]
    config = {"type": "ppo", "model": "m", "prompts": "p.jsonl", "rewards": rewards, "output": "o"} | change
    with pytest.raises(InvalidInput, match=says):
        parse(json.dumps(config))
