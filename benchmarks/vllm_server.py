"""A real vLLM with a random Llama of some 30 million parameters: the model, not Python, is what costs."""

import asyncio
import os
import random
import socket
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import httpx2

from api.vllm import vllm_command, vllm_environment
from constitution.document import load
from solon.settings import ModelEntry

NAME = "random-llama"
PUBLISHED = ("civic", "harmlessness-16", "honesty", "conduct-rules")
START_S = 300


def random_llama(folder: Path, *, hidden: int = 512, layers: int = 9) -> int:
    """The number of parameters of a model made in the folder, with a tokenizer trained on the published texts.

    Args:
        hidden: a multiple of 64; what a token's vector is made of.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    control = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        sentences(), trainers.BpeTrainer(vocab_size=4096, special_tokens=control, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64),
        num_key_value_heads=max(1, hidden // 64),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    network = LlamaForCausalLM(config)
    network.save_pretrained(folder)
    return sum(parameter.numel() for parameter in network.parameters())


def sentences() -> Iterator[str]:
    """The published principles and cases."""
    for name in PUBLISHED:
        text = load(name)
        for principle in text.principles:
            yield from (each for each in (principle.text, principle.compare, principle.critique) if each)
        for case in text.cases:
            yield from (case.prompt, case.better, case.worse)


@cache
def vocabulary() -> tuple[str, ...]:
    """The words of the published texts."""
    return tuple(sorted({word for sentence in sentences() for word in sentence.split()}))


def prose(words: int, seed: str) -> str:
    """Words of the published texts, no two seeds with the same ones."""
    return " ".join(random.Random(seed).choices(vocabulary(), k=words))


@asynccontextmanager
async def served(model: Path, executable: str, log: Path) -> AsyncGenerator[str]:
    """The base URL of vLLM serving the model as `solon model serve --engine vllm` would, within the block."""
    entry = ModelEntry(kind="judge", path=str(model), model=NAME)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = vllm_command(NAME, entry, port=port, executable=executable)
    with log.open("wb") as out:
        server = await asyncio.create_subprocess_exec(
            *command, stdout=out, stderr=subprocess.STDOUT, env=vllm_environment(entry) | {"PYTHONPATH": ""}
        )
    try:
        await _ready(port, server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()


async def _ready(port: int, server: asyncio.subprocess.Process, log: Path) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        for _ in range(START_S):
            try:
                if (await http.get(f"http://127.0.0.1:{port}/health")).status_code == 200:
                    return
            except httpx2.TransportError:
                if server.returncode is not None:
                    break
            await asyncio.sleep(1)
    raise SystemExit(f"vLLM did not start:\n{log.read_text()[-4000:]}")


def processors() -> str:
    """What the numbers are measured on."""
    info = Path("/proc/cpuinfo").read_text()
    name = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    flags = set(info.split())
    vector = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return f"{len(os.sched_getaffinity(0))} cores of {name}, {vector}"
