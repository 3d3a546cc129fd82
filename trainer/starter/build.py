"""Builds the starter world's models from nothing: tokenizer, policy, judge, model cards. `python -m trainer.starter.build OUT`.

Read top to bottom: `build` is the whole recipe. Fixed seeds; about an hour on 2 cores, minutes on a GPU. The policy learns the
language of the world and its mixed behaviour; the judge starts from the policy and learns by a curriculum, first questions
about one completion, then about one of two, then choices under a stated principle.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from solon.templates import source
from trainer.starter import corpus
from trainer.starter.corpus import CHAT_TEMPLATE, END_TOKEN, MARKERS, PAD_TOKEN, ROLE_TOKENS, QuestionSet
from trainer.starter.wordings import wordings
from trainer.starter.world import compose, any_attributes, prompts, starter_attributes


@dataclass(frozen=True)
class Architecture:
    """A small Llama."""

    vocab_size: int = 2368
    hidden_size: int = 224
    intermediate_size: int = 608
    num_hidden_layers: int = 6
    num_attention_heads: int = 7
    max_position_embeddings: int = 1024


@dataclass(frozen=True)
class BuildConfig:
    """How much to train; the defaults made the shipped weights."""

    seed: int = 0
    architecture: Architecture = field(default_factory=Architecture)
    base_steps: int = 400
    policy_steps: int = 1000
    policy_tokens: int = 2048
    """Tokens per step, padding included."""
    judge_steps: int = 5000
    judge_tokens: int = 3072
    questions: int = 16
    """Questions per shared prefix."""
    learning_rate: float = 2e-3
    threads: int = 2


# ---------------------------------------------------------------- tokenizer


def build_tokenizer(config: BuildConfig) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer over the world's text, with a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD_TOKEN, END_TOKEN, *ROLE_TOKENS.values()]
    trainer = trainers.BpeTrainer(
        vocab_size=config.architecture.vocab_size - len(MARKERS),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_text(config.seed), trainer)
    tokenizer.add_tokens([AddedToken(marker, normalized=False, special=False) for marker in MARKERS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD_TOKEN, eos_token=END_TOKEN, model_max_length=config.architecture.max_position_embeddings
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _tokenizer_text(seed: int) -> Iterator[str]:
    rng = random.Random(f"tokenizer-{seed}")  # noqa: S311
    for split in ("train", "eval"):
        for prompt in prompts(split):
            yield prompt.text
            yield compose(prompt, any_attributes(prompt, rng), rng)
    for name in ("system", "judge_pair", "proposition", "score", "critique", "revision"):
        yield from [source(name)] * 200
    for split in ("train", "eval"):
        for _ in range(4000):
            sets = (corpus.draw_single(rng, split, count=6), corpus.pair_questions(corpus.draw_pair(rng, split), rng, split, count=6, about_one=0.3))
            for question_set in sets:
                for question in question_set.questions:
                    yield question.text
    yield from wordings()["critique_requests"] + wordings()["revision_requests"]


# ---------------------------------------------------------------- batches


@dataclass(frozen=True)
class Batch:
    """Rows of tokens with the positions where something is predicted.

    Shapes: input_ids and position_ids (row, time); mask (row, 1, time, time) additive; rows/columns/weights (target,).
    """

    input_ids: Tensor
    position_ids: Tensor
    mask: Tensor
    rows: Tensor
    columns: Tensor
    targets: Tensor
    """Token ids, (target, 2); the second with probability 1 - first."""
    first: Tensor
    """Probability of the first target token, (target,)."""
    weights: Tensor


@dataclass(frozen=True)
class _Row:
    tokens: list[int]
    positions: list[int]
    branches: list[int]
    """0 for the shared prefix, n for the n-th question: a token sees the prefix and its own branch only."""
    targets: list[tuple[int, int, int, float, float]]
    """(column, token, other token, probability of token, weight)."""


def _policy_row(tokenizer: PreTrainedTokenizerFast, prompt: str, completion: str) -> _Row:
    user = f"{ROLE_TOKENS['user']}{prompt}{END_TOKEN}{ROLE_TOKENS['assistant']}"
    asked, said = tokenizer(user)["input_ids"], tokenizer(completion + END_TOKEN)["input_ids"]
    tokens = asked + said
    start = len(asked) - 1
    targets = [(start + i, token, token, 1.0, 1.0) for i, token in enumerate(said)]
    targets += [(i, asked[i + 1], asked[i + 1], 1.0, 0.1) for i in range(start)]
    return _Row(tokens, list(range(len(tokens))), [0] * len(tokens), targets)


def _question_row(tokenizer: PreTrainedTokenizerFast, questions: QuestionSet) -> _Row:
    texts = [questions.prefix]
    for question in questions.questions:
        texts += [question.text, question.reply + END_TOKEN if question.reply else question.answers[0][0] + END_TOKEN]
    encoded: list[list[int]] = tokenizer(texts)["input_ids"]
    tokens, positions = list(encoded[0]), list(range(len(encoded[0])))
    branches, targets = [0] * len(tokens), []
    for number, question in enumerate(questions.questions, start=1):
        asked, said = encoded[2 * number - 1], encoded[2 * number]
        column = len(tokens) + len(asked) - 1
        if question.reply:
            targets += [(column + i, token, token, 1.0, 4.0 / len(said)) for i, token in enumerate(said)]
            branch = asked + said[:-1]
        else:
            token, p = said[0], question.answers[0][1]
            other = tokenizer.convert_tokens_to_ids(question.answers[1][0]) if len(question.answers) > 1 else token
            targets += [(column, token, other, p, 1.0), (column + 1, said[1], said[1], 1.0, 0.05)]
            branch = asked + said[:1]
        tokens += branch
        positions += range(len(encoded[0]), len(encoded[0]) + len(branch))
        branches += [number] * len(branch)
    return _Row(tokens, positions, branches, targets)


def collate(rows: Sequence[_Row], pad: int) -> Batch:
    """Rows padded to the longest, with the block mask that lets a branch see the prefix and itself."""
    width = max(len(row.tokens) for row in rows)
    ids = torch.tensor([row.tokens + [pad] * (width - len(row.tokens)) for row in rows])
    positions = torch.tensor([row.positions + [0] * (width - len(row.tokens)) for row in rows])
    branches = torch.tensor([row.branches + [-1] * (width - len(row.tokens)) for row in rows])
    own = branches[:, :, None] == branches[:, None, :]
    sees = (own | (branches == 0)[:, None, :]) & torch.ones(width, width, dtype=torch.bool).tril()
    mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)[:, None]
    flat = [(r, *target) for r, row in enumerate(rows) for target in row.targets]
    at, columns, token, other, first, weights = (list(part) for part in zip(*flat, strict=True))
    return Batch(
        ids, positions, mask, torch.tensor(at), torch.tensor(columns), torch.tensor([token, other]).T, torch.tensor(first), torch.tensor(weights)
    )


def batches(rows: Iterator[_Row], tokens: int, pad: int, *, pool: int = 16) -> Iterator[Batch]:
    """Batches of about `tokens` tokens, rows of similar length together."""
    rng = random.Random(0)  # noqa: S311
    while True:
        drawn: list[_Row] = []
        while sum(len(row.tokens) for row in drawn) < tokens * pool:
            drawn.append(next(rows))
        drawn.sort(key=lambda row: len(row.tokens))
        groups: list[list[_Row]] = [[]]
        for row in drawn:
            if groups[-1] and len(row.tokens) * (len(groups[-1]) + 1) > tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        yield from (collate(group, pad) for group in groups)


# ---------------------------------------------------------------- training


def loss_of(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Weighted mean cross-entropy at the target positions, in nats."""
    hidden = model.model(input_ids=batch.input_ids, attention_mask=batch.mask, position_ids=batch.position_ids, use_cache=False)[0]
    logs = functional.log_softmax(model.lm_head(hidden[batch.rows, batch.columns]).float(), dim=-1).gather(1, batch.targets)
    return -((batch.first * logs[:, 0] + (1 - batch.first) * logs[:, 1]) * batch.weights).sum() / batch.weights.sum()


