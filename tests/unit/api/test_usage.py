"""What projects use: counted exactly, whoever counts at the same time, on both databases."""

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest

from api import tally
from api.limits import Metered, MeteredModels, Quotas
from api.store.database import open_database
from api.store.files import FileStore, Upload, new_file_id
from api.store.keys import KeyStore
from api.store.usage import UsageStore, period_of
from api.tally import Tally
from solon.chat import ChatReply, RequestFailed
from solon.errors import InvalidInput, QuotaSpent, StorageUnavailable
from solon.fakes import Call, ScriptedChat, text_reply
from solon.records import Message
from solon.settings import ModelEntry, Price, Quota, Settings
from tests.integration.postgres import DATABASES, new_database
from tests.unit.constitution.stores import processes

HELLO = (Message(role="user", content="Hello there"),)
NOON = datetime(2026, 2, 28, 12, 30, 15, tzinfo=UTC).timestamp()


def usage_in(url: str, quota: Quota | None = None) -> UsageStore:
    return UsageStore(open_database(url), quota or Quota())


def take_many(url: str, times: int, limit: float) -> int:
    """How many of the takes were let through."""
    usage, taken = usage_in(url), 0
    for _ in range(times):
        try:
            usage.take("acme", "calls_per_month", 1, limit)
            taken += 1
        except QuotaSpent:
            continue
    return taken


@pytest.mark.parametrize("kind", DATABASES)
def test_threads_take_what_there_is_and_no_more(kind: str, tmp_path: Path):
    usage = usage_in(new_database(kind, tmp_path))

    def take(_: int) -> bool:
        try:
            usage.take("acme", "calls_per_month", 1, 50)
        except QuotaSpent:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(take, range(120))) == 50
    assert usage.used("acme") == {"calls_per_month": 50}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATABASES)
def test_processes_take_what_there_is_and_no_more(kind: str, tmp_path: Path):
    url = new_database(kind, tmp_path)
    usage = usage_in(url)
    with processes().Pool(4) as pool:
        taken = pool.starmap(take_many, [(url, 40, 90)] * 4)
    assert sum(taken) == 90
    assert usage.used("acme") == {"calls_per_month": 90}


@pytest.mark.parametrize("kind", DATABASES)
def test_giving_and_taking_at_once_never_goes_below_nothing(kind: str, tmp_path: Path):
    usage = usage_in(new_database(kind, tmp_path))

    def turn(number: int) -> None:
        if number % 3:
            usage.give("acme", "usd_per_day", 7)
        else:
            usage.take("acme", "usd_per_day", 5, 1000)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(turn, range(60)))
    assert usage.used("acme").get("usd_per_day", 0) >= 0


def test_an_amount_is_taken_whole_or_not_at_all(tmp_path: Path):
    usage = usage_in(new_database("sqlite", tmp_path))
    assert usage.take("acme", "usd_per_day", 0.75, 1.0) == 0.75
    with pytest.raises(QuotaSpent):
        usage.take("acme", "usd_per_day", 0.5, 1.0)
    with pytest.raises(QuotaSpent):
        usage.take("other", "usd_per_day", 1.5, 1.0)
    assert usage.take("acme", "usd_per_day", 0.25, 1.0) == 1.0
    assert usage.used("other") == {}


def test_projects_and_periods_are_counted_apart(tmp_path: Path):
    usage = usage_in(new_database("sqlite", tmp_path))
    usage.take("acme", "calls_per_day", 1, 1, NOON)
    usage.take("other", "calls_per_day", 1, 1, NOON)
    with pytest.raises(QuotaSpent):
        usage.take("acme", "calls_per_day", 1, 1, NOON)
    usage.take("acme", "calls_per_day", 1, 1, NOON + 86_400)
    assert usage.used("acme", NOON) == {"calls_per_day": 1}
    assert usage.forget(NOON + 86_400) == 2
    assert usage.used("acme", NOON) == {}


@pytest.mark.parametrize(
    ("what", "name", "left_s"),
    [
        ("requests_per_minute", "2026-02-28T12:30Z", 45),
        ("calls_per_day", "2026-02-28", 11.5 * 3600 - 15),
        ("usd_per_month", "2026-02", 11.5 * 3600 - 15),
        ("storage_bytes", "", None),
    ],
)
def test_a_period_ends_where_the_calendar_says(what: str, name: str, left_s: float | None):
    assert (period_of(what, NOON).name, period_of(what, NOON).left_s) == (name, left_s)


def priced(reply: ChatReply | None = None, fails: bool = False) -> ScriptedChat:
    def script(_: Call) -> ChatReply:
        if fails:
            raise RequestFailed("no")
        return reply or text_reply("one two three", prompt_tokens=5)

    return ScriptedChat("judge", script)


DEAR = ModelEntry(kind="judge", engine="vllm", endpoint="http://x/v1", price=Price(prompt=1e4, completion=1e4))


async def test_calls_are_counted_until_they_are_spent(tmp_path: Path):
    quotas = Quotas(usage_in(new_database("sqlite", tmp_path), Quota(calls_per_day=3)))
    model = Metered(priced(), "default", quotas, None)
    asked = [model.complete(HELLO, max_tokens=5) for _ in range(8)]
    ended = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(each, ChatReply) for each in ended) == 3
    refused = [each for each in ended if isinstance(each, QuotaSpent)]
    assert len(refused) == 5
    assert 0 < refused[0].retry_after_s <= 86_400


