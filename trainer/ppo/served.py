"""Completions from a vLLM server that has the policy's adapter.

    a step    the adapter is saved (safetensors) under a name of its own
              POST /v1/load_lora_adapter        the new one; then the old one is unloaded and deleted
              POST /v1/completions              token ids in, token ids and their log-probabilities out

A name is never used twice, so nothing that the server cached for other weights is taken for these. What a server that
does not answer or answers otherwise raises ends the run, which goes on from its checkpoint when it is started again.
"""

import asyncio
import hashlib
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError

from solon.egress import guarded
from solon.endpoint import Endpoint, RetryPolicy
from solon.errors import Failed, ModelUnavailable, TrainingFailed
from solon.seeds import counter_seed
from trainer import processes
from trainer.config import RolloutServer
from trainer.decoding import TokenLogprobs
from trainer.language_model import LanguageModel
from trainer.sampling import Generation, Request

_ONCE = RetryPolicy(budget_s=0.01)  # over before a second attempt could begin
_GOODBYE_S = 5.0


class _Logprobs(BaseModel):
    token_logprobs: list[float]


class _Choice(BaseModel):
    token_ids: list[int]
    prompt_token_ids: list[int]
    logprobs: _Logprobs


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1, max_length=1)


class Served:
    """A server as a source of completions. Use as `with Served(...) as served`; the end takes its adapter back."""

    def __init__(self, server: RolloutServer, model: LanguageModel, save: Callable[[Path], None], output: Path) -> None:
        """Args:
        model: the policy, for its tokenizer and end tokens.
        save: writes the adapter as it is into a directory.
        output: of the training; what an earlier try at the same one left with the server is known by it.
        """
        self._server, self._model, self._save = server, model, save
        training = f"{platform.node()}:{output.absolute()}"
        self._prefix = f"solon-{hashlib.sha256(training.encode()).hexdigest()[:12]}-"
        self._name = ""

    def __enter__(self) -> Self:
        self._forget()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()

    def renew(self, step: int) -> None:
        """Give the server the adapter as it is at step `step` (from 0), once for all processes."""
        name = f"{self._prefix}{step}-{secrets.token_hex(4)}"
        if processes.is_first():
            asyncio.run(self._load(self._saved(name), name))
            self._forget(keep=name)
        self._name = processes.gathered(name)[0]

    def sample(self, requests: Sequence[Request]) -> list[Generation]:
        """One generation per request, in order, with the log-probability of each token at temperature 1.

        Raises ModelUnavailable where the server is not there or has lost the adapter, a RequestRejected where it
        cannot answer one of the requests, TrainingFailed where it answers something else.
        """
        return asyncio.run(self._all(requests))

    def _saved(self, name: str) -> Path:
        """The directory of the adapter, which appears complete."""
        folder = self._server.adapter_dir.absolute()
        scratch = folder / f"{name}.part"
        scratch.mkdir(parents=True)
        try:
            self._save(scratch)
            return scratch.rename(folder / name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    async def _load(self, path: Path, name: str) -> None:
        endpoint = self._endpoint()
        # In place, so that a retry after a lost answer is no error.
        body = {"lora_name": name, "lora_path": str(path), "load_inplace": True}
        try:
            await endpoint.post(endpoint.below("load_lora_adapter"), body)
        except Failed as error:
            raise ModelUnavailable(
                f"the adapter cannot be given to its server: {error.message}",
                remedy="vLLM needs --enable-lora, --max-lora-rank of the adapter's rank or more, the variable "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, and to see `adapter_dir` under the same path",
            ) from error
        finally:
            await endpoint.aclose()

    def _forget(self, keep: str = "") -> None:
        """Take back and delete all adapters of this training but one; what the server has lost already is no matter."""
        if not processes.is_first():
            return
        for path in self._server.adapter_dir.glob(f"{self._prefix}*"):
            if path.name != keep:
                with suppress(Failed):
                    asyncio.run(self._unload(path.name))
                shutil.rmtree(path)

    async def _unload(self, name: str) -> None:
        endpoint = self._endpoint(_ONCE, _GOODBYE_S)
        try:
            await endpoint.post(endpoint.below("unload_lora_adapter"), {"lora_name": name})
        finally:
            await endpoint.aclose()

    async def _all(self, requests: Sequence[Request]) -> list[Generation]:
        endpoint = self._endpoint()
        try:
            return await asyncio.gather(*(self._one(endpoint, request) for request in requests))
        finally:
            await endpoint.aclose()

    async def _one(self, endpoint: Endpoint, request: Request) -> Generation:
        body = await endpoint.post(endpoint.below("completions"), self._body(request))
        try:
            choice = _Answer.model_validate_json(body).choices[0]
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the body"
            raise self._other(f"something else than one completion in tokens: see {where}") from error
        return self._generation(choice, request)

    def _generation(self, choice: _Choice, request: Request) -> Generation:
        tokens = choice.token_ids
        if choice.prompt_token_ids != list(request.prompt):
            raise self._other("a completion of another prompt than it was sent")
        if not tokens or len(choice.logprobs.token_logprobs) != len(tokens):
            raise self._other("no log-probability for each token")
        if max(tokens) >= self._model.vocabulary:
            raise self._other("tokens that the policy does not have")
        done = tokens[-1] in self._model.end_tokens
        if not done and len(tokens) != request.sampling.max_tokens:
            raise self._other(f"a completion that stops after {len(tokens)} tokens, without an end token of the policy")
        text = self._model.decode(tokens[:-1] if done else tokens, after=request.prompt)
        told = zip(tokens, choice.logprobs.token_logprobs, strict=True)
        logprobs = tuple(TokenLogprobs(token, logprob) for token, logprob in told)
        return Generation(text, tuple(tokens), "stop" if done else "length", logprobs)

    def _body(self, request: Request) -> dict[str, Any]:
        """The request, with everything set that a server might have defaults of its own for."""
        sampling = request.sampling
        return {
            "model": self._name,
            "prompt": list(request.prompt),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "stop_token_ids": sorted(self._model.end_tokens),
            "seed": None if sampling.seed is None else counter_seed(sampling.seed, sampling.index),
            "logprobs": 0,
            "return_token_ids": True,
        }

    def _other(self, what: str) -> TrainingFailed:
        return TrainingFailed(
            f"model {self._server.model!r} answers with {what}",
            remedy="serve the model that the training begins with by vLLM 0.32 or newer",
        )

    def _endpoint(self, retry: RetryPolicy | None = None, timeout_s: float | None = None) -> Endpoint:
        server = self._server
        key = os.environ.get(server.api_key_env) if server.api_key_env is not None else None
        if server.api_key_env is not None and not key:
            raise ModelUnavailable(
                f"the key in ${server.api_key_env} is not set", remedy=f"export {server.api_key_env}=..."
            )
        transport = guarded(server.model, server.endpoint, allow_private=server.allow_private)
        limits = (server.max_concurrency, timeout_s or server.timeout_s)
        return Endpoint(server.model, server.endpoint, key, *limits, retry or RetryPolicy(), transport)