def train(model: LlamaForCausalLM, stream: Iterator[Batch], steps: int, learning_rate: float, name: str, *, decay: bool = True) -> None:
    """Trains in place with a warm-up and a cosine decay; prints a line of progress every 50 steps."""
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.05},
            {"params": [p for p in model.parameters() if p.ndim != 2], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    model.train()
    started, seen, losses = time.monotonic(), 0, []
    for step in range(steps):
        warm_up, cosine = min(1.0, (step + 1) / 100), 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * warm_up * (cosine if decay else 1.0)
        batch = next(stream)
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seen += batch.input_ids.numel()
        if (step + 1) % 50 == 0:
            elapsed = time.monotonic() - started
            line = {"train": name, "step": step + 1, "loss": round(sum(losses[-50:]) / 50, 4), "tokens_per_s": int(seen / elapsed), "s": int(elapsed)}
            print(json.dumps(line), flush=True)
    model.eval()


def policy_stream(tokenizer: PreTrainedTokenizerFast, config: BuildConfig, seed: int) -> Iterator[Batch]:
    """Dialogues of the mixed-behaviour assistant."""
    rows = (_policy_row(tokenizer, *dialogue) for dialogue in corpus.policy_dialogues(seed))
    return batches(rows, config.policy_tokens, tokenizer.pad_token_id)


def judge_stream(tokenizer: PreTrainedTokenizerFast, config: BuildConfig) -> Iterator[Batch]:
    """The judge's curriculum: single completions, then one of two, then choices."""
    rng = random.Random(f"judge-{config.seed}")  # noqa: S311
    consumed = 0

    def rows() -> Iterator[_Row]:
        nonlocal consumed
        while True:
            done = min(1.0, consumed / (config.judge_steps * config.judge_tokens))
            single = 0.6 if done < 0.08 else 0.2
            if rng.random() < single:
                drawn = corpus.draw_single(rng, "train", count=config.questions)
            else:
                about_one = 0.6 if done < 0.2 else 0.25
                drawn = corpus.pair_questions(corpus.draw_pair(rng, "train"), rng, "train", count=config.questions, about_one=about_one)
            row = _question_row(tokenizer, drawn)
            consumed += len(row.tokens)
            yield row

    return batches(rows(), config.judge_tokens, tokenizer.pad_token_id, pool=8)


# ---------------------------------------------------------------- bars


@torch.no_grad()
def first_token_probabilities(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], answers: tuple[str, str]) -> Tensor:
    """P(first answer) / (P(first) + P(second)) for each prompt, shape (text,)."""
    wanted = [tokenizer.convert_tokens_to_ids(answer) for answer in answers]
    found = torch.zeros(len(texts))
    encoded = [tokenizer(text)["input_ids"] for text in texts]
    order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
    for start in range(0, len(order), 32):
        chunk = order[start : start + 32]
        rows = [_Row(encoded[i], list(range(len(encoded[i]))), [0] * len(encoded[i]), [(len(encoded[i]) - 1, 0, 0, 1.0, 1.0)]) for i in chunk]
        batch = collate(rows, tokenizer.pad_token_id)
        hidden = model.model(input_ids=batch.input_ids, attention_mask=batch.mask, position_ids=batch.position_ids, use_cache=False)[0]
        logits = model.lm_head(hidden[batch.rows, batch.columns])[:, wanted].float()
        found[chunk] = logits.softmax(-1)[:, 0]
    return found


