"""llama2.c checkpoints: the same function, the same tokens; with the real stories260K where that is there."""

import random
import struct
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from solon.errors import Conflict, InvalidInput, NotFound
from trainer.decoding import Sampling
from trainer.language_model import LanguageModel
from trainer.llama2c import Token, fast_tokenizer, half_split, import_llama2c, main, read_checkpoint, read_tokenizer
from trainer.sampling import Request, Sampler

REAL = Path(__file__).parents[4] / "shared" / "data" / "model"
HEADER = (8, 12, 2, 4, 2, 300, 16)  # dim, hidden, layers, heads, key/value heads, vocabulary, context


def tokens() -> list[Token]:
    """A vocabulary of 300: bytes, letters, and some merges whose scores are not in the order of their length."""
    letters = " abcdeé日\n"
    merged = ["ab", "abc", "bc", "de", " a", " ab", "cd", "aa", "aaaa", "e日", "dea", "  "]
    pieces = [*letters, *merged]
    padding = [f"unused{i}" for i in range(300 - 259 - len(pieces))]
    head = [Token(b"<unk>", 0.0), Token(b"\n<s>\n", 0.0), Token(b"\n</s>\n", 0.0)]
    head += [Token(f"<0x{i:02X}>".encode(), 0.0) for i in range(256)]
    return head + [Token(text.encode(), -float(i)) for i, text in enumerate([*merged, *letters, *padding])]


def write(folder: Path, header: tuple[int, ...] = HEADER) -> tuple[Path, Path]:
    """A checkpoint of random weights and its tokenizer file."""
    dim, hidden, layers, heads, kv_heads, vocabulary, context = header
    kv = dim // heads * kv_heads
    attention = layers * dim * (1 + dim + 2 * kv + dim)
    size = abs(vocabulary) * dim + attention + layers * (dim + 3 * dim * hidden) + dim + context * dim // heads
    size += abs(vocabulary) * dim if vocabulary < 0 else 0
    weights = np.random.default_rng(0).normal(0, 0.4, size).astype("<f4")
    model, tokenizer = folder / "model.bin", folder / "tok.bin"
    model.write_bytes(struct.pack("<7i", *header) + weights.tobytes())
    entries = (struct.pack("<fi", token.score, len(token.text)) + token.text for token in tokens())
    tokenizer.write_bytes(struct.pack("<i", 7) + b"".join(entries))
    return model, tokenizer


def llama2c_encode(vocabulary: list[Token], text: str) -> list[int]:
    """run.c's `encode`, line by line."""
    lookup = {token.text: i for i, token in reversed(list(enumerate(vocabulary)))}
    ids = [1]
    if text:
        ids.append(lookup[b" "])
    for character in text:
        known = lookup.get(character.encode())
        ids += [known] if known is not None else [byte + 3 for byte in character.encode()]
    while True:
        best, at, into = -1e10, -1, -1
        for i in range(len(ids) - 1):
            merged = lookup.get(vocabulary[ids[i]].text + vocabulary[ids[i + 1]].text)
            if merged is not None and vocabulary[merged].score > best:
                best, at, into = vocabulary[merged].score, i, merged
        if at < 0:
            return ids
        ids[at : at + 2] = [into]


def llama2c_forward(content: bytes, ids: list[int]) -> np.ndarray:
    """run.c's `forward` at every position, in numpy: rotary embedding on neighbouring pairs."""
    dim, hidden, layers, heads, kv_heads, vocabulary, context = struct.unpack_from("<7i", content)
    flat, at = np.frombuffer(content, "<f4", offset=28).astype(np.float64), 0

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        at += prod(shape)
        return flat[at - prod(shape) : at].reshape(shape)

    width, kv = dim // heads, dim // heads * kv_heads
    embedding, norm1 = take(abs(vocabulary), dim), take(layers, dim)
    wq, wk, wv, wo = take(layers, dim, dim), take(layers, kv, dim), take(layers, kv, dim), take(layers, dim, dim)
    norm2, w1, w2, w3 = (
        take(layers, dim),
        take(layers, hidden, dim),
        take(layers, dim, hidden),
        take(layers, hidden, dim),
    )
    norm = take(dim)
    take(2, context, width // 2)  # the rotations, which we compute
    classifier = embedding if vocabulary > 0 else take(abs(vocabulary), dim)

    def normed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return weight * x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)

    def rotated(x: np.ndarray) -> np.ndarray:
        angle = np.arange(len(ids))[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
        turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)[:, None]
        return np.stack([turned.real, turned.imag], -1).reshape(x.shape)

    x = embedding[ids]
    for i in range(layers):
        h = normed(x, norm1[i])
        q = rotated((h @ wq[i].T).reshape(len(ids), heads, width))
        k = rotated((h @ wk[i].T).reshape(len(ids), kv_heads, width)).repeat(heads // kv_heads, 1)
        v = (h @ wv[i].T).reshape(len(ids), kv_heads, width).repeat(heads // kv_heads, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(width) + np.triu(np.full((len(ids),) * 2, -1e30), 1)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), v)
        x = x + mixed.reshape(len(ids), dim) @ wo[i].T
        h = normed(x, norm2[i])
        gate = h @ w1[i].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w3[i].T)) @ w2[i].T
    return normed(x, norm) @ classifier.T


