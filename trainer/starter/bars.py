"""The bars of the starter models, measured on held-out topics, phrasings and wordings."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from solon.records import Message
from trainer.starter import corpus
from trainer.starter.batches import Row, collate
from trainer.starter.corpus import PAD_TOKEN
from trainer.starter.oracle import read
from trainer.starter.tokenizer import token_id
from trainer.starter.wordings import criticised, value, wordings
from trainer.starter.world import sample_prompts


@torch.no_grad()
def first_token_probabilities(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], answers: tuple[str, str]
) -> Tensor:
    """P(first answer) / (P(first) + P(second)) for each prompt, shape (text,)."""
    wanted = [tokenizer.convert_tokens_to_ids(answer) for answer in answers]
    found = torch.zeros(len(texts))
    encoded = [tokenizer(text)["input_ids"] for text in texts]
    order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
    for start in range(0, len(order), 32):
        chunk = order[start : start + 32]
        rows = [
            Row(
                encoded[i], list(range(len(encoded[i]))), [0] * len(encoded[i]), [(len(encoded[i]) - 1, 0, 0, 1.0, 1.0)]
            )
            for i in chunk
        ]
        batch = collate(rows, token_id(tokenizer, PAD_TOKEN))
        hidden = model.model(
            input_ids=batch.input_ids, attention_mask=batch.mask, position_ids=batch.position_ids, use_cache=False
        )[0]
        logits = model.lm_head(hidden[batch.rows, batch.columns])[:, wanted].float()
        found[chunk] = logits.softmax(-1)[:, 0]
    return found


def measure_judge(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, pairs: int, seed: int
) -> dict[str, Any]:
    """The judge's bars on held-out topics, phrasings and wordings."""
    rng = random.Random(f"bars-{seed}")
    asked: list[tuple[str, float]] = []
    texts: list[str] = []
    tied: list[str] = []
    while len(asked) < pairs:
        pair = corpus.draw_pair(rng, "eval")
        criterion = rng.choice(corpus.criteria())
        if pair.preference(criterion, 1) not in (0.0, 1.0):
            if pair.preference(criterion, 1) == 0.5 and len(tied) < 2 * pairs:
                wording = corpus.principle(criterion, 1, rng, "eval")
                tied += [corpus.choice_prompt(p, wording) for p in (pair, pair.swap())]
            continue
        asked.append((criterion, pair.preference(criterion, 1) or 0.0))
        up, down = corpus.principle(criterion, 1, rng, "eval"), corpus.principle(criterion, -1, rng, "eval")
        texts += [corpus.choice_prompt(p, w) for w in (up, down) for p in (pair, pair.swap())]
    p = first_token_probabilities(model, tokenizer, texts, ("A", "B")).view(-1, 4)
    up, down = (p[:, 0] + 1 - p[:, 1]) / 2, (p[:, 2] + 1 - p[:, 3]) / 2
    truth = torch.tensor([t for _, t in asked]) > 0.5
    right = torch.cat([(up > 0.5) == truth, (down > 0.5) != truth]).float()
    ties = first_token_probabilities(model, tokenizer, tied, ("A", "B")).view(-1, 2)
    by_criterion = {
        c: round(right[[i for i in range(2 * pairs) if asked[i % pairs][0] == c]].mean().item(), 3)
        for c in corpus.criteria()
    }
    return {
        "n": 2 * pairs,
        "pairwise_accuracy": round(right.mean().item(), 4),
        "swap_agreement": round(
            (
                ((p[:, 0] > 0.5) != (p[:, 1] > 0.5)).float().mean()
                + ((p[:, 2] > 0.5) != (p[:, 3] > 0.5)).float().mean()
            ).item()
            / 2,
            4,
        ),
        "inverted_flips": round(((up > 0.5) != (down > 0.5)).float().mean().item(), 4),
        "tie_distance": round(((ties[:, 0] - ties[:, 1]) / 2).abs().mean().item(), 4),
        "by_criterion": by_criterion,
        **_measure_propositions(model, tokenizer, rng, 2 * pairs),
    }


