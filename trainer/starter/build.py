"""Builds the starter world's models from nothing: `python -m trainer.starter.build OUT`.

Read from `STAGES` upwards. Four stages, fixed seeds, about an hour on 2 cores, and another for the critic:

    base     tokenizer, and a small Llama that has learnt the world's language
    policy   `starter`, from the base: imitates the mixed-behaviour assistant
    judge    `starter-judge`, from the base: a curriculum of questions about one completion, then about one of two, then
             choices under a stated principle; many questions share one pair, whose tokens are computed once
    critic   `starter-critic`, from the judge: critiques, and revisions that answer them

Each stage writes a Hugging Face directory with a model card that holds its measured bars.
"""

import argparse
import itertools
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trainer.starter import corpus
from trainer.starter.bars import measure_critic, measure_judge, measure_policy
from trainer.starter.batches import SENTENCE_KINDS, Batch, Row, batches, policy_row, question_row
from trainer.starter.card import write_card
from trainer.starter.corpus import END_TOKEN, PAD_TOKEN
from trainer.starter.tokenizer import build_tokenizer, token_id
from trainer.starter.wordings import criteria


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
    base_steps: int = 300
    policy_steps: int = 2600
    policy_tokens: int = 2048
    """Tokens per step of base and policy, padding included."""
    sharpness: float = 1.35
    """What the policy's logits are multiplied by after training: sampled at temperature 1, a completion of forty tokens
    falls into the unlikely tail of one of them too often."""
    judge_steps: int = 1800
    judge_tokens: int = 3072
    """Tokens per step of the judge, padding included."""
    critic_steps: tuple[int, ...] = (2000, 1400)
    """Of each of its trainings, one after the other; as many tokens a step as the judge's."""
    critic_sharpness: float = 4.0
    """A revision is to be the likeliest one; see `sharpness`."""
    questions: int = 16
    """Questions per shared prefix."""
    learning_rate: float = 1.5e-3
    """Peak, of base and policy."""
    judge_learning_rate: float = 8e-4
    """Peak. At 1.3e-3 and small batches, what was read was never put together: choices stayed at chance."""
    measured: int = 1000
    """Prompts, and pairs, behind each bar."""
    threads: int = 2


