"""Sampling: the same as transformers where both are defined, and independent of who shares the batch."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

from solon.errors import InvalidInput, NotFound
from trainer.decoding import Draw, Sampling, next_tokens, token_logprobs
from trainer.language_model import LanguageModel
from trainer.sampling import Generation, Request, Rollout, Sampler


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> LanguageModel:
    return LanguageModel.load(tiny_model_dir, "tiny", precision="float32")


@pytest.fixture(scope="module")
def endless(model: LanguageModel) -> LanguageModel:
    """The same model; nothing ends a completion but its length."""
    return replace(model, end_tokens=frozenset())


def prompts(count: int, longest: int = 40) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(7)
    return [tuple(torch.randint(5, 250, (1 + (i * 13) % longest,), generator=generator).tolist()) for i in range(count)]


def greedy(tokens: int) -> Sampling:
    return Sampling(max_tokens=tokens, temperature=0, top_logprobs=3)


def test_greedy_text_is_the_one_transformers_generates(endless: LanguageModel):
    texts = prompts(9)
    ours = Sampler(endless, max_rows=4).sample([Request(p, greedy(12)) for p in texts])
    network: Any = endless.network  # `generate` is typed for a class that no model is
    for prompt, generation in zip(texts, ours, strict=True):
        length: dict[str, Any] = {"max_new_tokens": 12, "min_new_tokens": 12, "eos_token_id": -1, "pad_token_id": 0}
        theirs = network.generate(torch.tensor([prompt]), do_sample=False, **length)
        assert list(generation.tokens) == theirs[0, len(prompt) :].tolist()


def test_reported_logprobs_are_those_of_a_plain_forward_pass(endless: LanguageModel):
    request = Request(prompts(5)[-1], Sampling(max_tokens=8, temperature=1.7, top_p=0.8, seed=3, top_logprobs=4))
    (generation,) = Sampler(endless).sample([request])
    whole = [*request.prompt, *generation.tokens]
    with torch.no_grad():
        expected = endless.network(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
    for i, entry in enumerate(generation.logprobs):
        row = expected[len(request.prompt) + i - 1]
        assert entry.logprob == pytest.approx(row[entry.token].item(), abs=1e-4)
        assert [value for _, value in entry.top] == pytest.approx(row.topk(4).values.tolist(), abs=1e-4)


def test_scores_of_given_tokens_agree_with_those_reported_while_sampling(endless: LanguageModel):
    sampler = Sampler(endless, batch_tokens=64)
    requests = [Request(p, Sampling(max_tokens=6, seed=1, top_logprobs=0)) for p in prompts(6)]
    generations = sampler.sample(requests)
    scores = sampler.score([[*r.prompt, *g.tokens] for r, g in zip(requests, generations, strict=True)])
    for request, generation, score in zip(requests, generations, scores, strict=True):
        assert score[0].logprob is None
        reported = [entry.logprob for entry in generation.logprobs]
        assert [entry.logprob for entry in score[len(request.prompt) :]] == pytest.approx(reported, abs=1e-4)


def test_a_text_depends_on_its_seed_and_not_on_its_neighbours(endless: LanguageModel):
    requests = [Request(p, Sampling(max_tokens=5 + i % 11, seed=i)) for i, p in enumerate(prompts(24))]
    together = Sampler(endless, max_rows=8).sample(requests)
    alone = [Sampler(endless).sample([request])[0] for request in requests]
    reordered = Sampler(endless, max_rows=5).sample(requests[::-1])[::-1]
    assert together == alone == reordered


def test_choices_of_one_request_differ_and_come_back_the_same(endless: LanguageModel):
    def several() -> list[Generation]:
        prompt = prompts(3)[2]
        return Sampler(endless).sample([Request(prompt, Sampling(max_tokens=9, seed=5, index=i)) for i in range(4)])

    first, second = several(), several()
    assert first == second
    assert len({generation.tokens for generation in first}) == 4


def test_one_token_requests_get_what_longer_ones_begin_with(endless: LanguageModel):
    shared = prompts(40)[39]
    texts = [(*shared, *p) for p in prompts(12, 9)]
    ones = Sampler(endless).sample([Request(p, greedy(1)) for p in texts])
    longer = Sampler(endless).sample([Request(p, greedy(2)) for p in texts])
    for one, two in zip(ones, longer, strict=True):
        assert one.tokens == two.tokens[:1]
        assert one.finish_reason == "length"
        ours, theirs = one.logprobs[0].top, two.logprobs[0].top
        assert [t for t, _ in ours] == [t for t, _ in theirs]
        assert [v for _, v in ours] == pytest.approx([v for _, v in theirs], abs=1e-4)


def test_a_small_memory_budget_changes_no_text(endless: LanguageModel):
    requests = [Request(p, Sampling(max_tokens=10 + i, seed=i)) for i, p in enumerate(prompts(10))]
    assert Sampler(endless, cache_bytes=1).sample(requests) == Sampler(endless).sample(requests)


def test_an_end_token_ends_the_text_and_is_not_part_of_it(model: LanguageModel):
    end = next(iter(model.end_tokens))
    request = Request(prompts(2)[1], Sampling(max_tokens=5, logit_bias={end: 100.0}, temperature=0, top_logprobs=0))
    (generation,) = Sampler(model).sample([request])
    assert (generation.text, generation.tokens, generation.finish_reason) == ("", (end,), "stop")
    assert generation.logprobs[0].logprob is not None
    assert generation.logprobs[0].logprob < 0  # the bias is not in what is reported


def test_a_stop_text_ends_the_completion_before_itself(endless: LanguageModel):
    prompt = tuple(endless.encode("ab"))
    bias = {endless.encode("x")[0]: 50.0, endless.encode("y")[0]: 49.0}
    sampling = Sampling(max_tokens=40, seed=1, logit_bias=bias, stop=("yy", "xxx"))
    (generation,) = Sampler(endless).sample([Request(prompt, sampling)])
    assert generation.finish_reason == "stop"
    assert set(generation.text) <= {"x", "y"}
    assert "yy" not in generation.text
    assert "xxx" not in generation.text
    assert len(generation.tokens) < 40


def test_a_constrained_completion_is_one_of_the_choices(model: LanguageModel):
    texts = ("yes", "yes, sir", "no")
    choices = tuple(tuple(model.encode_plain(text)) for text in texts)
    requests = [
        Request(prompts(2)[1], Sampling(max_tokens=20, temperature=5.0, seed=i, choices=choices)) for i in range(40)
    ]
    found = Counter(g.text for g in Sampler(model).sample(requests))
    assert set(found) == set(texts)


def test_a_completion_continues_the_text_before_it(model: LanguageModel):
    tokens = model.encode("né日")
    assert model.decode(tokens[2:], after=tokens[:2]) == model.decode(tokens[2:])
    assert model.decode(tokens) == "né日"


def test_a_cancelled_rollout_frees_its_row_and_answers_nobody(endless: LanguageModel):
    sampler = Sampler(endless)
    answered: list[int] = []
    rollouts = [Rollout(Request(p, greedy(20)), lambda _, i=i: answered.append(i)) for i, p in enumerate(prompts(3))]
    for rollout in rollouts:
        sampler.add(rollout)
    sampler.step()
    rollouts[1].cancelled = True
    while sampler.busy:
        sampler.step()
    assert sorted(answered) == [0, 2]
    assert len(rollouts[1].tokens) < 20


def test_sampled_tokens_follow_the_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).expand(4000, -1)
    tokens = next_tokens(logits, [_draw(seed=i) for i in range(4000)])
    expected = logits[0].softmax(-1).tolist()
    counts = Counter(tokens)
    for token, probability in enumerate(expected):
        deviation = math.sqrt(probability * (1 - probability) / 4000)
        assert abs(counts[token] / 4000 - probability) < 5 * deviation


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p():
    logits = torch.tensor([[0.1, 0.5, 0.3, 0.1]]).log().expand(500, -1)
    assert set(next_tokens(logits, [_draw(seed=i, top_p=0.79) for i in range(500)])) == {1, 2}
    assert set(next_tokens(logits, [_draw(seed=i, top_p=0.01) for i in range(500)])) == {1}


def test_temperature_zero_takes_the_most_probable_allowed_token():
    logits = torch.tensor([[3.0, 2.0, 1.0]])
    assert next_tokens(logits, [_draw(temperature=0)]) == [0]
    assert next_tokens(logits, [_draw(temperature=0, allowed=[1, 2])]) == [1]
    assert next_tokens(logits, [_draw(temperature=0, logit_bias={2: 9.0})]) == [2]


def test_reports_come_only_where_they_are_asked_for():
    logits = torch.tensor([[3.0, 2.0, 1.0]] * 3)
    nothing, chosen, two = token_logprobs(logits, [0, 1, 2], [None, 0, 2])
    assert nothing is None
    assert chosen is not None
    assert chosen.top == ()
    assert two is not None
    assert [token for token, _ in two.top] == [0, 1]
    assert sum(math.exp(v) for _, v in two.top) + math.exp(two.logprob or 0) == pytest.approx(1)


def test_a_directory_without_a_model_is_named(tmp_path: Path):
    with pytest.raises(NotFound, match="holds no model"):
        LanguageModel.load(tmp_path)


def test_an_architecture_that_would_be_computed_wrongly_is_refused(tmp_path: Path, tiny_model_dir: Path):
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    MistralForCausalLM(MistralConfig(vocab_size=300, num_key_value_heads=2, sliding_window=8, **sizes)).save_pretrained(
        tmp_path
    )
    AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(tmp_path)
    with pytest.raises(InvalidInput, match="mistral"):
        LanguageModel.load(tmp_path)


def _draw(allowed: list[int] | None = None, **settings: object) -> Draw:
    sampling = Sampling(**settings)  # pyright: ignore[reportArgumentType]
    return Draw(sampling, sampling.generator(), allowed)