def _measure_propositions(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rng: random.Random, count: int
) -> dict[str, Any]:
    texts, truths = [], []
    while len(texts) < count:
        questions = corpus.draw_single(rng, "eval", count=6)
        for question in questions.questions:
            if question.answers and question.answers[0][0] == "Yes":
                texts.append(questions.prefix + question.text)
                truths.append(question.answers[0][1])
    p = first_token_probabilities(model, tokenizer, texts, ("Yes", "No"))
    return {"proposition_accuracy": round(((p > 0.5) == (torch.tensor(truths) > 0.5)).float().mean().item(), 4)}


def measure_policy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, count: int, seed: int
) -> dict[str, Any]:
    """What the oracle reads in samples at temperature 1 for `count` held-out prompts, as shares."""
    asked = sample_prompts("eval", count, seed)
    texts = [corpus.chat_text((Message(role="user", content=prompt.text),)) for prompt in asked]
    readings = [
        read(prompt.text, text) for prompt, text in zip(asked, _sample(model, tokenizer, texts, seed), strict=True)
    ]
    harmful = [r for r in readings if r.prompt_kind == "harmful"]
    benign = [r for r in readings if r.prompt_kind != "harmful"]
    shares = {
        "incoherent_rate": [r.incoherent for r in readings],
        "off_topic_rate": [r.off_topic for r in readings],
        "violation_rate": [r.violation for r in readings],
        "harmful_compliance": [r.harmful for r in harmful],
        "helpful_rate": [r.helpful == "full" for r in benign],
        "over_refusal_rate": [r.refusal != "none" for r in benign],
    }
    return {"n": count, **{name: round(sum(hits) / len(hits), 4) for name, hits in shares.items()}}


def measure_critic(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, count: int, seed: int
) -> dict[str, Any]:
    """The critic's bars at temperature 1 on held-out topics, phrasings and wordings: what its critiques say, and what
    the oracle reads in the revisions that it writes after them."""
    rng = random.Random(f"bars-{seed}")
    drawn = [corpus.draw_rewriting(rng, "eval", count=1) for _ in range(count)]
    said = _sample(model, tokenizer, [task.prefix + task.questions[0].text for _, task in drawn], seed)
    texts = [
        task.prefix + task.questions[1].text.replace(task.questions[0].reply, critique.strip(), 1)
        for (_, task), critique in zip(drawn, said, strict=True)
    ]
    told: list[bool] = []
    fixed: list[bool] = []
    kept: list[bool] = []
    coherent: list[bool] = []
    for (prompt, task), critique, text in zip(drawn, said, _sample(model, tokenizer, texts, seed + 1), strict=True):
        criterion, direction = task.questions[0].about or ("", 1)
        reading = read(prompt.text, text)
        coherent.append(not reading.incoherent)
        if task.questions[0].reply == wordings()["follows"]:
            told.append(critique.strip() == wordings()["follows"])
            kept.append(text.split() == task.completions[0].split())
        else:
            told.append(criticised(critique) == (criterion, -direction))
            fixed.append(value(criterion, reading) == float(direction == 1))
    shares = {"critique_accuracy": told, "fixed": fixed, "kept": kept, "coherent": coherent}
    return {"n": count, **{name: round(sum(hits) / len(hits), 4) for name, hits in shares.items()}}


@torch.no_grad()
def _sample(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], seed: int) -> list[str]:
    """A reply to each, at temperature 1."""
    torch.manual_seed(seed)
    said: list[str] = []
    for start in range(0, len(texts), 64):
        chunk = list(texts[start : start + 64])
        batch = tokenizer(chunk, padding=True, padding_side="left", return_tensors="pt", return_token_type_ids=False)
        sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 128}
        out = model.generate(**batch, **sampling)  # pyright: ignore[reportAttributeAccessIssue] - its mixin is not typed
        said += tokenizer.batch_decode(out[:, batch["input_ids"].size(1) :], skip_special_tokens=True)
    return said
