"""A causal language model of a local directory, ready to sample from: weights, tokenizer, chat template, limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from solon.errors import InvalidInput
from trainer import attention, bases, hardware
from trainer.config.child import Precision

_SEE_ALL = {"full_attention", "sliding_attention"}  # kinds of layers that see the whole context if the window does
_ANCHOR = 6  # prompt tokens that decide how the first completion token is spelt (a leading space, a split character)


@dataclass(frozen=True)
class LanguageModel:
    """A model in evaluation mode; everything here is read-only."""

    name: str
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    context: int
    """Tokens of prompt and completion together."""
    end_tokens: frozenset[int]
    """Tokens that end a completion."""
    _spellings: dict[int, str] = field(default_factory=dict[int, str], repr=False)

    @classmethod
    def load(cls, path: Path, name: str | None = None, precision: Precision = "auto") -> "LanguageModel":
        """The model in `path` (config, safetensors, tokenizer); no code from the directory is run, no hub is asked.

        An adapter is merged into its base.

        Args:
            precision: auto is bfloat16 where the hardware multiplies it natively, else float32.
        """
        bfloat16 = hardware.takes_bfloat16(precision)
        try:
            dtype = torch.bfloat16 if bfloat16 else torch.float32
            network = bases.network(path, dtype)
            tokenizer = AutoTokenizer.from_pretrained(
                str(bases.described(path)), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InvalidInput(f"{path}: {reason}", remedy="give a causal language model's directory") from error
        attention.install(network)
        network.eval().to(hardware.device())  # pyright: ignore[reportArgumentType] - overloaded in transformers
        return cls.around(network, tokenizer, name or path.name)

    @classmethod
    def around(cls, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> "LanguageModel":
        """A model around a network that is loaded already, in evaluation mode; it follows the network's weights."""
        if len(tokenizer) > network.config.get_text_config().vocab_size:
            raise InvalidInput(f"{name}: the tokenizer has more tokens than the model", remedy="use the model's own")
        model = cls(name, network, tokenizer, _context(network), _end_tokens(network, tokenizer))
        model._require_plain_attention()
        return model

    @staticmethod
    def ends(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
        """Tokens that end a completion of this network."""
        return _end_tokens(network, tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of weights and cache."""
        return self.network.dtype

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return int(self.network.config.get_text_config().vocab_size)

    def hidden(self, **inputs: Any) -> Tensor:
        """Last hidden states [row, token, hidden] of the network without its output layer."""
        return self.network.base_model(**inputs).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits in float32, [..., vocabulary]."""
        return self.network.get_output_embeddings()(hidden).float()  # pyright: ignore[reportOptionalCall]

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text, with the tokens (a BOS, say) that the tokenizer itself puts around text."""
        return list(self.tokenizer(text)["input_ids"])  # pyright: ignore[reportArgumentType] - a list without tensors

    def encode_plain(self, text: str) -> list[int]:
        """Tokens of text and nothing around it."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])  # pyright: ignore[reportArgumentType]

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Tokens of a conversation in the model's chat template, up to where the assistant's turn begins."""
        if not self.tokenizer.chat_template:
            raise InvalidInput(f"model {self.name!r} has no chat template", remedy="use /v1/completions")
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages], add_generation_prompt=True, tokenize=False
            )
        except TemplateError as error:
            raise InvalidInput(f"the chat template refuses the messages: {error}", field="messages") from error
        return self.encode_plain(str(text))

    def decode(self, tokens: Sequence[int], after: Sequence[int] = ()) -> str:
        """Text of `tokens` as it continues the text of `after`; special tokens are left out."""
        anchor = list(after[-_ANCHOR:])
        before = self._decode(anchor) if anchor else ""
        whole = self._decode([*anchor, *tokens])
        return whole[len(before) :] if whole.startswith(before) else self._decode(tokens)

    def spell(self, token: int) -> str:
        """Text of one token within a text, special tokens by their name."""
        if token not in self._spellings:
            anchor = self.encode_plain("a")
            before, whole = self.tokenizer.decode(anchor), self.tokenizer.decode([*anchor, token])
            self._spellings[token] = str(whole)[len(str(before)) :]
        return self._spellings[token]

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    @torch.inference_mode()
    def _require_plain_attention(self) -> None:
        """Refuse an architecture whose layers see a window only, or that treats its logits after the output layer."""
        config = self.network.config.get_text_config()
        layers = set(getattr(config, "layer_types", None) or ["sliding_attention"])
        window = getattr(config, "sliding_window", None) or self.context
        plain = layers == {"full_attention"} or (layers <= _SEE_ALL and window >= self.context)
        if plain:
            probe = torch.arange(3, device=self.device)[None]
            direct = self.network(input_ids=probe, use_cache=False).logits.float()
            plain = torch.allclose(direct, self.logits(self.hidden(input_ids=probe, use_cache=False)), atol=1e-3)
        if not plain:
            raise InvalidInput(
                f"the local server does not support the architecture {self.network.config.model_type!r}",
                remedy="serve it with vLLM: solon model serve --engine vllm",
            )


def _context(network: PreTrainedModel) -> int:
    return int(getattr(network.config, "max_position_embeddings", 0) or 2048)


def _end_tokens(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """End-of-sequence tokens that the generation config, the config or the tokenizer name."""
    found: set[int] = set()
    for value in (
        getattr(network.generation_config, "eos_token_id", None),
        getattr(network.config, "eos_token_id", None),
        tokenizer.eos_token_id,
    ):
        if value is not None:
            found.update(int(token) for token in (value if isinstance(value, list) else [value]))
    return frozenset(found)
