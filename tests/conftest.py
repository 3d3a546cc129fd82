"""What several test folders share."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from solon.settings import Settings

settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)  # new examples each time: pytest --hypothesis-profile=random
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def no_cache_in_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests share no judgements: where nobody says where the artifacts are, there is no cache."""
    found = Settings.judgements
    nowhere = Settings().artifacts
    monkeypatch.setattr(
        Settings,
        "judgements",
        lambda self: None if self.cache is None and self.artifacts == nowhere else found(self),
    )


@pytest.fixture(autouse=True)
def connections_end_with_the_test(request: pytest.FixtureRequest) -> Generator[None]:
    """PostgreSQL's driver warns where a connection is forgotten, and its server has only so many."""
    if request.node.get_closest_marker("postgres") is None and "TEST_DATABASE" not in os.environ:
        yield
        return
    from sqlalchemy import Pool, event

    opened: list[Any] = []

    def remember(connection: Any, _record: object) -> None:
        opened.append(connection)

    event.listen(Pool, "connect", remember)
    yield
    event.remove(Pool, "connect", remember)
    for connection in opened:
        connection.close()


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of a few thousand parameters with a byte-level tokenizer and the starter's chat format.

    Grouped-query attention, 256 tokens of context, weights in float32, logits far from uniform.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    control = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    vocabulary = [*control, *sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "the", "Ġthe", "in", "er", "Ġa"]
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("e", "r"), ("Ġ", "a")]
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(vocabulary)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, additional_special_tokens=control, eos_token="<|end|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    folder = tmp_path_factory.mktemp("tiny-model")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