def measure_judge(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, pairs: int, seed: int) -> dict[str, Any]:
    """The judge's bars on held-out topics, phrasings and wordings: accuracy, swap agreement, propositions, inversion."""
    rng = random.Random(f"bars-{seed}")  # noqa: S311
    asked: list[tuple[str, float]] = []
    texts: list[str] = []
    while len(asked) < pairs:
        pair = corpus.draw_pair(rng, "eval")
        criterion = rng.choice(corpus.criteria())
        if pair.preference(criterion, 1) not in (0.0, 1.0):
            continue
        asked.append((criterion, pair.preference(criterion, 1) or 0.0))
        up, down = corpus.principle(criterion, 1, rng, "eval"), corpus.principle(criterion, -1, rng, "eval")
        texts += [corpus.choice_prompt(p, w) for w in (up, down) for p in (pair, pair.swap())]
    p = first_token_probabilities(model, tokenizer, texts, ("A", "B")).view(-1, 4)
    up, down = (p[:, 0] + 1 - p[:, 1]) / 2, (p[:, 2] + 1 - p[:, 3]) / 2
    truth = torch.tensor([t for _, t in asked]) > 0.5
    right = torch.cat([(up > 0.5) == truth, (down > 0.5) != truth]).float()
    by_criterion = {c: round(right[[i for i in range(2 * pairs) if asked[i % pairs][0] == c]].mean().item(), 3) for c in corpus.criteria()}
    return {
        "n": 2 * pairs,
        "pairwise_accuracy": round(right.mean().item(), 4),
        "swap_agreement": round((((p[:, 0] > 0.5) != (p[:, 1] > 0.5)).float().mean() + ((p[:, 2] > 0.5) != (p[:, 3] > 0.5)).float().mean()).item() / 2, 4),
        "inverted_flips": round(((up > 0.5) != (down > 0.5)).float().mean().item(), 4),
        "by_criterion": by_criterion,
        **_measure_propositions(model, tokenizer, rng, 2 * pairs),
    }


