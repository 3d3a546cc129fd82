"""From dialogues and questions to padded batches in which the questions about one text share its tokens.

Beside its answer, a question set trains auxiliary readings, made by linear heads on middle layers that are thrown away
after training: what kind each sentence of a completion is; where the completion stands on every criterion, at its
closing marker; which of two stands higher, at the second's; which predicate a phrase of the question names, and with
which sign; at the question's last token, which criterion and pole it asks about, and a layer later the standings or
comparisons of which its answer is one.

Without them the answer is a parity of things none of which is rewarded alone, and a model of this size stays at chance
for long (measured: 0.57 of decided questions right after 40,000 of them).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from trainer.starter import corpus
from trainer.starter.corpus import END_TOKEN, MARKERS, ROLE_TOKENS, Question, QuestionSet
from trainer.starter.oracle import Reading, sentence_kinds
from trainer.starter.tokenizer import token_id
from trainer.starter.wordings import Direction, Phrase, criteria, value

SENTENCE_KINDS = ("step", "harm", "bare", "kind", "rude", "preachy", "flattering", "false", "padding", "filler")
"""What a sentence of a completion can be."""


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
    sentence_at: Tensor
    """(sentence, 2): row and column of the last token of each known sentence of a completion."""
    sentences: Tensor
    """(sentence,): index into SENTENCE_KINDS."""
    marker_at: Tensor
    """(marker, 2): row and column of each closing marker."""
    standings: Tensor
    """(marker, criterion): 0 to 1, -1 where the criterion does not apply."""
    pair_at: Tensor
    """(pair, 2): row and column of the closing marker of the second completion of each pair."""
    comparisons: Tensor
    """(pair, criterion): P(the first stands higher), 0.5 for a tie, -1 where the criterion does not apply."""
    phrase_at: Tensor
    """(phrase, 2): row and column of the last token of each phrase of a question."""
    phrases: Tensor
    """(phrase, 2): 2 * criterion + (1 if its predicate names the high pole), and 1 if it is not negated."""
    asked_at: Tensor
    """(question, 2): row and column of the last token of each question."""
    fetched: Tensor
    """(question, 2, criterion): what its answer needs, the standings of the completion asked about or the comparison of
    the two; -1 where not needed."""
    asked: Tensor
    """(question,): 2 * criterion + (1 if the high pole is wanted)."""


@dataclass(frozen=True)
class Row:
    """Tokens of one sequence, and what is to be predicted where."""

    tokens: list[int]
    positions: list[int]
    branches: list[int]
    """0 for the shared prefix, n for the n-th question: a token sees the prefix and its own branch only."""
    targets: list[tuple[int, int, int, float, float]]
    """(column, token, other token, probability of token, weight)."""
    sentences: list[tuple[int, int]] = field(default_factory=list)
    """(column, index of its kind)."""
    markers: list[tuple[int, list[float]]] = field(default_factory=list)
    """(column, standing on every criterion)."""
    comparisons: list[tuple[int, list[float]]] = field(default_factory=list)
    """(column, P(the first stands higher) on every criterion)."""
    phrases: list[tuple[int, int, int]] = field(default_factory=list)
    """(column, class of its predicate, whether it is positive)."""
    asked: list[tuple[int, int, list[list[float]]]] = field(default_factory=list)
    """(column, class of what is asked, what its answer needs)."""


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
    encoded = tokenizer([questions.prefix, *(question.text for question in questions.questions)])
    prefix: list[int] = encoded["input_ids"][0]
    row = Row(list(prefix), list(range(len(prefix))), [0] * len(prefix), [])
    for number, question in enumerate(questions.questions, start=1):
        asked: list[int] = encoded["input_ids"][number]
        begins, column = len(row.tokens), len(row.tokens) + len(asked) - 1
        for phrase in question.phrases:
            at = encoded.char_to_token(number, question.text.index(phrase.text) + len(phrase.text) - 1)
            row.phrases.append((begins + at, *_phrase_classes(question, phrase)))
        if question.about:
            row.asked.append((column, _class(*question.about), _needed(question, questions.readings)))
        said, targets = _answer(tokenizer, question, column)
        row.targets.extend(targets)
        branch = asked + said[: -1 if question.reply else 1]
        row.tokens.extend(branch)
        row.positions.extend(range(len(prefix), len(prefix) + len(branch)))
        row.branches.extend([number] * len(branch))
    closing = {token_id(tokenizer, marker) for marker in MARKERS if marker.startswith("[/")}
    ends = [column for column, token in enumerate(prefix) if token in closing]
    row.markers.extend((at, _standing(reading)) for at, reading in zip(ends, questions.readings, strict=True))
    if len(questions.readings) == 2:
        row.comparisons.append((ends[1], _comparison(*questions.readings)))
    for completion in dict.fromkeys(questions.completions):
        start = questions.prefix.index(completion)
        for end, kind in sentence_kinds(completion):
            row.sentences.append((encoded.char_to_token(0, start + end - 1), SENTENCE_KINDS.index(kind)))
    return row


def _answer(
    tokenizer: PreTrainedTokenizerFast, question: Question, column: int
) -> tuple[list[int], list[tuple[int, int, int, float, float]]]:
    """Tokens of the answer, and its targets; both empty for a question that is only read."""
    if question.reply:
        said: list[int] = tokenizer(question.reply + END_TOKEN)["input_ids"]
        return said, [(column + i, token, token, 1.0, 4.0 / len(said)) for i, token in enumerate(said)]
    if not question.answers:
        return [], []
    tokens = [token_id(tokenizer, answer) for answer, _ in question.answers]
    end = token_id(tokenizer, END_TOKEN)
    answer = (column, tokens[0], tokens[-1], question.answers[0][1], 1.0)
    return [tokens[0], end], [answer, (column + 1, end, end, 1.0, 0.05)]


def _class(criterion: str, direction: Direction) -> int:
    return 2 * criteria().index(criterion) + (direction == 1)


def _phrase_classes(question: Question, phrase: Phrase) -> tuple[int, int]:
    criterion, direction = question.about or ("", 1)
    return _class(criterion, phrase.pole), int(phrase.pole == direction)


def _standing(reading: Reading) -> list[float]:
    values = (value(criterion, reading) for criterion in criteria())
    return [-1.0 if standing is None else standing for standing in values]


def _needed(question: Question, readings: Sequence[Reading]) -> list[list[float]]:
    unneeded = [-1.0] * len(criteria())
    if not readings:
        return [unneeded, unneeded]
    if question.subject is None:
        return [unneeded, _comparison(*readings)]
    return [_standing(readings[question.subject]), unneeded]


def _comparison(a: Reading, b: Reading) -> list[float]:
    compared = (corpus.higher(criterion, a, b) for criterion in criteria())
    return [-1.0 if p is None else p for p in compared]


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
    at, columns, token, other, first, weights = (
        (list(part) for part in zip(*flat, strict=True)) if flat else ([] for _ in range(6))
    )
    sentences = [(r, column, kind) for r, row in enumerate(rows) for column, kind in row.sentences]
    markers = [(r, column, standing) for r, row in enumerate(rows) for column, standing in row.markers]
    pairs = [(r, column, compared) for r, row in enumerate(rows) for column, compared in row.comparisons]
    phrases = [(r, *phrase) for r, row in enumerate(rows) for phrase in row.phrases]
    asked = [(r, *each) for r, row in enumerate(rows) for each in row.asked]
    return Batch(
        input_ids=ids,
        position_ids=positions,
        mask=mask,
        rows=torch.tensor(at, dtype=torch.long),
        columns=torch.tensor(columns, dtype=torch.long),
        targets=torch.tensor([token, other], dtype=torch.long).T,
        first=torch.tensor(first, dtype=torch.float32),
        weights=torch.tensor(weights, dtype=torch.float32),
        sentence_at=torch.tensor([(r, c) for r, c, _ in sentences], dtype=torch.long).view(-1, 2),
        sentences=torch.tensor([kind for _, _, kind in sentences], dtype=torch.long),
        marker_at=torch.tensor([(r, c) for r, c, _ in markers], dtype=torch.long).view(-1, 2),
        standings=torch.tensor([standing for _, _, standing in markers]).view(-1, len(criteria())),
        pair_at=torch.tensor([(r, c) for r, c, _ in pairs], dtype=torch.long).view(-1, 2),
        comparisons=torch.tensor([compared for _, _, compared in pairs]).view(-1, len(criteria())),
        phrase_at=torch.tensor([phrase[:2] for phrase in phrases], dtype=torch.long).view(-1, 2),
        phrases=torch.tensor([phrase[2:] for phrase in phrases], dtype=torch.long).view(-1, 2),
        asked_at=torch.tensor([each[:2] for each in asked], dtype=torch.long).view(-1, 2),
        asked=torch.tensor([each[2] for each in asked], dtype=torch.long),
        fetched=torch.tensor([each[3] for each in asked]).view(-1, 2, len(criteria())),
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
