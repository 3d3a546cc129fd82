"""`solon label --server`: a file of rows labelled by a service, a dataset out, as if it had been labelled here."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from api import calls
from api.client import Service
from api.dataset_cards import write_card
from api.events import Emit, Event
from api.labelling import LabelRequest
from api.run_context import Ticks
from critic.audit import audit
from solon.datasets import BESIDE, PairWriter, read_discards, read_pairs
from solon.errors import InvalidInput
from solon.formats import check_apart
from solon.rows import Row, read_rows

AT_ONCE: Final = 16
"""Rows of one request; far below what a server takes."""
STEP: Final = "label"


def label_remotely(rows: Path, out: Path, request: LabelRequest, service: Service, emit: Emit) -> dict[str, Any]:
    """The summary of `solon label`; the service keeps the labels as well.

    Raises InvalidInput where the request has options that only work here, and whatever the service says.
    """
    if request.min_coverage or request.cache is not None or request.cap.is_set:
        raise InvalidInput(
            "coverage, cache and budgets are the service's own", field="--server", remedy="leave them out"
        )
    check_apart(out, rows, beside=BESIDE)
    total = sum(1 for _ in read_rows(rows))
    emit(Event(type="step_started", step=STEP, total=total, message=service.address))
    ticks, done = Ticks(STEP, emit), 0
    with PairWriter(out, about={"rows": str(rows), "service": service.address}) as writer:
        for part in _parts(read_rows(rows)):
            for item in service.send(_call(part, request)).data:
                writer.write(item)
            done += len(part)
            ticks(done, total, "", {name: float(count) for name, count in writer.counts.items()})
        writer.commit()
    found = audit(chain(read_pairs(out), read_discards(out)))
    write_card(out, found)
    emit(Event(type="step_finished", step=STEP, done=total, total=total))
    return {"rows": total, "out": str(out), "paid": {}, **found.to_dict()}


def _parts(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while part := list(islice(rows, AT_ONCE)):
        yield part


def _call(rows: Sequence[Row], request: LabelRequest) -> Any:
    asked: dict[str, Any] = {"constitution": request.constitution, "judge": request.judge, "policy": request.policy}
    options: dict[str, Any] = {
        "n": request.n,
        "pairing": request.pairing,
        "schedule": request.schedule,
        "seed": request.seed,
    }
    more: dict[str, Any] = {"min_margin": request.min_margin, "weights": dict(request.weights)}
    return calls.label([_prompt(row) for row in rows], **asked, **options, **more)


def _prompt(row: Row) -> dict[str, Any]:
    """The row as a request has it; keys of its own that a request does not know stay behind."""
    prompt = row.prompt
    turns = [message.model_dump() for message in prompt.messages]
    body: dict[str, Any] = {"id": prompt.id, "messages": turns, "scope": prompt.scope, "metadata": prompt.metadata}
    if not row.completions:
        return body
    texts, models = [each.text for each in row.completions], [each.model for each in row.completions]
    if row.human_votes and len(texts) == 2:
        votes = {"response_a": texts[0], "response_b": texts[1], "votes": list(row.human_votes)}
        return body | votes | {"models": models}
    return body | {"completions": texts, "models": models}
