"""Which addresses are served: this machine's always, others with a key and a name."""

from pathlib import Path

import pytest

from api.serving import reachable
from api.store.database import open_database
from api.store.keys import KeyRequest, KeyStore
from solon.errors import InvalidInput
from solon.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(overrides=[f"database=sqlite:///{tmp_path / 'solon.db'}"], environment={})


def with_a_key(settings: Settings) -> Settings:
    database = open_database(settings.database)
    KeyStore(database).create(KeyRequest("somebody", ["read"]))
    database.dispose()
    return settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_addresses_are_served(host: str, settings: Settings):
    assert reachable(host, settings) is settings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_other_addresses_are_refused_as_long_as_there_are_no_keys(host: str, settings: Settings):
    with pytest.raises(InvalidInput, match="no API key") as caught:
        reachable(host, settings)
    assert caught.value.field == "--host"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_with_a_key_an_address_without_a_name_needs_one(host: str, settings: Settings):
    with pytest.raises(InvalidInput) as caught:
        reachable(host, with_a_key(settings))
    assert caught.value.field == "hosts"
    named = settings.model_copy(update={"hosts": ("solon.example.org",)})
    assert reachable(host, named).hosts == ("solon.example.org",)


@pytest.mark.parametrize(("host", "shown"), [("192.168.1.2", "192.168.1.2"), ("fd00::1", "[fd00::1]")])
def test_with_a_key_one_address_is_its_own_name(host: str, shown: str, settings: Settings):
    assert reachable(host, with_a_key(settings)).hosts == (shown,)
