"""Rows that nobody needs any more go, and a failure of one chore does not keep the others from theirs."""

import asyncio
import time
from pathlib import Path

import pytest

from api.housekeeping import Housekeeper
from api.store.database import open_database
from api.store.webhooks import WebhookStore
from tests.integration.postgres import DATABASES, new_database


async def test_every_chore_is_done_again_and_again_whatever_another_does():
    done: list[str] = []

    def broken() -> int:
        raise OSError("the database is away")

    def count() -> int:
        done.append("x")
        return 1

    async with Housekeeper({"broken": broken, "rows": count}, every_s=0.01):
        async with asyncio.timeout(5):
            while len(done) < 3:
                await asyncio.sleep(0.01)
    rested = len(done)
    await asyncio.sleep(0.05)
    assert len(done) == rested


@pytest.mark.parametrize("database", DATABASES)
def test_deliveries_that_ended_long_ago_go_and_pending_ones_stay(database: str, tmp_path: Path):
    store = WebhookStore(open_database(new_database(database, tmp_path)))
    hook = store.create("default", "https://a.example/hook", ["webhook.test"], "", most=2)
    store.test(hook.id, project="default")
    (errand,) = store.take(1)
    store.arrived(errand, 204)
    pending = store.test(hook.id, project="default")
    assert store.forget(time.time() - 60) == 0
    assert store.forget(time.time() + 60) == 1
    kept, _ = store.deliveries(hook.id, project="default", after=None, limit=10, order="asc")
    assert [delivery.id for delivery in kept] == [pending.id]
