"""`solon constitution drift` and `infer`: what a labelled set really follows."""

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.events import Emit, Event
from api.judging import open_judge, opened_cache
from api.libraries import load_constitution
from api.registry import Models, opened
from api.run_context import Ticks
from constitution.document import Constitution, Principle
from constitution.drafting import Drafted, draft, slug, unique
from constitution.schema import LabelEvidence, Scope
from critic.audit import human_verdict
from critic.drift import Drift, Finding, find_drift
from critic.pipeline import HUMAN_VOTES
from critic.proposals import propose
from critic.relabelling import Relabeller, relabel
from solon.datasets import read_pairs, read_rows
from solon.errors import Failed, InvalidInput
from solon.formats import text_lines
from solon.records import Discard, PreferencePair, Provenance, Status
from solon.rows import Row
from solon.seeds import shuffled
from solon.settings import Settings

STEP = "drift"
PROPOSED_FROM = 40
"""Pairs that a model is shown to propose principles from."""
LIGHTEST = 0.05
"""Smallest weight of an inferred principle."""


@dataclass(frozen=True)
class DriftRequest:
    """How a labelled set is looked at."""

    judge: str
    constitution: str | None = None
    """None: nothing is written, all that is found is news."""
    candidates: tuple[str, ...] = ()
    """Constitutions by id or file, whose principles are tried, and text files with one principle a line."""
    proposer: str | None = None
    """Registered model that writes candidates; None: the judge, where there are no other candidates."""
    pairs: int | None = None
    """Look at no more than so many pairs, drawn with the seed."""
    most: int = 8
    """Unwritten principles to look for."""
    seed: int = 0
    cache: Path | None = None
    """Judgement cache instead of the shared one."""


async def drift_of(
    path: Path, request: DriftRequest, settings: Settings, emit: Emit, models: Models | None = None
) -> Drift:
    """What the labels in a file follow: a dataset of ours, or rows with people's votes.

    Raises:
        InvalidInput: the file, a candidate or the constitution cannot be read, or there are too few labels.
        Failed: no candidate was given, and the model wrote none.
    """
    written = load_constitution(request.constitution, settings) if request.constitution is not None else None
    pairs = labelled_pairs(path)
    if request.pairs is not None:
        pairs = list(shuffled(pairs, request.seed, "drift")[: request.pairs])
    given = read_candidates(request.candidates, settings)
    settings.model(request.judge, "judge")
    emit(Event(type="step_started", step=STEP, total=len(pairs), message="starting the models"))
    async with opened(settings, models) as running:
        texts = await _proposed(request, pairs, running) if request.proposer or not given else ()
        candidates = distinct([*given, *(Principle(id="proposed", text=text) for text in texts)], written)
        asked = ballot(written, candidates, pairs)
        with opened_cache(settings, request.cache) as cache:
            judge = await open_judge(request.judge, asked, settings, running, cache)
            voted = await _voted(pairs, Relabeller(asked, judge), Ticks(STEP, emit))
    emit(Event(type="step_finished", step=STEP, done=len(pairs), total=len(pairs)))
    return find_drift(pairs, voted, candidates, written, most=request.most)


async def _proposed(request: DriftRequest, pairs: Sequence[PreferencePair], running: Models) -> tuple[str, ...]:
    name = request.proposer or request.judge
    sample = shuffled([pair for pair in pairs if pair.chosen], request.seed, "propose")[:PROPOSED_FROM]
    found = await propose(await running.chat(name), sample, seed=request.seed)
    if not found.texts and not request.candidates:
        raise Failed(
            f"the model {name!r} proposed no principle from {len(sample)} pairs ({found.failed} requests failed)",
            remedy="name a model that writes (--proposer), or give candidates (--candidates)",
        )
    return found.texts


async def _voted(
    pairs: Sequence[PreferencePair], relabeller: Relabeller, ticks: Ticks
) -> list[PreferencePair | Discard]:
    voted: list[PreferencePair | Discard] = []
    async with aclosing(relabel(pairs, relabeller)) as items:
        async for item in items:
            voted.append(item)
            ticks(len(voted), len(pairs))
    return voted


