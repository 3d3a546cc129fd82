"""The whole service as in production: PostgreSQL, and artifacts in a bucket."""

from pathlib import Path

import pytest

from tests.integration.buckets import bucket
from tests.integration.examples import Recorder, models, tour
from tests.integration.postgres import database_in
from tests.integration.service import service
from tests.integration.test_openapi import document


@pytest.mark.postgres
@pytest.mark.slow
async def test_a_tour_of_every_route_succeeds_on_postgresql_with_artifacts_in_a_bucket(tmp_path: Path):
    described = document(tmp_path)
    with bucket() as url:
        database_in(tmp_path, "postgresql")
        async with service(tmp_path, models(), f"bucket={url}") as client:
            record = Recorder(client, described)
            await tour(record, tmp_path)
