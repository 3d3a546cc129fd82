"""Tokens per second of `trainer.sampling` against `transformers` generate, and of shared against plain judge prompts.

    python benchmarks/sampling.py [MODEL_DIR] [--threads N] [--batch 64] [--tokens 64]

Both ratios are measured in one run, on the same prompts, each side warmed up first. Generation runs to a fixed length
(no end token) and samples at temperature 1 on both sides. Judge prompts come in groups of 8
that share 110 of 150 tokens.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from trainer.decoding import Sampling
from trainer.language_model import LanguageModel
from trainer.sampling import Request, Sampler

SHIPPED = Path(__file__).resolve().parent.parent / "trainer" / "starter" / "weights" / "starter"


def main() -> None:
    """Print the two ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=SHIPPED)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = replace(LanguageModel.load(options.model), end_tokens=frozenset())
    plain = AutoModelForCausalLM.from_pretrained(options.model, dtype=model.dtype)
    size = sum(parameter.numel() for parameter in model.network.parameters())
    print(f"{size / 1e6:.1f} M parameters, {model.dtype}, {options.threads} threads")
    generation(plain, model, options.batch, options.tokens)
    judging(model, options.batch)


def generation(plain: Any, model: LanguageModel, batch: int, tokens: int) -> None:
    """Sampling `batch` prompts of 32 tokens; `plain` attends as transformers has it."""
    prompts = torch.randint(5, model.network.config.vocab_size, (batch, 32))
    config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0)
    mask = torch.ones_like(prompts)
    theirs = seconds(lambda: plain.generate(prompts, attention_mask=mask, generation_config=config))
    sampler = Sampler(model)
    requests = [Request(tuple(row), Sampling(max_tokens=tokens, seed=i)) for i, row in enumerate(prompts.tolist())]
    ours = seconds(lambda: sampler.sample(requests))
    total = batch * tokens
    print(f"generate, batch {batch}: transformers {total / theirs:,.0f} tokens/s, ours {total / ours:,.0f} tokens/s")
    print(f"generation speed-up: {theirs / ours:.2f}x")


def judging(model: LanguageModel, groups: int) -> None:
    """One-token requests: 8 principles over each of `groups` pairs."""
    vocabulary = model.network.config.vocab_size

    def prompts() -> list[Request]:
        shared = [torch.randint(5, vocabulary, (110,)).tolist() for _ in range(groups)]
        ends = [torch.randint(5, vocabulary, (40,)).tolist() for _ in range(8)]
        greedy = Sampling(max_tokens=1, temperature=0, top_logprobs=20)
        return [Request((*start, *end), greedy) for start in shared for end in ends]

    def plain(requests: list[Request]) -> None:
        with torch.inference_mode():
            for begin in range(0, len(requests), 16):
                ids = torch.tensor([request.prompt for request in requests[begin : begin + 16]])
                logits = model.network(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, 0]
                logits.float().log_softmax(-1).topk(20)

    sampler = Sampler(model)
    theirs = seconds(lambda: plain(prompts()))
    ours = seconds(lambda: sampler.sample(prompts()))
    total = 8 * groups
    print(f"judge prompts: plain {total / theirs:,.0f} per s, prefixes shared {total / ours:,.0f} per s")
    print(f"judging speed-up: {theirs / ours:.2f}x")


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest run, after one that does not count."""
    work()
    times: list[float] = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


if __name__ == "__main__":
    main()
