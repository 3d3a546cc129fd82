"""Known secrets and credential shapes never pass; ordinary words do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.redaction import REDACTED, Secrets
from solon.settings import ModelEntry, Settings


@given(st.text(min_size=6, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_a_known_secret_stands_nowhere_in_what_is_left(secret: str, before: str, after: str) -> None:
    assert secret not in Secrets([secret]).redact(f"{before}{secret}{after}").replace(REDACTED, "\0")


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer kanarie-4711-kanarie",
        "basic kanarie-4711-kanarie=",
        "postgresql://solon:kanarie-4711@db/solon",
        "https://kanarie-4711@judge/v1",
        'api_key="kanarie-4711"',
        "password=kanarie-4711 and more",
        "x-api-key: kanarie-4711",
        "sk-solon-kanarie4711kanarie",
        "whsec_kanarie4711kanarie4711",
        "ghp_kanarie4711kanarie4711",
    ],
)
def test_what_has_the_shape_of_a_credential_is_taken_out_though_nobody_knew_of_it(text: str) -> None:
    assert "kanarie" not in Secrets().redact(text)


@pytest.mark.parametrize(
    "text",
    ["2 completion_tokens at http://127.0.0.1:8000/v1", "job_01m8hd8v0yc3 is queued", "the secret of a good answer"],
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert Secrets(["abcdefgh"]).redact(text) == text


def test_a_field_with_a_telling_name_is_a_secret_as_a_whole() -> None:
    fields = {"headers": {"Authorization": "whatever"}, "api_key_env": "JUDGE_KEY", "prompt_tokens": 3, "list": ["x"]}

    cleaned = Secrets().cleaned(fields)

    assert cleaned == {
        "headers": {"Authorization": REDACTED},
        "api_key_env": "JUDGE_KEY",
        "prompt_tokens": 3,
        "list": ["x"],
    }


def test_secrets_are_collected_from_keys_in_the_environment_and_from_the_database_url() -> None:
    far = ModelEntry(kind="judge", engine="openai", endpoint="http://h/v1", api_key_env="FAR")
    settings = Settings(database="postgresql://solon:k%2Ddatabase@db/solon", models={"far": far})
    environment = {"FAR": "k-model-key", "OTHER_TOKEN": "k-other-token", "HOME": "/home/k-plain"}

    redact = Secrets.of(settings, environment).redact

    for secret in ("k-model-key", "k-other-token", "k-database", "k%2Ddatabase"):
        assert redact(f"say {secret} now") == f"say {REDACTED} now"
    assert redact("/home/k-plain") == "/home/k-plain"