async def test_what_has_no_limit_is_counted_and_a_limit_set_later_knows_of_it(tmp_path: Path):
    usage = usage_in(new_database("sqlite", tmp_path), Quota(calls_per_month=9))
    quotas = Quotas(usage)
    model = Metered(priced(), "default", quotas, DEAR)
    await asyncio.gather(*(model.complete(HELLO, max_tokens=5) for _ in range(4)))
    with pytest.raises(RequestFailed):
        await Metered(priced(fails=True), "default", quotas, DEAR).complete(HELLO, max_tokens=5)
    await quotas.tally.close()

    cost = pytest.approx(4 * 0.08)
    assert usage.used("default") == {
        "calls_per_day": 5,
        "calls_per_month": 5,
        "usd_per_day": cost,
        "usd_per_month": cost,
    }
    with pytest.raises(QuotaSpent):
        usage.take("default", "calls_per_day", 1, 5)


async def test_what_is_tallied_is_written_by_itself_and_waits_for_a_database_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = usage_in(new_database("sqlite", tmp_path))
    monkeypatch.setattr(tally, "WRITTEN_EVERY_S", 0.0)
    monkeypatch.setattr(usage, "add", Mock(side_effect=StorageUnavailable("away", remedy="wait")))
    sums = Tally(usage)
    sums.add("acme", "calls_per_day", 2)
    await sums.write()
    monkeypatch.undo()
    monkeypatch.setattr(tally, "WRITTEN_EVERY_S", 0.0)
    sums.add("acme", "calls_per_day", 1)
    while not usage.used("acme"):
        await asyncio.sleep(0.01)
    assert usage.used("acme") == {"calls_per_day": 3}


@pytest.mark.parametrize("kind", DATABASES)
def test_what_processes_add_at_once_is_all_counted(kind: str, tmp_path: Path):
    usage = usage_in(new_database(kind, tmp_path))
    sums = [(project, what, period_of(what).name) for project in "ab" for what in ("calls_per_day", "calls_per_month")]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(usage.add, [dict.fromkeys(random.sample(sums, 4), 1.0) for _ in range(40)]))
    assert usage.used("a") == usage.used("b") == {"calls_per_day": 40, "calls_per_month": 40}


async def test_money_is_kept_back_for_calls_under_way_and_given_back_after_them(tmp_path: Path):
    usage = usage_in(new_database("sqlite", tmp_path), Quota(usd_per_day=1.0))
    slow = ScriptedChat("judge", lambda _: text_reply("one two three", prompt_tokens=5), latency_s=0.05)
    model = Metered(slow, "default", Quotas(usage), DEAR)
    # 11 bytes and 16 tokens of template, and 13 to write: 0.40 USD at most, of which 0.08 are spent.
    ended = await asyncio.gather(*(model.complete(HELLO, max_tokens=13) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(each, ChatReply) for each in ended) == 2
    assert usage.used("default")["usd_per_day"] == pytest.approx(0.16)
    await model.complete(HELLO, max_tokens=13)


async def test_a_failed_call_costs_no_money(tmp_path: Path):
    usage = usage_in(new_database("sqlite", tmp_path), Quota(usd_per_day=1.0, calls_per_day=5))
    with pytest.raises(RequestFailed):
        await Metered(priced(fails=True), "default", Quotas(usage), DEAR).complete(HELLO, max_tokens=13)
    assert usage.used("default") == {"usd_per_day": pytest.approx(0.0), "calls_per_day": 1}


async def test_money_cannot_be_limited_where_the_price_is_not_known(tmp_path: Path):
    quotas = Quotas(usage_in(new_database("sqlite", tmp_path), Quota(usd_per_day=1.0)))
    unpriced = DEAR.model_copy(update={"price": None})
    with pytest.raises(InvalidInput, match="price"):
        await Metered(priced(), "default", quotas, unpriced).complete(HELLO, max_tokens=1)


async def test_a_quota_of_its_own_replaces_that_of_the_settings(tmp_path: Path):
    database = open_database(new_database("sqlite", tmp_path))
    keys, usage = KeyStore(database), UsageStore(database, Quota(calls_per_day=1))
    keys.create_project("acme", Quota(calls_per_day=2))
    assert (usage.quota("acme"), usage.quota("default")) == (Quota(calls_per_day=2), Quota(calls_per_day=1))
    keys.set_quota("acme", None)
    assert usage.quota("acme") == Quota(calls_per_day=1)


async def test_a_model_that_scores_still_does_and_another_still_does_not(tmp_path: Path):
    class Models:
        async def chat(self, name: str) -> ScriptedChat:
            return priced()

        async def serve(self, directories: object) -> None: ...

    quotas = Quotas(usage_in(new_database("sqlite", tmp_path)))
    found = await MeteredModels(Models(), Settings(), quotas).chat("judge")
    assert not hasattr(found, "score")


@pytest.mark.parametrize("kind", DATABASES)
def test_files_sent_at_once_have_no_more_bytes_than_the_project_may(kind: str, tmp_path: Path):
    database = open_database(new_database(kind, tmp_path))
    KeyStore(database).create_project("acme")
    files = FileStore(database)
    upload = Upload(filename="f", purpose="user_data", bytes=40, sha256="0" * 64, rows=None)

    def add(_: int) -> bool:
        try:
            files.create(new_file_id(), upload, project="acme", most_bytes=100)
        except QuotaSpent:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(add, range(12))) == 2
    assert UsageStore(database, Quota()).used("acme") == {"storage_bytes": 80}
