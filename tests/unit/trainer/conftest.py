"""Models of a few thousand parameters, made on the spot, for the trainer's tests."""

import os

os.environ.update({"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"})

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from solon.records import Completion, Message, PreferencePair, Prompt, Provenance, Status

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PASS_THROUGH = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"


def _tokenizer(control: list[str], **names: str) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(control + alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=control, **names)


def _save(folder: Path, tokenizer: Any, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        initializer_range=0.1,
    )
    model: Any = LlamaForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model whose template closes each turn with its EOS `<|end|>`; weights in bfloat16."""
    tokenizer = _tokenizer(
        ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"], eos_token="<|end|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = CHAT
    return _save(tmp_path_factory.mktemp("chat"), tokenizer)


@pytest.fixture(scope="session")
def story_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model with a pass-through template, EOS = BOS, and no pad token."""
    tokenizer = _tokenizer(["<s>"], bos_token="<s>", eos_token="<s>")
    tokenizer.chat_template = PASS_THROUGH
    return _save(tmp_path_factory.mktemp("story"), tokenizer)


MakePair = Callable[..., PreferencePair]


@pytest.fixture
def make_pair() -> MakePair:
    """A maker of labelled pairs: `make_pair(id, a, b, p_a, status=..., a_finish=...)`."""

    def make(
        id: str = "p0",
        a: str = "Here is how.",
        b: str = "No.",
        p_a: float | None = 0.9,
        status: Status = Status.OK,
        a_finish: Literal["stop", "length", "given"] = "stop",
        prompt: str = "How?",
    ) -> PreferencePair:
        labelled = status is Status.OK and p_a is not None
        return PreferencePair(
            id=id,
            status=status,
            prompt=Prompt(id=id, messages=(Message(role="user", content=prompt),)),
            a=Completion(text=a, finish_reason=a_finish),
            b=Completion(text=b, finish_reason="stop"),
            p_a=p_a,
            chosen=("a" if p_a >= 0.5 else "b") if labelled and p_a is not None else None,
            p_chosen=max(p_a, 1 - p_a) if labelled and p_a is not None else None,
            provenance=Provenance(constitution="test", constitution_version="1.0.0", constitution_hash="sha256:0"),
        )

    return make
