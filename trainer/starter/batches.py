"""From dialogues and questions to padded batches in which the questions about one text share its tokens."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from trainer.starter.corpus import END_TOKEN, ROLE_TOKENS, QuestionSet


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
class Row:
    """Tokens of one sequence, and what is to be predicted where."""

    tokens: list[int]
    positions: list[int]
    branches: list[int]
    """0 for the shared prefix, n for the n-th question: a token sees the prefix and its own branch only."""
    targets: list[tuple[int, int, int, float, float]]
    """(column, token, other token, probability of token, weight)."""


def policy_row(tokenizer: PreTrainedTokenizerFast, prompt: str, completion: str) -> Row:
    """A dialogue; the completion is learnt fully, the prompt a little."""
    user = f"{ROLE_TOKENS['user']}{prompt}{END_TOKEN}{ROLE_TOKENS['assistant']}"
    asked, said = tokenizer(user)["input_ids"], tokenizer(completion + END_TOKEN)["input_ids"]
    tokens = asked + said
    start = len(asked) - 1
    targets = [(start + i, token, token, 1.0, 1.0) for i, token in enumerate(said)]
    targets += [(i, asked[i + 1], asked[i + 1], 1.0, 0.1) for i in range(start)]
    return Row(tokens, list(range(len(tokens))), [0] * len(tokens), targets)


def question_row(tokenizer: PreTrainedTokenizerFast, questions: QuestionSet) -> Row:
    """A shared prefix and its questions; only the answers are learnt."""
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
    return Row(tokens, positions, branches, targets)


def collate(rows: Sequence[Row], pad: int) -> Batch:
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
        ids,
        positions,
        mask,
        torch.tensor(at),
        torch.tensor(columns),
        torch.tensor([token, other]).T,
        torch.tensor(first),
        torch.tensor(weights),
    )


def batches(rows: Iterator[Row], tokens: int, pad: int, *, pool: int = 16) -> Iterator[Batch]:
    """Batches of about `tokens` tokens, rows of similar length together."""
    rng = random.Random(0)
    while True:
        drawn: list[Row] = []
        while sum(len(row.tokens) for row in drawn) < tokens * pool:
            drawn.append(next(rows))
        drawn.sort(key=lambda row: len(row.tokens))
        groups: list[list[Row]] = [[]]
        for row in drawn:
            if groups[-1] and len(row.tokens) * (len(groups[-1]) + 1) > tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        yield from (collate(group, pad) for group in groups)
