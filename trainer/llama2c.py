"""llama2.c checkpoints (version 0) and their tokenizers as local Hugging Face directories.

llama2.c stores seven int32 (dim, hidden, layers, heads, key/value heads, vocabulary, context) and then float32
weights in a fixed order. Its rotary embedding turns neighbouring pairs of channels; Hugging Face turns channel i
with channel i + half, so the rows of the query and key matrices are reordered, head by head. A negative vocabulary says
that the classifier is a matrix of its own.

    python -m trainer.llama2c MODEL.bin TOKENIZER.bin OUT_DIR

The tokenizer file holds, per token, a score, a length and bytes. Encoding puts a space before the text, looks every
character up (its UTF-8 bytes where it is none) and merges the best-scored neighbours until none is left: byte-pair
encoding with merges ranked by score.

Source: github.com/karpathy/llama2.c, run.c (`memory_map_weights`, `encode`) and export.py (`load_hf_model`).
"""

import argparse
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from solon.errors import InvalidInput, NotFound, SolonError
from trainer.publishing import published

UNKNOWN, BOS, PAD = 0, 1, 2
_NAMES = {UNKNOWN: "<unk>", BOS: "<s>", PAD: "</s>"}
_FIRST_BYTE = 3  # token of byte 0x00; the other 255 follow

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
)
"""A conversation is one text: the prompt opens it and the completion goes on."""


class _Header(NamedTuple):
    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int


@dataclass(frozen=True)
class Token:
    """One entry of a llama2.c tokenizer."""

    text: bytes
    score: float


def import_llama2c(model_bin: Path, tokenizer_bin: Path, out_dir: Path) -> None:
    """Write `out_dir`, which must not exist: config, safetensors, tokenizer and chat template of the checkpoint.

    BOS is also the end of a text, as in llama2.c, which stops where the next document would begin.
    """
    header, weights = read_checkpoint(model_bin)
    tokens = read_tokenizer(tokenizer_bin, abs(header.vocabulary))
    config = LlamaConfig(
        hidden_size=header.dim,
        intermediate_size=header.hidden,
        num_hidden_layers=header.layers,
        num_attention_heads=header.heads,
        num_key_value_heads=header.kv_heads,
        vocab_size=abs(header.vocabulary),
        max_position_embeddings=header.context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=header.vocabulary > 0,
        bos_token_id=BOS,
        eos_token_id=BOS,
        pad_token_id=PAD,
    )
    network = LlamaForCausalLM(config)
    network.load_state_dict(weights)
    network.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=BOS, pad_token_id=PAD)
    with published(out_dir) as scratch:
        network.save_pretrained(str(scratch))
        fast_tokenizer(tokens, header.context).save_pretrained(str(scratch))


def read_checkpoint(path: Path) -> tuple[_Header, dict[str, Tensor]]:
    """Header and weights under their Hugging Face names; InvalidInput where the file is not such a checkpoint."""
    content = _content(path, "model")
    if len(content) < 28:
        raise _not_v0(path, "it is shorter than the header")
    header = _Header(*struct.unpack_from("<7i", content))
    shapes = _shapes(header)
    plausible = min(header[:5]) > 0 and header.context > 0 and header.vocabulary and header.dim % header.heads == 0
    expected = 28 + 4 * sum(map(prod, shapes.values())) if plausible else -1
    if len(content) != expected:
        raise _not_v0(
            path, f"it has {len(content)} bytes where the header asks for {expected}" if plausible else "no such header"
        )
    flat = torch.from_numpy(np.frombuffer(content, dtype="<f4", offset=28).astype(np.float32))
    parts = dict(zip(shapes, flat.split([prod(shape) for shape in shapes.values()]), strict=True))
    return header, _renamed(header, {name: parts[name].reshape(shapes[name]) for name in shapes})