def _measure_propositions(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rng: random.Random, count: int) -> dict[str, Any]:
    texts, truths = [], []
    while len(texts) < count:
        questions = corpus.draw_single(rng, "eval", count=6)
        for question in questions.questions:
            if question.answers and question.answers[0][0] == "Yes":
                texts.append(questions.prefix + question.text)
                truths.append(question.answers[0][1])
    p = first_token_probabilities(model, tokenizer, texts, ("Yes", "No"))
    return {"proposition_accuracy": round(((p > 0.5) == (torch.tensor(truths) > 0.5)).float().mean().item(), 4)}


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, dtype: torch.dtype) -> None:
    """A Hugging Face directory, safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Runs the stages named on the command line, in order: base, policy, judge."""
    parser = argparse.ArgumentParser(description="Builds the starter tokenizer, policy and judge.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--stages", nargs="+", default=["base", "policy", "judge"])
    for steps in ("base_steps", "policy_steps", "judge_steps", "judge_tokens", "questions"):
        parser.add_argument(f"--{steps.replace('_', '-')}", type=int, default=getattr(BuildConfig(), steps))
    parser.add_argument("--learning-rate", type=float, default=BuildConfig().learning_rate)
    args = vars(parser.parse_args())
    out, stages = args.pop("out"), args.pop("stages")
    config = BuildConfig(**args)
    torch.set_num_threads(config.threads)
    for stage in stages:
        torch.manual_seed(config.seed)
        STAGES[stage](out, config)


def load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A saved stage, in fp32 for training."""
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32), PreTrainedTokenizerFast.from_pretrained(folder)


def build_base(out: Path, config: BuildConfig) -> None:
    """Tokenizer and a model that has learnt the world's language; policy and judge start from it."""
    tokenizer = build_tokenizer(config)
    llama = LlamaConfig(
        **asdict(config.architecture),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(llama)
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters()), "vocab": len(tokenizer)}), flush=True)
    train(model, policy_stream(tokenizer, config, config.seed), config.base_steps, config.learning_rate, "base", decay=False)
    save(model, tokenizer, out / "base", torch.float32)


def build_policy(out: Path, config: BuildConfig) -> None:
    """The mixed-behaviour assistant."""
    model, tokenizer = load(out / "base")
    train(model, policy_stream(tokenizer, config, config.seed + 1), config.policy_steps, config.learning_rate, "policy")
    save(model, tokenizer, out / "starter", torch.bfloat16)


def build_judge(out: Path, config: BuildConfig) -> None:
    """The judge, and its bars."""
    model, tokenizer = load(out / "base")
    train(model, judge_stream(tokenizer, config), config.judge_steps, config.learning_rate, "judge")
    save(model, tokenizer, out / "starter-judge", torch.bfloat16)
    print(json.dumps(measure_judge(model, tokenizer, pairs=500, seed=1)), flush=True)


STAGES = {"base": build_base, "policy": build_policy, "judge": build_judge}

if __name__ == "__main__":
    main()
