"""/v1/audits: how far a judge can be trusted. An audit runs in the background; its report is kept."""

import asyncio
import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import HTMLResponse
from pydantic import Field, StringConstraints

from api.audit_page import render
from api.auditing import CASES, AuditKind, AuditRequest, case_rows, reward_settings
from api.callers import LABEL, READ
from api.judging import check_judge
from api.routes.preferences import PromptIn, Strict, rows_of
from api.services import Page, Paging, Services, Use
from api.store.audits import StoredAudit
from constitution.document import Constitution
from solon.errors import InvalidInput
from solon.rows import Row
from solon.settings import ModelName

router = APIRouter(prefix="/v1/audits", tags=["audits"])

IdempotencyKey = Annotated[str | None, Header(), StringConstraints(min_length=1, max_length=255)]


class AuditIn(Strict):
    """A judge or a reward model to audit, and on what."""

    kind: AuditKind = "judge"
    judge: ModelName
    """Registered name, of a reward model where `kind` says so; its constitution gives scopes and cases only."""
    constitution: Annotated[str, Field(min_length=1, max_length=100)]
    """Published id, `id@version` or `id@label`."""
    prompts: Annotated[list[PromptIn], Field(max_length=100_000)] = Field(default_factory=list[PromptIn])
    """Rows of two completions with people's verdicts; none: the constitution's cases."""
    attacks: bool = True
    """Whether the attack suite is tried."""
    probes_per_attack: Annotated[int, Field(ge=1, le=64)] = 1
    second_judge: ModelName | None = None
    """Another judge, beside which self-preference is set."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


@router.post("", status_code=202, dependencies=[LABEL])
async def create_audit(request: AuditIn, services: Use, idempotency_key: IdempotencyKey = None) -> StoredAudit:
    """Begin an audit; the same Idempotency-Key and body give the same audit, however often they are sent."""
    constitution = await services.constitution(request.constitution)
    rows = _rows(request, constitution, services)
    auditor = services.auditor
    auditor.require_room()
    audit, new = await asyncio.to_thread(
        auditor.store.create,
        request.model_dump(mode="json", exclude={"prompts"})
        | {"rows": {name: len(each) for name, each in rows.items()}},
        request_hash=hashlib.sha256(request.model_dump_json().encode()).hexdigest(),
        idempotency_key=idempotency_key,
        project=services.project,
    )
    if new:
        auditor.start(audit.id, rows, constitution, _asked(request), services.models, services.cache)
    return audit


@router.get("", dependencies=[READ])
def list_audits(services: Use, paging: Annotated[Paging, Query()]) -> Page[StoredAudit]:
    """Audits without their reports, newest first unless `order` says otherwise."""
    audits, more = services.auditor.store.page(
        after=paging.after, limit=paging.limit, order=paging.order, project=services.project
    )
    first, last = (audits[0].id, audits[-1].id) if audits else (None, None)
    return Page(data=audits, first_id=first, last_id=last, has_more=more)


def _found(audit_id: str, services: Use) -> StoredAudit:
    return services.auditor.store.get(audit_id, project=services.project)


@router.get(
    "/{audit_id}", dependencies=[READ], response_model=StoredAudit, responses={200: {"content": {"text/html": {}}}}
)
def get_audit(audit: Annotated[StoredAudit, Depends(_found)], accept: Annotated[str, Header()] = "") -> Any:
    """One audit; its page where `Accept` asks for text/html and there is a report."""
    if "text/html" in accept and audit.report is not None:
        return HTMLResponse(render(audit.report), headers={"Content-Security-Policy": _NOTHING_BUT_STYLE})
    return audit


_NOTHING_BUT_STYLE = "default-src 'none'; style-src 'unsafe-inline'"
"""The page shows completions: whatever they hold, it loads and runs nothing."""


def _rows(request: AuditIn, constitution: Constitution, services: Services) -> dict[str, list[Row]]:
    """The rows by name; raises where the judge or a row cannot be worked with."""
    settings = services.settings
    if request.kind == "reward":
        settings = reward_settings(request.judge, settings)
    for judge in (request.judge, request.second_judge):
        if judge is not None:
            check_judge(judge, constitution, settings)
    if not request.prompts:
        return {CASES: case_rows(constitution)}
    rows = rows_of(request.prompts, services.settings.limits.rows_per_audit)
    for index, row in enumerate(rows):
        if len(row.completions) != 2:
            raise InvalidInput(
                "not two completions", field=f"prompts.{index}", remedy="give `response_a`, `response_b`"
            )
        if row.prompt.scope not in constitution.scopes:
            known = ", ".join(constitution.scopes)
            raise InvalidInput("no such scope", field=f"prompts.{index}.scope", remedy=f"use one of: {known}")
    return {"rows": rows}


def _asked(request: AuditIn) -> AuditRequest:
    return AuditRequest(
        judge=request.judge,
        attacks=request.attacks,
        probes_per_attack=request.probes_per_attack,
        second_judge=request.second_judge,
        seed=request.seed,
        kind=request.kind,
    )