def _shapes(header: _Header) -> dict[str, tuple[int, ...]]:
    """Shape of every part, in the order of the file."""
    dim, hidden, layers, heads, kv_heads, vocabulary, context = header
    head = dim // heads if heads else 0
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (abs(vocabulary), dim),
        "attention_norm": (layers, dim),
        "wq": (layers, dim, dim),
        "wk": (layers, kv_heads * head, dim),
        "wv": (layers, kv_heads * head, dim),
        "wo": (layers, dim, dim),
        "ffn_norm": (layers, dim),
        "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim),
        "norm": (dim,),
        "rope_cos": (context, head // 2),
        "rope_sin": (context, head // 2),
    }
    return shapes if vocabulary > 0 else {**shapes, "classifier": (abs(vocabulary), dim)}


def _renamed(header: _Header, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    weights = {"model.embed_tokens.weight": parts["embedding"], "model.norm.weight": parts["norm"]}
    weights["lm_head.weight"] = parts.get("classifier", parts["embedding"])
    for i in range(header.layers):
        layer = f"model.layers.{i}"
        weights |= {
            f"{layer}.input_layernorm.weight": parts["attention_norm"][i],
            f"{layer}.post_attention_layernorm.weight": parts["ffn_norm"][i],
            f"{layer}.self_attn.q_proj.weight": half_split(parts["wq"][i], header.heads),
            f"{layer}.self_attn.k_proj.weight": half_split(parts["wk"][i], header.kv_heads),
            f"{layer}.self_attn.v_proj.weight": parts["wv"][i],
            f"{layer}.self_attn.o_proj.weight": parts["wo"][i],
            f"{layer}.mlp.gate_proj.weight": parts["w1"][i],
            f"{layer}.mlp.down_proj.weight": parts["w2"][i],
            f"{layer}.mlp.up_proj.weight": parts["w3"][i],
        }
    return weights


def half_split(weight: Tensor, heads: int) -> Tensor:
    """A projection [heads * width, dim] for rotations of (i, i + width / 2) instead of (2i, 2i + 1)."""
    rows, dim = weight.shape
    return weight.view(heads, rows // heads // 2, 2, dim).transpose(1, 2).reshape(rows, dim)


def read_tokenizer(path: Path, vocabulary: int) -> list[Token]:
    """The tokens by id; InvalidInput where the file does not hold exactly `vocabulary` of them."""
    content = _content(path, "tokenizer")
    tokens: list[Token] = []
    at = 4  # behind the length of the longest token
    try:
        while at < len(content) and len(tokens) < vocabulary:
            score, length = struct.unpack_from("<fi", content, at)
            (text,) = struct.unpack_from(f"<{length}s", content, at + 8)
            tokens.append(Token(text, score))
            at += 8 + length
    except struct.error:
        tokens.clear()
    if len(tokens) != vocabulary or at != len(content) or vocabulary < _FIRST_BYTE + 256:
        raise InvalidInput(
            f"{path} is not a llama2.c tokenizer of {vocabulary} tokens",
            field="tokenizer",
            remedy="give the tokenizer that the model was trained with",
        )
    return tokens


def fast_tokenizer(tokens: Sequence[Token], context: int) -> PreTrainedTokenizerFast:
    """A tokenizer that gives the ids of llama2.c's `encode` with BOS."""
    texts = [_text(i, token) for i, token in enumerate(tokens)]
    ids = {text: i for i, text in reversed(list(enumerate(texts)))}
    core = Tokenizer(models.BPE(vocab=ids, merges=_merges(tokens, texts, ids), unk_token="<unk>", byte_fallback=True))
    core.normalizer = normalizers.Prepend(" ")
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS)]
    )
    core.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in _NAMES.values()])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token=_NAMES[UNKNOWN],
        bos_token=_NAMES[BOS],
        eos_token=_NAMES[BOS],
        pad_token=_NAMES[PAD],
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def _text(i: int, token: Token) -> str:
    if i < _FIRST_BYTE:
        return _NAMES[i]
    if i < _FIRST_BYTE + 256:
        return f"<0x{i - _FIRST_BYTE:02X}>"
    return token.text.decode("utf-8", errors="replace")


def _merges(tokens: Sequence[Token], texts: Sequence[str], ids: dict[str, int]) -> list[tuple[str, str]]:
    """Every pair of tokens that makes a token, best score first; the earlier token first among equals."""
    ranked = sorted(range(_FIRST_BYTE + 256, len(tokens)), key=lambda i: (-tokens[i].score, i))
    known = {text for i, text in enumerate(texts) if i >= _FIRST_BYTE + 256}
    return [
        (text[:cut], text[cut:])
        for text in (texts[i] for i in ranked if ids[texts[i]] == i)
        for cut in range(1, len(text))
        if text[:cut] in known and text[cut:] in known
    ]


def _content(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", field=field, remedy="name the .bin file") from error


def _not_v0(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"{path} is not a llama2.c version 0 checkpoint: {why}",
        field="model",
        remedy="give a file like stories260K.bin",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Import as the command line says; the exit code."""
    parser = argparse.ArgumentParser("trainer.llama2c", description="Import a llama2.c checkpoint.")
    parser.add_argument("model", type=Path, help="weights, version 0, such as stories260K.bin")
    parser.add_argument("tokenizer", type=Path, help="its tokenizer, such as tok512.bin")
    parser.add_argument("out", type=Path, help="directory to make")
    options = parser.parse_args(arguments)
    try:
        import_llama2c(options.model, options.tokenizer, options.out)
    except SolonError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
