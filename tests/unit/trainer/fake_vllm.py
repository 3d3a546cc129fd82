"""A vLLM server of a tiny model, with adapters: the three routes that PPO's rollouts ask, on a loopback port.

It computes: an adapter is read by peft from its directory, and completions come from the model under it.
"""

import copy
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import uvicorn
from safetensors.torch import load_file
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from torch import Tensor

from trainer.decoding import Sampling
from trainer.language_model import LanguageModel
from trainer.sampling import Generation, Request, Sampler


class FakeVLLM:
    """What the server has loaded and answered."""

    def __init__(self, base: Path) -> None:
        self.base = LanguageModel.load(base, precision="float32")
        self.adapters: dict[str, LanguageModel] = {}
        """Loaded now, by name."""
        self.loaded: dict[str, dict[str, Tensor]] = {}
        """The weights of each adapter that ever was."""
        self.answered: list[tuple[str, tuple[int, ...], Generation]] = []
        """Adapter, prompt and completion of each request, in order of arrival."""
        self.bodies: list[dict[str, Any]] = []
        self.ignores_adapters = False
        self.takes_adapters = True
        self.refuses: list[int] = []
        """HTTP status codes of the next answers to requests for completions."""

    def application(self) -> Starlette:
        """Its routes below /v1."""
        routes = [Route("/v1/completions", self._complete, methods=["POST"])]
        if self.takes_adapters:
            routes += [
                Route("/v1/load_lora_adapter", self._load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self._unload, methods=["POST"]),
            ]
        return Starlette(routes=routes)

    async def _load(self, request: HTTPRequest) -> Response:
        body = await request.json()
        name, path = body["lora_name"], Path(body["lora_path"])
        if name in self.adapters and not body.get("load_inplace"):
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        network: Any = peft.PeftModel.from_pretrained(copy.deepcopy(self.base.network), path)
        self.adapters[name] = LanguageModel.around(network.merge_and_unload(), self.base.tokenizer, name)
        self.loaded[name] = load_file(path / "adapter_model.safetensors")
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: HTTPRequest) -> Response:
        name = (await request.json())["lora_name"]
        if self.adapters.pop(name, None) is None:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _complete(self, request: HTTPRequest) -> Response:
        body = await request.json()
        if self.refuses:
            return _error(self.refuses.pop(0), "not now")
        if body["model"] not in self.adapters:
            return _error(404, f"The model `{body['model']}` does not exist.")
        model = self.base if self.ignores_adapters else self.adapters[body["model"]]
        sampling = Sampling(body["max_tokens"], body["temperature"], seed=body["seed"], top_logprobs=body["logprobs"])
        (done,) = Sampler(model, max_rows=1).sample([Request(tuple(body["prompt"]), sampling)])
        self.bodies.append(body)
        self.answered.append((body["model"], tuple(body["prompt"]), done))
        return JSONResponse(self._answer(body, done))

    def _answer(self, body: dict[str, Any], done: Generation) -> dict[str, Any]:
        choice = {
            "index": 0,
            "text": done.text,
            "finish_reason": done.finish_reason,
            "token_ids": list(done.tokens) if body["return_token_ids"] else None,
            "prompt_token_ids": body["prompt"] if body["return_token_ids"] else None,
            "logprobs": {"token_logprobs": [each.logprob for each in done.logprobs], "tokens": []},
        }
        return {"id": "cmpl-1", "object": "text_completion", "model": body["model"], "choices": [choice]}


def _error(code: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": "error", "param": None, "code": code}}, code)


@contextmanager
def running(fake: FakeVLLM) -> Generator[str]:
    """The base URL under which it answers, from a thread of its own, for the length of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(fake.application(), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join()
