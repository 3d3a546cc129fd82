"""Settings: layers, precise errors, the model registry."""

from pathlib import Path

import pytest

from solon.errors import InvalidInput, ModelUnavailable, NotFound
from solon.settings import ModelEntry, Settings


def load(tmp_path: Path, text: str = "", *overrides: str, **environment: str) -> Settings:
    file = tmp_path / "solon.yaml"
    file.write_text(text)
    return Settings.load(file, overrides, environment)


def test_the_starter_models_are_built_in(tmp_path: Path):
    settings = load(tmp_path)
    assert settings.model("starter", "policy").path == "builtin:starter"
    assert settings.model("starter-judge", "judge").engine == "local"


def test_later_layers_win(tmp_path: Path):
    text = "database: sqlite:///file.db\nmodels: {starter: {timeout_s: 1, max_concurrency: 2}}\n"
    settings = load(
        tmp_path,
        text,
        "models.starter.max_concurrency=4",
        SOLON_MODELS__STARTER__MAX_CONCURRENCY="3",
        SOLON_MODELS__STARTER_JUDGE__TIMEOUT_S="9",
        OTHER="x",
    )
    assert settings.database == "sqlite:///file.db"
    assert settings.models["starter"].timeout_s == 1
    assert settings.models["starter"].max_concurrency == 4
    assert settings.models["starter-judge"].timeout_s == 9


def test_a_model_can_be_registered_in_one_override(tmp_path: Path):
    settings = load(tmp_path, "", "models.mine={kind: policy, path: some/dir}")
    assert settings.model("mine") == ModelEntry(kind="policy", path="some/dir")


@pytest.mark.parametrize(
    ("text", "overrides", "environment", "field", "says"),
    [
        ("models: {m: {kind: policy}}", (), {}, "models.m", "needs `path`"),
        ("models: {m: {kind: policy, engine: openai}}", (), {}, "models.m", "needs `endpoint`"),
        ("models: {m: {kind: oracle, path: x}}", (), {}, "models.m.kind", "'policy', 'judge' or 'reward'"),
        ("databse: x", (), {}, "databse", "Extra inputs"),
        ("", ("models.starter.timeout_s=-1",), {}, "models.starter.timeout_s", "greater than 0"),
        ("", (), {"SOLON_DATABSE": "x"}, "SOLON_DATABSE", "not a setting"),
        ("server: x", ("server.a=2",), {}, "server", "single value"),
        ("", ("database",), {}, None, "cannot read the override"),
        ("a: [", (), {}, None, "line 1, column"),
        ("a: 1\na: 2", (), {}, None, "duplicate key"),
        ("- a", (), {}, None, "mapping"),
    ],
)
def test_wrong_settings_name_the_field_and_the_remedy(
    tmp_path: Path, text: str, overrides: tuple[str, ...], environment: dict[str, str], field: str | None, says: str
):
    with pytest.raises(InvalidInput, match=says) as caught:
        load(tmp_path, text, *overrides, **environment)
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_named_file_must_exist_and_the_default_one_need_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert Settings.load(environment={}).models
    with pytest.raises(NotFound, match=r"no file .*absent\.yaml"):
        Settings.load(tmp_path / "absent.yaml", environment={})


def test_an_unknown_model_lists_the_known_ones_of_the_kind(tmp_path: Path):
    with pytest.raises(NotFound) as caught:
        load(tmp_path).model("gpt", "judge")
    assert caught.value.remedy == "registered: starter-judge, starter-marker"


def test_a_policy_is_no_judge(tmp_path: Path):
    with pytest.raises(InvalidInput, match="is a policy, not a judge"):
        load(tmp_path).model("starter", "judge")


def test_an_endpoint_key_comes_from_the_named_variable(monkeypatch: pytest.MonkeyPatch):
    entry = ModelEntry(kind="judge", engine="openai", endpoint="http://h/v1", api_key_env="THE_KEY")
    monkeypatch.setenv("THE_KEY", "s3cret")
    assert entry.api_key() == "s3cret"
    assert "s3cret" not in repr(entry)
    monkeypatch.delenv("THE_KEY")
    with pytest.raises(ModelUnavailable, match="THE_KEY"):
        entry.api_key()


def test_a_model_directory_must_be_there(tmp_path: Path):
    entry = ModelEntry(kind="policy", path=str(tmp_path))
    with pytest.raises(NotFound, match="no model directory"):
        entry.directory()
    (tmp_path / "adapter_config.json").write_text("{}")
    assert entry.directory() == tmp_path
    (tmp_path / "adapter_config.json").rename(tmp_path / "config.json")
    assert entry.directory() == tmp_path