@pytest.mark.parametrize("vocabulary", [300, -300])
def test_an_imported_model_computes_what_llama2c_computes(tmp_path: Path, vocabulary: int):
    model, tokenizer = write(tmp_path, (*HEADER[:5], vocabulary, HEADER[6]))
    import_llama2c(model, tokenizer, tmp_path / "out")
    network = LanguageModel.load(tmp_path / "out", precision="float32").network
    ids = [1, 270, 15, 299, 7, 260]
    with torch.no_grad():
        ours = network(input_ids=torch.tensor([ids])).logits[0].numpy()
    np.testing.assert_allclose(ours, llama2c_forward(model.read_bytes(), ids), atol=1e-3)


@given(st.text(alphabet=" abcdeé日\nx€", max_size=30))
@settings(max_examples=300, deadline=None)
def test_an_imported_tokenizer_gives_the_ids_of_llama2c(text: str):
    assert tokenizer_of_our_own()(text)["input_ids"] == llama2c_encode(tokens(), text)


@given(st.text(alphabet=" abcdeé日\nx€", max_size=30))
@settings(max_examples=100, deadline=None)
def test_text_survives_encoding_and_decoding(text: str):
    tokenizer = tokenizer_of_our_own()
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


_MADE: list[PreTrainedTokenizerBase] = []


def tokenizer_of_our_own() -> PreTrainedTokenizerBase:
    if not _MADE:
        _MADE.append(fast_tokenizer(tokens(), context=16))
    return _MADE[0]


def test_a_chat_prompt_opens_the_text_with_one_bos(tmp_path: Path):
    import_llama2c(*write(tmp_path), tmp_path / "out")
    model = LanguageModel.load(tmp_path / "out", precision="float32")
    assert model.encode_chat([{"role": "user", "content": "abc de"}]) == model.encode("abc de")
    assert model.end_tokens == {1}


def test_the_assistant_turn_is_marked_as_generated(tmp_path: Path):
    import_llama2c(*write(tmp_path), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    turns = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": " de"}]
    made = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    generated = [t for t, mask in zip(made["input_ids"], made["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(generated) in {"de", " de"}


def test_half_split_moves_channel_pairs_apart_within_each_head():
    weight = torch.arange(8.0)[:, None]
    assert half_split(weight, heads=2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path):
    model, tokenizer = write(tmp_path)
    with pytest.raises(InvalidInput, match=r"tok\.bin is not a llama2\.c version 0 checkpoint"):
        read_checkpoint(tokenizer)
    model.write_bytes(model.read_bytes()[:-4])
    with pytest.raises(InvalidInput, match="bytes where the header asks for"):
        read_checkpoint(model)
    with pytest.raises(InvalidInput, match=r"not a llama2\.c tokenizer of 299 tokens"):
        read_tokenizer(tokenizer, 299)
    with pytest.raises(NotFound, match="cannot read"):
        read_checkpoint(tmp_path / "absent.bin")


def test_an_existing_directory_is_left_alone(tmp_path: Path):
    with pytest.raises(Conflict):
        import_llama2c(*write(tmp_path), tmp_path)


def test_the_command_line_says_in_one_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path / "absent.bin"), "tok.bin", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real stories260K, imported."""
    if not REAL.is_dir():
        pytest.skip("the shared data folder (stories260K.bin, tok512.bin) is not beside this checkout")
    out = tmp_path_factory.mktemp("stories") / "stories"
    import_llama2c(REAL / "stories260K.bin", REAL / "tok512.bin", out)
    return out


def test_greedy_text_of_the_real_model_has_the_documented_opening(stories: Path):
    model = LanguageModel.load(stories, precision="float32")
    (story,) = Sampler(model).sample([Request((1,), Sampling(max_tokens=40, temperature=0))])
    assert story.text.startswith("Once upon a time, there was a little girl named Lily.")


def test_the_real_tokenizer_gives_the_ids_of_llama2c(stories: Path):
    vocabulary = read_tokenizer(REAL / "tok512.bin", 512)
    tokenizer = AutoTokenizer.from_pretrained(stories)
    prose = (REAL.parent / "README.md").read_text()
    rng = random.Random(0)
    for _ in range(100):
        begin = rng.randrange(len(prose) - 80)
        text = prose[begin : begin + rng.randrange(80)]
        assert tokenizer(text)["input_ids"] == llama2c_encode(vocabulary, text)
