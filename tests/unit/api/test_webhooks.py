"""Webhooks: signatures that an independent library accepts, deliveries that outlive servers, receivers that fail."""

import asyncio
import json
import stat
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from api.courier import Courier
from api.lifecycle import Wish
from api.store.database import open_database
from api.store.jobs import JobStore
from api.store.keys import KeyStore
from api.store.webhooks import Webhook, WebhookEvent, WebhookStore, announce
from api.webhook_signing import Signer
from solon.errors import Conflict, InvalidInput, NotFound, QuotaSpent
from solon.settings import Settings
from tests.integration.postgres import DATABASES, new_database
from tests.unit.api.queues import NoQueue

KEY = b"k" * 32


@dataclass
class Receiver:
    """A real HTTP server on loopback; answers with the statuses in turn, the last one for ever."""

    statuses: list[int] = field(default_factory=lambda: [204])
    got: list[tuple[dict[str, str], str]] = field(default_factory=list[tuple[dict[str, str], str]])
    url: str = ""
    headers: str = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append((headers, body.decode()))
        status = self.statuses[min(len(self.got), len(self.statuses)) - 1]
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{self.headers}\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncGenerator[Receiver]:
    receiver = Receiver(list(statuses) or [204])
    listening = await asyncio.start_server(receiver, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/hook"
    async with listening:
        yield receiver


class Office:
    """A store, and couriers of it whose retries are due at once."""

    def __init__(self, url: str, **options: Any) -> None:
        self.engine = open_database(url)
        self.store = WebhookStore(self.engine)
        self.signer = Signer(KEY)
        told = {"retries_s": [0.0, 0.0]} | options
        self.settings = Settings.model_validate({"database": url, "egress": {"allow_private": True}, "webhooks": told})

    def courier(self) -> Courier:
        return Courier(self.store, self.settings, lambda: self.signer)

    def webhook(self, url: str, *events: str, project: str = "acme") -> Webhook:
        return self.store.create(project, url, events, "", most=10)

    def announce(self, kind: WebhookEvent = WebhookEvent.JOB_SUCCEEDED, project: str = "acme") -> int:
        with Session(self.engine) as session, session.begin():
            return announce(session, project, kind, {"object": "job", "id": "job_1"})

    def states(self, webhook: Webhook) -> list[tuple[str, int, int | None]]:
        found, _ = self.store.deliveries(webhook.id, project=webhook.project, after=None, limit=50, order="asc")
        return [(each.status, each.attempts, each.answer) for each in found]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(new_database("sqlite", tmp_path))


async def test_a_delivery_is_signed_as_an_independent_library_expects(office: Office):
    async with receiving() as receiver:
        webhook = office.webhook(receiver.url)
        office.announce()
        assert await office.courier().deliver_due() == 1
        ((headers, body),) = receiver.got
        told = Verifier(office.signer.secret(webhook.id, 1)).verify(body, headers)
        assert (told["type"], told["data"]) == ("job.succeeded", {"object": "job", "id": "job_1"})
        assert abs(datetime.fromisoformat(told["timestamp"]).timestamp() - time.time()) < 60
        assert office.states(webhook) == [("delivered", 1, 204)]
        for other in (office.signer.secret(webhook.id, 2), office.signer.secret("wh_other", 1)):
            with pytest.raises(WebhookVerificationError):
                Verifier(other).verify(body, headers)
        with pytest.raises(WebhookVerificationError):
            Verifier(office.signer.secret(webhook.id, 1)).verify(body + " ", headers)


def test_the_specifications_example_is_signed_the_same_way():
    secret = Signer(KEY).secret("wh_1", 1)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    ours = Signer(KEY).headers("wh_1", (1,), "msg_1", int(at.timestamp()), '{"test": 2432232314}')
    assert ours["webhook-signature"] == Verifier(secret).sign("msg_1", at, '{"test": 2432232314}')


async def test_after_a_rotation_both_secrets_verify_until_the_former_one_ends(office: Office):
    async with receiving() as receiver:
        webhook = office.webhook(receiver.url)
        rotated, number = office.store.rotate(webhook.id, 3600.0, project="acme")
        assert number == 2
        office.announce()
        await office.courier().deliver_due()
        headers, body = receiver.got[-1]
        for each in (1, 2):
            Verifier(office.signer.secret(rotated.id, each)).verify(body, headers)
        office.store.rotate(webhook.id, 0.0, project="acme")
        office.announce()
        await office.courier().deliver_due()
        headers, body = receiver.got[-1]
        Verifier(office.signer.secret(rotated.id, 3)).verify(body, headers)
        with pytest.raises(WebhookVerificationError):
            Verifier(office.signer.secret(rotated.id, 2)).verify(body, headers)


async def test_a_failed_delivery_is_tried_again_with_the_same_id_by_whichever_server_comes_next(office: Office):
    async with receiving(500, 302, 200) as receiver:
        webhook = office.webhook(receiver.url)
        office.announce()
        for _ in range(3):
            assert await office.courier().deliver_due() == 1
        assert office.states(webhook) == [("delivered", 3, 200)]
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
        assert office.store.get(webhook.id, project="acme").failing_since is None


async def test_a_delivery_that_its_courier_did_not_finish_is_due_again_when_its_lease_ends(office: Office):
    webhook = office.webhook("http://127.0.0.1:9/")
    office.announce()
    now = time.time() + 1
    assert len(office.store.take(10, now)) == 1  # and the server is killed
    assert office.store.take(10, now + 100) == []
    assert len(office.store.take(10, now + 121)) == 1
    assert office.states(webhook) == [("pending", 2, None)]


async def test_after_the_last_attempt_a_delivery_has_failed(office: Office):
    async with receiving(500) as receiver:
        webhook = office.webhook(receiver.url)
        office.announce()
        attempts = [await office.courier().deliver_due() for _ in range(5)]
        assert attempts == [1, 1, 1, 0, 0]
        assert office.states(webhook) == [("failed", 3, 500)]
        assert office.store.get(webhook.id, project="acme").disabled_at is None


async def test_a_webhook_that_fails_for_too_long_is_disabled_until_it_is_enabled_again(tmp_path: Path):
    office = Office(new_database("sqlite", tmp_path), disable_after_s=0.0)
    async with receiving(500, 200) as receiver:
        webhook = office.webhook(receiver.url)
        office.announce()
        await office.courier().deliver_due()
        disabled = office.store.get(webhook.id, project="acme")
        assert (disabled.disabled_why, disabled.disabled_at is None) == ("HTTP 500", False)
        assert office.announce() == 0
        with pytest.raises(Conflict):
            office.store.test(webhook.id, project="acme")
        office.store.change(webhook.id, {"enabled": True}, project="acme")
        office.announce()
        await office.courier().deliver_due()
        assert [state for state, _, _ in office.states(webhook)] == ["failed", "delivered"]


async def test_a_receiver_that_is_gone_is_left_alone_at_once(office: Office):
    async with receiving(410) as receiver:
        webhook = office.webhook(receiver.url)
        office.announce()
        await office.courier().deliver_due()
        assert office.states(webhook) == [("failed", 1, 410)]
        assert office.store.get(webhook.id, project="acme").disabled_why == "HTTP 410"


async def test_a_receiver_that_asks_for_time_gets_it(office: Office):
    office.settings = office.settings.model_copy(
        update={"webhooks": office.settings.webhooks.model_copy(update={"retries_s": (0.0, 900.0)})}
    )
    async with receiving(429) as receiver:
        receiver.headers = "Retry-After: 600\r\n"
        webhook = office.webhook(receiver.url)
        office.announce()
        await office.courier().deliver_due()
        (waiting,), _ = office.store.deliveries(webhook.id, project="acme", after=None, limit=9, order="asc")
        assert 590 < waiting.due_at - time.time() < 610


async def test_an_address_that_may_not_be_called_any_more_gets_nothing(tmp_path: Path):
    office = Office(new_database("sqlite", tmp_path))
    office.settings = office.settings.model_copy(update={"egress": Settings().egress})
    async with receiving() as receiver:
        webhook = office.webhook(receiver.url)
        office.announce()
        await office.courier().deliver_due()
        assert (receiver.got, office.states(webhook)[0][0]) == ([], "pending")


def test_an_event_goes_to_the_webhooks_of_its_project_that_want_it(office: Office):
    everything = office.webhook("https://a.example/")
    some = office.webhook("https://b.example/", "job.failed")
    other = office.webhook("https://c.example/", project="other")
    assert (office.announce(), office.announce(WebhookEvent.JOB_FAILED)) == (1, 2)
    assert [len(office.states(each)) for each in (everything, some, other)] == [2, 1, 0]
    with pytest.raises(NotFound):
        office.store.deliveries(some.id, project="other", after=None, limit=1, order="asc")


def test_an_event_is_stored_with_what_it_tells_of_or_not_at_all(office: Office):
    webhook = office.webhook("https://a.example/")
    with Session(office.engine) as session:
        assert announce(session, "acme", WebhookEvent.JOB_FAILED, {}) == 1
        session.rollback()
    assert office.states(webhook) == []


@pytest.mark.parametrize("kind", DATABASES)
def test_couriers_at_work_at_once_take_each_delivery_once(kind: str, tmp_path: Path):
    office = Office(new_database(kind, tmp_path))
    office.webhook("https://a.example/")
    for _ in range(40):
        office.announce()
    with ThreadPoolExecutor(8) as threads:
        rounds = list(threads.map(lambda _: office.store.take(7), range(24)))
    taken = [errand.delivery.id for errands in rounds for errand in errands]
    while more := office.store.take(7):
        taken += [errand.delivery.id for errand in more]
    assert (len(taken), len(set(taken))) == (40, 40)


async def test_a_running_courier_delivers_what_it_is_woken_for(office: Office):
    async with receiving() as receiver, office.courier() as courier:
        webhook = office.webhook(receiver.url)
        office.store.test(webhook.id, project="acme")
        courier.wake()
        async with asyncio.timeout(20):
            while not receiver.got:
                await asyncio.sleep(0.02)
        assert json.loads(receiver.got[0][1])["type"] == "webhook.test"


def test_the_key_is_made_once_and_read_by_nobody_else(tmp_path: Path):
    settings = Settings(database=f"sqlite:///{tmp_path / 'solon.db'}")
    with ThreadPoolExecutor(8) as threads:
        secrets = set(threads.map(lambda _: Signer.of(settings).secret("wh_1", 1), range(16)))
    (file,) = tmp_path.iterdir()
    assert (len(secrets), stat.S_IMODE(file.stat().st_mode)) == (1, 0o600)


def test_a_key_of_the_environment_comes_first_and_is_long_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = Settings.model_validate({"database": "postgresql+psycopg://x/y", "webhooks": {"key_env": "HOOK_KEY"}})
    monkeypatch.setenv("HOOK_KEY", "k" * 31)
    with pytest.raises(InvalidInput, match="32 characters"):
        Signer.of(settings)
    monkeypatch.setenv("HOOK_KEY", KEY.decode())
    assert Signer.of(settings).secret("wh_1", 1) == Signer(KEY).secret("wh_1", 1)
    with pytest.raises(InvalidInput, match="no file"):
        Signer.of(Settings(database="postgresql+psycopg://x/y"))


def test_the_database_holds_no_secret(office: Office, tmp_path: Path):
    webhook = office.webhook("https://a.example/")
    office.announce()
    office.engine.dispose()
    written = b"".join(path.read_bytes() for path in tmp_path.glob("solon.db*"))
    secret = office.signer.secret(webhook.id, 1)
    assert webhook.id.encode() in written
    assert secret.encode() not in written
    assert secret.removeprefix("whsec_").encode() not in written


def test_a_job_that_comes_to_rest_tells_the_webhooks_of_its_project_once(office: Office):
    told, other = office.webhook("https://a.example/"), office.webhook("https://b.example/", project="other")
    jobs = JobStore(office.engine, NoQueue())
    job = jobs.create({"name": "r"}, max_queued=9, project="acme")
    for _ in range(2):
        jobs.wish(job.id, Wish.CANCEL, project="acme")
    (errand,) = office.store.take(9)
    assert json.loads(errand.body)["data"] == {"object": "job", "id": job.id, "status": "cancelled"}
    assert (errand.delivery.type, errand.url) == ("job.cancelled", told.url)
    assert office.states(other) == []


@pytest.mark.parametrize("kind", DATABASES)
def test_jobs_sent_at_once_are_no_more_than_may_wait(kind: str, tmp_path: Path):
    office = Office(new_database(kind, tmp_path))
    KeyStore(office.engine).create_project("acme")
    jobs = JobStore(office.engine, NoQueue())

    def submit(_: int) -> bool:
        try:
            jobs.create({"name": "r"}, max_queued=99, max_of_project=3, project="acme")
        except QuotaSpent:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(submit, range(12))) == 3
