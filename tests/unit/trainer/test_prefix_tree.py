"""Trees of prompts: the grouping is the cheapest one, and every branch gets what it gets alone."""

from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.language_model import LanguageModel
from trainer.prefix_cache import Prefix, PrefixCache, PrefixReader, length_sorted_batches
from trainer.prefix_tree import Group, pack, plan, shared_length

Sequences = list[list[int]]

sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> LanguageModel:
    return LanguageModel.load(tiny_model_dir, precision="float32")


def cost(texts: Sequences, groups: list[Group]) -> int:
    """Tokens that are computed."""
    return sum(g.shared + sum(len(texts[i]) - g.shared for i in g.members) for g in groups if len(g.members) > 1) + sum(
        len(texts[g.members[0]]) for g in groups if len(g.members) == 1
    )


def cheapest(texts: Sequences) -> int:
    """Fewest tokens over every partition of the texts, by trying them all."""

    def together(part: tuple[int, ...]) -> int:
        shared = min([shared_length(texts[a], texts[b]) for a, b in combinations(part, 2)], default=0)
        shared = min(shared, *(len(texts[i]) - 1 for i in part)) if len(part) > 1 else 0
        return sum(len(texts[i]) for i in part) - shared * (len(part) - 1)

    def best(rest: tuple[int, ...]) -> int:
        if not rest:
            return 0
        first, others = rest[0], rest[1:]
        return min(
            together((first, *part)) + best(tuple(i for i in others if i not in part))
            for size in range(len(others) + 1)
            for part in combinations(others, size)
        )

    return best(tuple(range(len(texts))))


@given(sequences)
@settings(max_examples=150, deadline=None)
def test_no_grouping_computes_fewer_tokens(texts: Sequences):
    groups = plan(texts)
    assert sorted(i for group in groups for i in group.members) == list(range(len(texts)))
    assert cost(texts, groups) == cheapest(texts)


@given(sequences)
@settings(max_examples=150, deadline=None)
def test_members_share_the_prefix_and_keep_a_token(texts: Sequences):
    for group in plan(texts):
        starts = {tuple(texts[i][: group.shared]) for i in group.members}
        assert len(starts) == 1
        assert all(len(texts[i]) > group.shared for i in group.members)


def test_a_run_is_never_longer_than_the_limit():
    groups = plan([[1, 2, 3, i] for i in range(70)])
    assert max(len(group.members) for group in groups) <= 32


def test_packed_branches_get_the_logits_they_get_alone(model: LanguageModel):
    trees = [([5, 6, 7, 8], [[9], [10, 11, 12], [13, 14]]), ([20], [[21, 22], [23]])]
    packed = pack(trees, pad_id=0, multiple_of=8)
    assert packed.input_ids.shape == (2, 16)
    with torch.no_grad():
        logits = model.network(
            input_ids=packed.input_ids, position_ids=packed.position_ids, attention_mask=packed.attention_mask
        ).logits
        together = logits[packed.last[:, 0], packed.last[:, 1]]
        alone = [
            model.network(input_ids=torch.tensor([[*prefix, *branch]])).logits[0, -1]
            for prefix, branches in trees
            for branch in branches
        ]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-4, rtol=0)


def test_packed_trees_carry_gradients_as_separate_texts_do(model: LanguageModel):
    prefix, branches = [5, 6, 7], [[8, 9], [10]]
    packed = pack([(prefix, branches)], pad_id=0)
    weight = next(model.network.parameters())

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        (found,) = torch.autograd.grad(loss, weight)
        return found

    logits = model.network(
        input_ids=packed.input_ids, position_ids=packed.position_ids, attention_mask=packed.attention_mask
    ).logits
    tree = gradient(logits[packed.last[:, 0], packed.last[:, 1]].logsumexp(-1).sum())
    alone = gradient(
        torch.stack([model.network(input_ids=torch.tensor([prefix + b])).logits[0, -1] for b in branches])
        .logsumexp(-1)
        .sum()
    )
    torch.testing.assert_close(tree, alone, atol=1e-4, rtol=1e-4)


def test_padding_changes_nothing_and_holds_no_nan(model: LanguageModel):
    narrow, wide = (pack([([5, 6], [[7], [8]])], pad_id=0, multiple_of=m) for m in (1, 32))
    with torch.no_grad():
        a, b = (
            model.network(input_ids=p.input_ids, position_ids=p.position_ids, attention_mask=p.attention_mask).logits
            for p in (narrow, wide)
        )
    assert torch.isfinite(b).all()
    torch.testing.assert_close(a, b[:, :4], atol=1e-5, rtol=0)


def judge_prompts() -> list[tuple[int, ...]]:
    """Three pairs of different lengths, several principles each, and one prompt like no other."""
    generator = torch.Generator().manual_seed(1)

    def text(length: int) -> list[int]:
        return torch.randint(5, 250, (length,), generator=generator).tolist()

    prompts = [(*start, *text(3 + i)) for start in (text(40), text(57), text(33)) for i in range(5)]
    return [*prompts, tuple(text(21))]


def hidden_alone(model: LanguageModel, prompts: list[tuple[int, ...]]) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack([model.hidden(input_ids=torch.tensor([p]))[0, -1] for p in prompts])


@pytest.mark.parametrize("budget_bytes", [0, 20_000, 1 << 20])
def test_shared_prefixes_give_what_a_plain_pass_gives(model: LanguageModel, budget_bytes: int):
    prompts = judge_prompts()
    reader = PrefixReader(model, PrefixCache(budget_bytes), batch_tokens=128)
    alone = hidden_alone(model, prompts)
    torch.testing.assert_close(reader.last_hidden(prompts), alone, atol=1e-4, rtol=0)
    torch.testing.assert_close(reader.last_hidden(prompts[::-1]), alone.flip(0), atol=1e-4, rtol=0)


def test_a_second_wave_meets_the_prefixes_of_the_first(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    prompts = judge_prompts()
    reader = PrefixReader(model)
    reader.last_hidden(prompts[::5])
    computed: list[int] = []
    original = LanguageModel.hidden
    monkeypatch.setattr(
        LanguageModel,
        "hidden",
        lambda self, **inputs: computed.append(inputs["input_ids"].numel()) or original(self, **inputs),
    )
    result = reader.last_hidden(prompts)
    assert sum(computed) < 0.5 * sum(map(len, prompts))
    monkeypatch.undo()
    torch.testing.assert_close(result, hidden_alone(model, prompts), atol=1e-4, rtol=0)


def test_the_cache_forgets_what_was_unused_longest():
    def prefix(start: int) -> Prefix:
        return Prefix(tuple(range(start, start + 32)), torch.zeros(2, 1, 32, 4))

    cache = PrefixCache(2 * prefix(0).size_bytes)
    for start in (0, 100):
        cache.add(prefix(start))
    assert cache.find(range(0, 40))
    cache.add(prefix(200))
    assert cache.find(range(100, 140)) is None
    found = cache.find([*range(0, 20), 7])
    assert found is not None
    assert found[1] == 20


def test_batches_hold_everything_once_and_waste_little():
    lengths = [3, 50, 7, 49, 1, 20, 22]
    batches = list(length_sorted_batches(range(7), lengths, batch_tokens=100))
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert all(len(b) == 1 or max(lengths[i] for i in b) * len(b) <= 100 for b in batches)
