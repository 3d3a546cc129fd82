"""Real human preference data through the whole pipeline, with a judge that knows nothing about it."""

from pathlib import Path

import pytest

from constitution.document import load
from critic.audit import audit
from critic.judge import Judge
from critic.pipeline import label
from solon.chat import PromptTooLong
from solon.fakes import failing_judge, keyword_judge
from solon.rows import read_rows
from tests.unit.critic.material import collected, discards, pairs

DATA = Path(__file__).parents[4] / "shared" / "data" / "pref"


@pytest.mark.parametrize(
    ("name", "rows"), [("hh_val", 399), ("hhh221", 221), ("llmbar_dev", 137), ("pandalm_dev", 453)]
)
async def test_every_real_row_gets_a_status_or_a_reason(name: str, rows: int) -> None:
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no real data: {path} is absent")
    judge = failing_judge(
        keyword_judge(["sorry", "help"], ["stupid"]),
        lambda call: PromptTooLong("does not fit") if len(call.text) > 4000 else None,
    )
    items = await collected(label(read_rows(path), constitution=load("civic"), judge=Judge(judge), min_coverage=0))
    labelled, lost = pairs(items), discards(items)
    assert len(labelled) + len(lost) == rows
    assert {pair.status.value for pair in labelled} <= {"ok", "tie", "truncated", "incomplete_swap"}
    assert {discard.reason for discard in lost} <= {"empty_completion", "identical_completions"}
    found = audit(items)
    assert found.human_labels == sum(pair.p_a is not None for pair in labelled)
    assert found.position.first_slot_share == 0.5
    first = sum(pair.extra["human_votes"].count("a") for pair in labelled)
    both = sum(len([vote for vote in pair.extra["human_votes"] if vote != "tie"]) for pair in labelled)
    assert 0.4 < first / both < 0.6
