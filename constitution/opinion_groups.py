"""Groups of participants who vote alike, for polls that come without groups.

As in Polis: each participant's votes (agree 1, disagree -1, pass 0, unseen the statement's mean) are projected on the
two main axes, stretched for those who saw few statements, and split by k-means; k, from 2 to 5, is the smallest whose
silhouette is within 0.05 of the largest. Nothing is random: the first centre is the point farthest from the middle,
each next one the point farthest from those before.

Source: Small et al. 2021, "Polis: Scaling deliberation by mapping high dimensional opinion spaces", Recerca 26(2).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from constitution.polls import Poll, Stance
from solon.errors import InvalidInput

Points = NDArray[np.float64]
"""One row per participant."""

MOST_GROUPS: Final = 5
_FEWEST_VOTES: Final = 7
"""A participant with fewer votes, where there are more statements, has no place on the map."""
_ROUNDS: Final = 100
_AS_GOOD: Final = 0.05
"""Silhouettes this close are equal: a few people who vote exactly alike do not make a group of their own."""
_VALUES: Final[dict[Stance, float]] = {"agree": 1.0, "disagree": -1.0, "pass": 0.0}


def opinion_groups(poll: Poll) -> dict[str, str]:
    """Group by participant, "A" the largest; those who voted too little have none.

    Raises:
        InvalidInput: fewer than four participants voted enough, or all vote the same.
    """
    enough = min(_FEWEST_VOTES, len(poll.statements))
    people = [participant for participant, stances in poll.votes.items() if len(stances) >= enough]
    if len(people) < 4:
        raise InvalidInput(
            f"{len(people)} participants voted on {enough} statements or more: too few to find groups",
            remedy="give the table a column `group`",
        )
    points = _projected(_matrix(poll, people))
    if np.allclose(points, points[0]):
        raise InvalidInput(
            "all participants vote the same: there are no groups to find", remedy="give a column `group`"
        )
    most = min(MOST_GROUPS, len(people) - 1)
    splits = [_k_means(points, k) for k in range(2, most + 1)]
    scores = [_silhouette(points, split) for split in splits]
    best = next(split for split, score in zip(splits, scores, strict=True) if score >= max(scores) - _AS_GOOD)
    by_size = sorted(set(best.tolist()), key=lambda group: (-int((best == group).sum()), group))
    names = {group: chr(ord("A") + place) for place, group in enumerate(by_size)}
    return {person: names[int(group)] for person, group in zip(people, best, strict=True)}


def _matrix(poll: Poll, people: list[str]) -> Points:
    """Votes by participant and statement, NaN where unseen; statements that nobody saw are left out."""
    rows = [
        [_VALUES[poll.votes[who][id_]] if id_ in poll.votes[who] else np.nan for id_ in poll.statements]
        for who in people
    ]
    votes = np.array(rows)
    return votes[:, ~np.isnan(votes).all(axis=0)]


def _projected(votes: Points) -> Points:
    """Each participant's place on the two main axes; shape [participant, 2]."""
    unseen = np.isnan(votes)
    centred = np.where(unseen, 0.0, votes - np.nanmean(votes, axis=0))
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    stretch = np.sqrt(votes.shape[1] / (~unseen).sum(axis=1))
    return (centred @ axes.T) * stretch[:, None]


def _k_means(points: Points, k: int) -> NDArray[np.int64]:
    """Group of each point."""
    first = int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))
    centres = points[[first]]
    while len(centres) < k:
        centres = np.vstack([centres, points[int(np.argmax(_distances(points, centres).min(axis=1)))]])
    groups = np.zeros(len(points), dtype=np.int64)
    for _ in range(_ROUNDS):
        groups = np.argmin(_distances(points, centres), axis=1)
        moved = np.array(
            [points[groups == each].mean(axis=0) if (groups == each).any() else centres[each] for each in range(k)]
        )
        if np.allclose(moved, centres):
            break
        centres = moved
    return groups


def _silhouette(points: Points, groups: NDArray[np.int64]) -> float:
    """Mean over points of (distance to the nearest other group - to its own) / the larger; in [-1, 1]."""
    distances, names = _distances(points, points), np.unique(groups)
    if len(names) < 2:
        return -1.0
    scores: list[float] = []
    for index, own in enumerate(groups):
        members = groups == own
        if members.sum() == 1:
            scores.append(0.0)
            continue
        within = distances[index, members].sum() / (members.sum() - 1)
        others: Any = min(distances[index, groups == other].mean() for other in names if other != own)
        scores.append(float((others - within) / max(others, within)) if max(others, within) > 0 else 0.0)
    return float(np.mean(scores))


def _distances(points: Points, others: Points) -> Points:
    """Shape [point, other]."""
    return np.linalg.norm(points[:, None, :] - others[None, :, :], axis=2)