class Probes(nn.Module):
    """Linear readings of early layers that give the judge something to learn from before it can answer; see `batches`.

    Alain & Bengio 2016 (arXiv:1610.01644) read layers with such probes; here they also teach, as in deeply supervised
    nets (Lee et al. 2015). They are not saved.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.sentence = nn.Linear(hidden_size, len(SENTENCE_KINDS))
        self.predicate = nn.Linear(hidden_size, 2 * len(criteria()))
        self.sign = nn.Linear(hidden_size, 2)
        self.standing = nn.Linear(hidden_size, len(criteria()))
        self.comparison = nn.Linear(hidden_size, len(criteria()))
        self.fetched = nn.Linear(hidden_size, 2 * len(criteria()))
        self.asked = nn.Linear(hidden_size, 2 * len(criteria()))

    def loss(self, layers: Sequence[Tensor], batch: Batch) -> Tensor:
        """Sum of the mean cross-entropies of those readings that the batch has targets for, in nats."""
        early, middle, late = (layers[len(layers) // 2 + i] for i in (-1, 0, 1))
        total = early.new_zeros(())
        if len(batch.sentences):
            total += functional.cross_entropy(self.sentence(_at(early, batch.sentence_at)), batch.sentences)
        if len(batch.phrases):
            phrases = _at(early, batch.phrase_at)
            total += functional.cross_entropy(self.predicate(phrases), batch.phrases[:, 0])
            total += functional.cross_entropy(self.sign(phrases), batch.phrases[:, 1])
        if len(batch.standings):
            applies = batch.standings >= 0
            standing = self.standing(_at(middle, batch.marker_at))[applies]
            total += functional.binary_cross_entropy_with_logits(standing, batch.standings[applies])
        if len(batch.comparisons):
            applies = batch.comparisons >= 0
            comparison = self.comparison(_at(late, batch.pair_at))[applies]
            total += functional.binary_cross_entropy_with_logits(comparison, batch.comparisons[applies])
        if len(batch.asked):
            needed = batch.fetched.flatten(1)
            fetched = self.fetched(_at(layers[len(layers) // 2 + 2], batch.asked_at))[needed >= 0]
            if fetched.numel():
                total += functional.binary_cross_entropy_with_logits(fetched, needed[needed >= 0])
            total += functional.cross_entropy(self.asked(_at(late, batch.asked_at)), batch.asked)
        return total


def _at(layer: Tensor, where: Tensor) -> Tensor:
    """The states of a layer (row, time, hidden) at (row, column) positions."""
    return layer[where[:, 0], where[:, 1]]


def loss_of(model: LlamaForCausalLM, probes: Probes, batch: Batch) -> tuple[Tensor, Tensor]:
    """Weighted mean cross-entropy at the target positions, plus the probes', in nats; and for each decided choice and
    yes/no question whether it was answered right."""
    out = model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.mask,
        position_ids=batch.position_ids,
        use_cache=False,
        output_hidden_states=True,
    )
    logits = model.lm_head(out.last_hidden_state[batch.rows, batch.columns]).float()
    logs = functional.log_softmax(logits, dim=-1).gather(1, batch.targets)
    losses = -(batch.first * logs[:, 0] + (1 - batch.first) * logs[:, 1])
    decided = (batch.targets[:, 0] != batch.targets[:, 1]) & (batch.first != 0.5)
    right = ((logs[:, 0] > logs[:, 1]) == (batch.first > 0.5))[decided]
    answers = (losses * batch.weights).sum() / batch.weights.sum().clamp(min=1.0)
    return answers + probes.loss(out.hidden_states, batch), right


def train(
    model: LlamaForCausalLM, stream: Iterator[Batch], steps: int, learning_rate: float, name: str, *, decay: bool = True
) -> None:
    """Trains in place with AdamW, a warm-up and a cosine decay; prints a JSON line every 50 steps."""
    probes = Probes(model.config.hidden_size)
    parameters = [*model.parameters(), *probes.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim == 2], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim != 2], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    model.train()
    started, seen, losses, shares = time.monotonic(), 0, list[float](), list[Tensor]()
    for step in range(steps):
        warm_up, cosine = min(1.0, (step + 1) / 100), 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * warm_up * (cosine if decay else 1.0)
        batch = next(stream)
        loss, right = loss_of(model, probes, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        shares.append(right)
        seen += batch.input_ids.numel()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            elapsed, right = time.monotonic() - started, torch.cat(shares[-50:]).float()
            answered = {"right": right.mean().item()} if len(right) else {}
            loss_now = fmean(losses[-50:])
            _print(train=name, step=step + 1, loss=loss_now, **answered, tokens_per_s=seen / elapsed, seconds=elapsed)
    model.eval()


def policy_stream(tokenizer: PreTrainedTokenizerFast, config: BuildConfig, seed: int) -> Iterator[Batch]:
    """Dialogues of the mixed-behaviour assistant."""
    rows = (policy_row(tokenizer, *dialogue) for dialogue in corpus.policy_dialogues(seed))
    return batches(rows, config.policy_tokens, token_id(tokenizer, PAD_TOKEN), pool=16)


def judge_stream(tokenizer: PreTrainedTokenizerFast, config: BuildConfig) -> Iterator[Batch]:
    """The judge's curriculum: first mostly reading (completions alone, questions alone), then mostly answering, at last
    as many ties as there are in what a policy writes."""
    return batches(_judge_rows(tokenizer, config), config.judge_tokens, token_id(tokenizer, PAD_TOKEN), pool=8)


def _judge_rows(tokenizer: PreTrainedTokenizerFast, config: BuildConfig) -> Iterator[Row]:
    rng = random.Random(f"judge-{config.seed}")
    consumed, total = 0, config.judge_steps * config.judge_tokens
    while True:
        done = consumed / total
        about_one, any_criterion = 0.4 if done < 0.3 else 0.2, 0.2 if done < 0.7 else 0.5
        if rng.random() < 0.3:
            questions = corpus.draw_single(rng, "train", count=config.questions)
        else:
            pair = corpus.draw_pair(rng, "train")
            questions = corpus.pair_questions(
                pair, rng, "train", count=config.questions, about_one=about_one, any_criterion=any_criterion
            )
        reading = max(0.1, 0.8 * (1 - done / 0.3))
        if rng.random() < reading:
            questions = questions.without_texts() if rng.random() < 0.2 else questions.without_questions()
        row = question_row(tokenizer, questions)
        consumed += len(row.tokens)
        yield row


def critic_stream(tokenizer: PreTrainedTokenizerFast, config: BuildConfig) -> Iterator[Batch]:
    """Critiques and revisions, a few of one completion at a time."""
    rng = random.Random(f"critic-{config.seed}")
    rows = (question_row(tokenizer, corpus.draw_rewriting(rng, "train", count=3)[1]) for _ in itertools.count())
    return batches(rows, config.judge_tokens, token_id(tokenizer, PAD_TOKEN), pool=8)


# ---------------------------------------------------------------- stages


def build_base(out: Path, config: BuildConfig) -> None:
    """Tokenizer and a model that has learnt the world's language; policy and judge start from it."""
    architecture = config.architecture
    tokenizer = build_tokenizer(architecture.vocab_size, architecture.max_position_embeddings, config.seed)
    llama = LlamaConfig(
        **asdict(architecture),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, END_TOKEN),
        pad_token_id=token_id(tokenizer, PAD_TOKEN),
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
    model.model.norm.weight.data *= config.sharpness
    save(model, tokenizer, out / "starter", torch.bfloat16)
    _finish(out / "starter", config, measure_policy(*load(out / "starter"), count=config.measured, seed=1))


def build_judge(out: Path, config: BuildConfig) -> None:
    """The judge, with its bars."""
    model, tokenizer = load(out / "base")
    train(model, judge_stream(tokenizer, config), config.judge_steps, config.judge_learning_rate, "judge")
    save(model, tokenizer, out / "starter-judge", torch.bfloat16)
    _finish(out / "starter-judge", config, measure_judge(*load(out / "starter-judge"), pairs=config.measured, seed=1))


def build_critic(out: Path, config: BuildConfig) -> None:
    """The critic, with its bars; it starts from the judge, which reads already."""
    model, tokenizer = load(out / "starter-judge")
    stream = critic_stream(tokenizer, config)
    for steps in config.critic_steps:
        train(model, stream, steps, config.judge_learning_rate, "critic")
    model.model.norm.weight.data *= config.critic_sharpness
    save(model, tokenizer, out / "starter-critic", torch.bfloat16)
    _finish(
        out / "starter-critic", config, measure_critic(*load(out / "starter-critic"), count=config.measured, seed=1)
    )


STAGES = {"base": build_base, "policy": build_policy, "judge": build_judge, "critic": build_critic}


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
    copy.to(dtype=dtype).save_pretrained(folder)  # pyright: ignore[reportCallIssue] - overloaded in transformers
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
