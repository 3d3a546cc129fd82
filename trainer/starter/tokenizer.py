"""The starter world's tokenizer: byte-level BPE over everything the world and its judge templates can say."""

import random
from collections.abc import Iterator

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from solon.templates import source
from trainer.starter import corpus
from trainer.starter.corpus import CHAT_TEMPLATE, END_TOKEN, MARKERS, PAD_TOKEN, ROLE_TOKENS
from trainer.starter.wordings import wordings
from trainer.starter.world import SPLITS, any_attributes, compose, prompts

TEMPLATES = ("system", "judge_pair", "proposition", "score", "critique", "revision")
ANSWERS = ["Yes", "No", "A", "B", "1", "2", "3", "4", "5"]
"""Replies of the judge; each must be one token, since a verdict is read from the first."""


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """The number of one token."""
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int)  # noqa: S101 - for one token
    return found


def build_tokenizer(vocab_size: int, context: int, seed: int) -> PreTrainedTokenizerFast:
    """A tokenizer with a chat template; the closing markers of the judge's templates are single tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(MARKERS),
        special_tokens=[PAD_TOKEN, END_TOKEN, *ROLE_TOKENS.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(seed), trainer)
    bpe.add_tokens([AddedToken(marker, normalized=False, special=False) for marker in MARKERS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=PAD_TOKEN, eos_token=END_TOKEN, model_max_length=context
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _texts(seed: int) -> Iterator[str]:
    rng = random.Random(f"tokenizer-{seed}")
    for split in SPLITS:
        for prompt in prompts(split):
            yield prompt.text
            yield compose(prompt, any_attributes(prompt, rng), rng)
    for name in TEMPLATES:
        yield from [source(name)] * 200
    for split in SPLITS:
        for _ in range(4000):
            single = corpus.draw_single(rng, split, count=6)
            pair = corpus.pair_questions(corpus.draw_pair(rng, split), rng, split, count=6, about_one=0.3)
            yield from (question.text for question in (*single.questions, *pair.questions))
    yield from wordings()["critique_requests"] + wordings()["revision_requests"]
    yield from ANSWERS * 500
