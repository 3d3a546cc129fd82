"""The whole service as in production: PostgreSQL, and artifacts in a bucket."""

import secrets
from pathlib import Path

import pytest

from solon import egress
from tests.integration.buckets import bucket
from tests.integration.examples import Recorder, found_nowhere, models, tour
from tests.integration.postgres import database_in
from tests.integration.service import SCRIPTED, service, settings_in, working
from tests.integration.test_examples import operations
from tests.integration.test_openapi import document


@pytest.mark.postgres
@pytest.mark.slow
async def test_a_tour_of_every_route_succeeds_on_postgresql_with_artifacts_in_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KEY_OF_WEBHOOKS", secrets.token_hex(32))
    monkeypatch.setattr(egress, "resolved", found_nowhere)
    described = document(tmp_path)
    database_in(tmp_path, "postgresql")
    with bucket() as url:
        quick = (SCRIPTED, "jobs.poll_s=0.05", "egress.allow_private=true")
        quick += (f"bucket={url}", "webhooks.key_env=KEY_OF_WEBHOOKS")
        with working(settings_in(tmp_path, *quick)):
            async with service(tmp_path, models(), *quick) as client:
                record = Recorder(client, described)
                await tour(record, tmp_path)
    assert set(record.found) == {operation["operationId"] for _, operation in operations(described)}