def labelled_pairs(path: Path) -> list[PreferencePair]:
    """The pairs of a dataset with its own labels, or of rows with people's verdicts on their first two completions."""
    first = next((line for _, line in text_lines(path)), b"") if path.suffix != ".parquet" else b""
    if path.suffix == ".parquet" or _is_ours(first):
        return list(read_pairs(path))
    rows = [row for row in read_rows(path) if len(row.completions) >= 2 and row.human_votes]
    if not rows:
        raise InvalidInput(
            "no row has two completions and a verdict",
            field=str(path),
            remedy="give `chosen` and `rejected`, or `label`",
        )
    return [_pair(row) for row in rows]


def _is_ours(line: bytes) -> bool:
    try:
        values: Any = json.loads(line)
    except ValueError:
        return False
    return isinstance(values, dict) and values.get("object") == "preference"


def _pair(row: Row) -> PreferencePair:
    """A pair whose label is people's and that no judge has seen."""
    bare = PreferencePair(
        id=f"row_{row.prompt.id}",
        status=Status.TIE,
        prompt=row.prompt,
        a=row.completions[0],
        b=row.completions[1],
        provenance=Provenance(constitution="", constitution_version="", constitution_hash=""),
        extra=row.extra | {HUMAN_VOTES: list(row.human_votes)},
    )
    human = human_verdict(bare)
    return bare if human == "tie" else bare.model_copy(update={"status": Status.OK, "chosen": human})


def read_candidates(references: Sequence[str], settings: Settings) -> list[Principle]:
    """Principles of constitutions, by id or YAML file, and of text files with one principle a line."""
    found: list[Principle] = []
    for reference in references:
        if reference.endswith(".txt"):
            lines = (raw.decode("utf-8", errors="replace").strip() for _, raw in text_lines(Path(reference)))
            found += [Principle(id="candidate", text=line) for line in lines if line]
        else:
            found += load_constitution(reference, settings, drafts=True).principles
    return found


def distinct(candidates: Sequence[Principle], written: Constitution | None) -> tuple[Principle, ...]:
    """The candidates with ids of their own, for all scopes, without those that are written already."""
    known = {(each.text, each.compare) for each in (written.principles if written is not None else ())}
    ids = {each.id for each in (written.principles if written is not None else ())}
    kept: list[Principle] = []
    for each in candidates:
        if (each.text, each.compare) in known:
            continue
        known.add((each.text, each.compare))
        wanted = each.id if each.id not in ("candidate", "proposed") else slug(each.text) or each.id
        ids.add(id_ := unique(wanted, ids))
        kept.append(Principle(id=id_, text=each.text, compare=each.compare))
    return tuple(kept)


def ballot(
    written: Constitution | None, candidates: tuple[Principle, ...], pairs: Sequence[PreferencePair]
) -> Constitution:
    """The constitution that the judge is asked about: what is written and the candidates beside it."""
    if written is not None:
        return written.model_copy(update={"principles": (*written.principles, *candidates), "cases": ()})
    scopes = {
        name: Scope(description="Of the labelled pairs.") for name in {"general", *(p.prompt.scope for p in pairs)}
    }
    return Constitution(
        format="constitution/v1",
        id="inferred",
        title="Candidates",
        version="0.1.0",
        scopes=scopes,
        principles=candidates,
    )


def inferred_draft(found: Drift, source: str, name: str, title: str) -> str:
    """The YAML of a draft whose principles are those that the labels follow, with the weights that they have there."""
    followed = [each for each in found.unwritten if each.standing == "followed"]
    explained = f" Together they agree with {found.explained.value:.0%} of them." if found.explained is not None else ""
    summary = f"Inferred from {found.pairs} labels ({source}).{explained} To be read by people before it is used."
    return draft(name, title, summary, (_drafted(each, source) for each in followed), method="logit_sum")


def _drafted(finding: Finding, source: str) -> Drafted:
    agreement = finding.agreement.value if finding.agreement is not None else 0.0
    evidence = LabelEvidence(kind="labels", source=source, pairs=finding.decided, agreement=round(agreement, 4))
    weight = max(LIGHTEST, round(finding.weight.value, 2)) if finding.weight is not None else 1.0
    return Drafted(finding.text, evidence, "inferred", weight, finding.compare)
