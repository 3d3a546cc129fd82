"""Keys and projects in the database: what is kept, what is valid, what only grows."""

import re
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from api.store.changes import ChangeStore
from api.store.database import open_database
from api.store.keys import KeyRequest, KeyStore, digest_of
from solon.errors import Conflict, NotFound
from tests.integration.postgres import DATABASES, new_database


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(open_database(new_database("sqlite", tmp_path)))


def test_a_key_has_256_random_bits_and_is_found_again(keys: KeyStore):
    made = [keys.create(KeyRequest("ada", ["read"])) for _ in range(3)]
    assert all(re.fullmatch(r"sk-solon-[A-Za-z0-9_-]{43}", each.key) for each in made)
    assert len({each.key for each in made}) == 3
    found = keys.valid(made[1].key)
    assert found is not None
    assert (found.id, found.scopes, found.hint) == (made[1].id, ("read",), made[1].key[-4:])


def test_the_database_holds_the_hash_of_a_key_and_not_the_key(tmp_path: Path):
    keys = KeyStore(open_database(f"sqlite:///{tmp_path / 'solon.db'}"))
    made = keys.create(KeyRequest("ada", ["read"]))
    written = b"".join(path.read_bytes() for path in tmp_path.glob("solon.db*"))
    assert digest_of(made.key).encode() in written
    assert made.key.encode() not in written
    assert made.key.removeprefix("sk-solon-").encode() not in written


@pytest.mark.parametrize("wrong", ["", "sk-solon-", "sk-solon-" + "A" * 43, "Bearer", "\x00", "x" * 10_000])
def test_another_key_is_not_valid(wrong: str, keys: KeyStore):
    keys.create(KeyRequest("ada", ["read"]))
    assert keys.valid(wrong) is None


def test_a_key_expires_to_the_second(keys: KeyStore):
    until = time.time() + 100
    key = keys.create(KeyRequest("ada", ["read"], expires_at=until)).key
    assert keys.valid(key, until - 1) is not None
    assert keys.valid(key, until) is None


def test_a_revoked_key_is_refused_at_once_and_stays_on_record(keys: KeyStore):
    made = keys.create(KeyRequest("ada", ["read"]))
    first = keys.revoke(made.id, project=None)
    assert keys.valid(made.key) is None
    assert keys.revoke(made.id, project=None) == first
    assert [key.id for key in keys.keys(project="default")] == [made.id]
    assert keys.any_key(), "revoking the last key must not open the service"


def test_the_use_of_a_key_is_noted_at_most_once_a_minute(keys: KeyStore):
    made, now = keys.create(KeyRequest("ada", ["read"])), time.time()
    for later in (0, 30, 61):
        keys.valid(made.key, now + later)
    assert keys.get(made.id, project=None).last_used_at == now + 61


def test_a_key_of_another_project_is_not_found(keys: KeyStore):
    keys.create_project("acme")
    made = keys.create(KeyRequest("ada", ["read"], "acme"))
    for lost in (made.id, "key_00000000000000000000000000"):
        with pytest.raises(NotFound) as caught:
            keys.get(lost, project="default")
        assert str(caught.value) == "id: there is no such key (GET /v1/keys lists the keys)"
    with pytest.raises(NotFound):
        keys.revoke(made.id, project="default")
    assert keys.valid(made.key) is not None


def test_a_project_has_a_salt_of_its_own_and_the_default_one_none(keys: KeyStore):
    with pytest.raises(NotFound):
        keys.create(KeyRequest("ada", ["read"], "acme"))
    for project in ("acme", "other"):
        keys.create_project(project)
    with pytest.raises(Conflict):
        keys.create_project("acme")
    assert keys.salt("default") is None
    assert len({keys.salt("acme"), keys.salt("other"), None}) == 3


@pytest.mark.parametrize("kind", DATABASES)
def test_the_change_log_only_grows(kind: str, tmp_path: Path):
    database = open_database(new_database(kind, tmp_path))
    changes = ChangeStore(database)
    for number in range(3):
        changes.append(project="acme", key="key_1", name="ada", action="POST /v1/jobs", target=f"job_{number}")
    for statement in ("UPDATE changes SET name = 'eve'", "DELETE FROM changes"):
        with pytest.raises(DatabaseError, match="only grows"), database.begin() as connection:
            connection.execute(text(statement))
    found, more = changes.page(after=None, limit=2, order="desc", project="acme")
    assert ([each.target for each in found], more) == (["job_2", "job_1"], True)
    assert changes.page(after=None, limit=2, order="desc", project="other") == ([], False)
