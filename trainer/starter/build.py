"""Builds the starter world's models from nothing: `python -m trainer.starter.build OUT`.

Read from `STAGES` upwards. Three stages, fixed seeds, about an hour on 2 cores:

    base     tokenizer, and a small Llama that has learnt the world's language
    policy   `starter`, from the base: imitates the mixed-behaviour assistant
    judge    `starter-judge`, from the base: a curriculum of questions about one completion, then about one of two, then
             choices under a stated principle; many questions share one pair, whose tokens are computed once

Each stage writes a Hugging Face directory with a model card that holds its measured bars.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trainer.starter import corpus
from trainer.starter.bars import measure_judge, measure_policy
from trainer.starter.batches import Batch, Row, batches, policy_row, question_row
from trainer.starter.card import write_card
from trainer.starter.tokenizer import build_tokenizer


@dataclass(frozen=True)
class Architecture:
    """A small Llama with tied embeddings."""

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
    """Tokens per step of base and policy, padding included."""
    judge_steps: int = 3200
    judge_tokens: int = 3072
    """Tokens per step of the judge, padding included."""
    questions: int = 16
    """Questions per shared prefix."""
    learning_rate: float = 2e-3
    measured: int = 1000
    """Prompts, and pairs, behind each bar."""
    threads: int = 2


def loss_of(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Weighted mean cross-entropy at the target positions, in nats."""
    hidden = model.model(
        input_ids=batch.input_ids, attention_mask=batch.mask, position_ids=batch.position_ids, use_cache=False
    ).last_hidden_state
    logits = model.lm_head(hidden[batch.rows, batch.columns]).float()
    logs = functional.log_softmax(logits, dim=-1).gather(1, batch.targets)
    losses = -(batch.first * logs[:, 0] + (1 - batch.first) * logs[:, 1])
    return (losses * batch.weights).sum() / batch.weights.sum()


def train(
    model: LlamaForCausalLM, stream: Iterator[Batch], steps: int, learning_rate: float, name: str, *, decay: bool = True
) -> None:
    """Trains in place with AdamW, a warm-up and a cosine decay; prints a JSON line every 50 steps."""
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.05},
            {"params": [p for p in model.parameters() if p.ndim != 2], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    model.train()
    started, seen, losses = time.monotonic(), 0, list[float]()
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
            _print(train=name, step=step + 1, loss=sum(losses[-50:]) / 50, tokens_per_s=seen / elapsed, seconds=elapsed)
    model.eval()


def policy_stream(tokenizer: PreTrainedTokenizerFast, config: BuildConfig, seed: int) -> Iterator[Batch]:
    """Dialogues of the mixed-behaviour assistant."""
    rows = (policy_row(tokenizer, *dialogue) for dialogue in corpus.policy_dialogues(seed))
    return batches(rows, config.policy_tokens, tokenizer.pad_token_id, pool=16)


def judge_stream(tokenizer: PreTrainedTokenizerFast, config: BuildConfig) -> Iterator[Batch]:
    """The judge's curriculum: mostly single completions, then one of two, then mostly choices."""
    return batches(_judge_rows(tokenizer, config), config.judge_tokens, tokenizer.pad_token_id, pool=8)


def _judge_rows(tokenizer: PreTrainedTokenizerFast, config: BuildConfig) -> Iterator[Row]:
    rng = random.Random(f"judge-{config.seed}")
    consumed, total = 0, config.judge_steps * config.judge_tokens
    while True:
        done = consumed / total
        if rng.random() < (0.6 if done < 0.08 else 0.2):
            questions = corpus.draw_single(rng, "train", count=config.questions)
        else:
            pair = corpus.draw_pair(rng, "train")
            about_one = 0.6 if done < 0.2 else 0.25
            questions = corpus.pair_questions(pair, rng, "train", count=config.questions, about_one=about_one)
        row = question_row(tokenizer, questions)
        consumed += len(row.tokens)
        yield row


# ---------------------------------------------------------------- stages


def build_base(out: Path, config: BuildConfig) -> None:
    """Tokenizer and a model that has learnt the world's language; policy and judge start from it."""
    architecture = config.architecture
    tokenizer = build_tokenizer(architecture.vocab_size, architecture.max_position_embeddings, config.seed)
    llama = LlamaConfig(
        **asdict(architecture),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(llama)
    stream = policy_stream(tokenizer, config, config.seed)
    train(model, stream, config.base_steps, config.learning_rate, "base", decay=False)
    save(model, tokenizer, out / "base", torch.float32)


def build_policy(out: Path, config: BuildConfig) -> None:
    """The mixed-behaviour assistant, with its bars."""
    model, tokenizer = load(out / "base")
    stream = policy_stream(tokenizer, config, config.seed + 1)
    train(model, stream, config.policy_steps, config.learning_rate, "policy")
    save(model, tokenizer, out / "starter", torch.bfloat16)
    _finish(out / "starter", config, measure_policy(*load(out / "starter"), count=config.measured, seed=1))


def build_judge(out: Path, config: BuildConfig) -> None:
    """The judge, with its bars."""
    model, tokenizer = load(out / "base")
    train(model, judge_stream(tokenizer, config), config.judge_steps, config.learning_rate, "judge")
    save(model, tokenizer, out / "starter-judge", torch.bfloat16)
    _finish(out / "starter-judge", config, measure_judge(*load(out / "starter-judge"), pairs=config.measured, seed=1))


STAGES = {"base": build_base, "policy": build_policy, "judge": build_judge}


def build(out: Path, config: BuildConfig, stages: list[str]) -> None:
    """Runs the stages in the order given; each starts from the same seed, so a stage can be run again alone."""
    torch.set_num_threads(config.threads)
    for stage in stages:
        torch.manual_seed(config.seed)
        STAGES[stage](out, config)


def load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A saved stage, in fp32."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, dtype: torch.dtype) -> None:
    """A Hugging Face directory with safetensors of this type."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _finish(folder: Path, config: BuildConfig, bars: dict[str, Any]) -> None:
    (folder / "bars.json").write_text(json.dumps(bars, indent=2) + "\n", encoding="utf-8")
    write_card(folder, asdict(config), bars)
    _print(model=folder.name, **bars)


def _print(**values: Any) -> None:
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}
    print(json.dumps(rounded), flush=True)  # noqa: T201 - the script's output


def main() -> None:
    """The command line."""
    defaults = BuildConfig()
    parser = argparse.ArgumentParser(description="Build the starter tokenizer, policy and judge.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    for name in ("base_steps", "policy_steps", "judge_steps", "judge_tokens", "questions", "measured", "threads"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    args = vars(parser.parse_args())
    out, stages = args.pop("out"), args.pop("stages")
    build(out, BuildConfig(**args), stages)


if __name__ == "__main__":
    main()
