"""All settings in one frozen object, and the registry of models that users name.

Layers, later ones win: built-in models, `solon.yaml`, `SOLON_A__B` environment variables, `--set a.b=c`. API keys are
never settings: an entry names the environment variable that holds one.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, StringConstraints, model_validator

from solon.access_settings import EgressRules, Part, Tenancy, Webhooks
from solon.access_settings import Quota as Quota
from solon.documents import assign, override, parse_value, read_yaml, validated
from solon.errors import InvalidInput, ModelUnavailable, NotFound
from solon.service_settings import JobOptions, Limits, Logs, Probes

DEFAULT_FILE = Path("solon.yaml")
BUILTIN = "builtin:"

DEFAULT_PROJECT = "default"
"""What belongs to nobody in particular: all there is, until keys are made."""
ProjectId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
"""Name that a model is registered under."""
Kind = Literal["policy", "judge", "reward"]
CompletionLabel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,12}$")]
"""What a completion is called in a judge's prompt."""


class JudgeOptions(Part):
    """How a registered judge is asked, and what is made of its answers; see docs/judges.md."""

    method: Literal["logprobs", "json", "cot", "score", "reward_model"] = "logprobs"
    labels: tuple[CompletionLabel, CompletionLabel] = ("A", "B")
    """What the two completions are called in the prompt; `solon model calibrate` says which suit the judge."""
    fences: bool | None = None
    """Whether each pair's frames have a suffix that none of its texts holds, as in [A 3f9c2a]; None: yes, but for the
    shipped models, which never saw one."""
    min_label_mass: float = Field(default=0.5, ge=0, le=1)
    """With less probability than this on the labels together, an answer is `off_format`."""
    swap: Literal["probability", "logit"] = "probability"
    """Where the two orders are averaged."""
    calibration_temperature: float = Field(default=1.0, gt=0, le=100)
    """Divides the log-odds of the average; `solon model calibrate` fits it."""
    clamp: tuple[float, float] = (0.40, 0.60)
    """json, cot: bounds of a probability that follows a written argument; [0, 1] takes it as it is."""
    max_tokens: int = Field(default=512, ge=1, le=32768)
    """json, cot: of the reason or argument."""
    samples: int = Field(default=1, ge=1, le=64)
    """cot: arguments per order; more than one are sampled at temperature 1."""
    scale: int = Field(default=10, ge=2, le=10)
    """score: marks go from 1 to here."""

    @model_validator(mode="after")
    def _makes_sense(self) -> "JudgeOptions":
        if self.labels[0] == self.labels[1]:
            raise ValueError("`labels` must differ")
        if not 0 <= self.clamp[0] <= 0.5 <= self.clamp[1] <= 1:
            raise ValueError("`clamp` must be two probabilities around 0.5, such as [0.40, 0.60]")
        return self


class Price(Part):
    """What a model's tokens cost, in US dollars for a million."""

    prompt: float = Field(default=0.0, ge=0)
    completion: float = Field(default=0.0, ge=0)
    cached_prompt: float | None = Field(default=None, ge=0)
    """Of prompt tokens that the server finds in its prefix cache; None: as any other."""

    def cost_usd(self, prompt_tokens: float, completion_tokens: float, cached_prompt_tokens: float = 0.0) -> float:
        """The price of these tokens; the cached ones are among the prompt's."""
        cached = self.prompt if self.cached_prompt is None else self.cached_prompt
        read = (prompt_tokens - cached_prompt_tokens) * self.prompt + cached_prompt_tokens * cached
        return (read + completion_tokens * self.completion) / 1_000_000


class ModelEntry(Part):
    """A registered model: what it is for and where it is."""

    kind: Kind
    engine: Literal["local", "vllm", "openai", "jury"] = "local"
    """local: served by our own small server from `path`; vllm, openai: a server that runs already, at `endpoint`;
    jury: several registered judges as one."""
    path: str | None = None
    """Model directory, or `builtin:NAME` for one that is shipped."""
    endpoint: str | None = None
    """Base URL of an OpenAI-compatible server, ending in /v1."""
    model: str | None = None
    """The name that the server knows it by; None: the registered name."""
    revision: str | None = None
    """Recorded in the provenance of labels."""
    judge: JudgeOptions = JudgeOptions()
    """Of a judge: how it is asked."""
    members: dict[ModelName, float] = Field(default_factory=dict)
    """Of a jury: registered judges and their weights, relative to each other."""
    quorum: int | None = Field(default=None, ge=1)
    """Of a jury: how many judges suffice when others fail; None: all."""
    family: str | None = None
    """Models of one family share their ways of writing; None: taken from the name of the model, where that tells. A
    pair of which only one side was written by the judge's own family is flagged."""
    profile: dict[str, float] = Field(default_factory=dict)
    """Value profile that its conversations begin with, for a policy that was trained under profiles: factors for the
    weights of principles, by id or `tag:NAME`."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the endpoint's key."""
    adapters: str | None = None
    """Of a vLLM server that takes adapters while it runs: folder in which PPO leaves them for it, under a path that
    both see."""
    price: Price | None = None
    """For estimates, budgets and accounts; None: not known."""
    characters_per_token: float = Field(default=4.0, gt=0)
    """For estimates; a dataset's manifest says how many tokens there really were."""
    max_concurrency: int = Field(default=64, ge=1, le=4096)
    timeout_s: float = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _can_be_found(self) -> "ModelEntry":
        if self.engine == "local" and not self.path:
            raise ValueError("engine `local` needs `path`")
        if self.engine == "jury" and (self.kind != "judge" or not self.members):
            raise ValueError("engine `jury` needs kind `judge` and `members`")
        if self.engine != "jury" and (self.members or self.quorum is not None):
            raise ValueError("`members` and `quorum` belong to engine `jury`")
        if self.quorum is not None and self.quorum > len(self.members):
            raise ValueError(
                f"`quorum` is {self.quorum} of {len(self.members)} `members`: lower it, or name more members"
            )
        if any(weight <= 0 for weight in self.members.values()):
            raise ValueError("the weights of `members` must be greater than 0")
        if self.engine not in ("local", "jury") and not (self.endpoint or self.path):
            raise ValueError(f"engine `{self.engine}` needs `endpoint`")
        if self.adapters is not None and (self.engine != "vllm" or self.kind != "policy"):
            raise ValueError("`adapters` belong to engine `vllm` and kind `policy`")
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError("`endpoint` must begin with http:// or https://")
        if self.endpoint and "@" in self.endpoint.split("://", 1)[1].partition("/")[0]:
            raise ValueError("`endpoint` holds credentials: name the variable that holds a key in `api_key_env`")
        return self

    @property
    def fenced(self) -> bool:
        """Whether it judges with fences; a shipped model is known by its path or by its name at the server."""
        shipped = (self.path or "").startswith(BUILTIN) or self.model in _BUILTIN_MODELS
        return not shipped if self.judge.fences is None else self.judge.fences

    def api_key(self) -> str | None:
        """The endpoint's key, or None where none is needed; raises where the named variable is empty."""
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env)
        if not key:
            raise ModelUnavailable(
                f"the key in ${self.api_key_env} is not set", remedy=f"export {self.api_key_env}=..."
            )
        return key

    def directory(self) -> Path:
        """The model's directory on this machine; raises where it has none or it is not there."""
        if self.path is None:
            raise NotFound("the model has no directory here", field="path", remedy="register it with `path`")
        where = _builtin(self.path.removeprefix(BUILTIN)) if self.path.startswith(BUILTIN) else Path(self.path)
        if not holds_model(where):
            raise NotFound(
                f"no model directory at {where}", field="path", remedy="it must hold config.json and weights"
            )
        return where


ADAPTER = "adapter_config.json"
"""File of a directory that holds an adapter instead of whole weights, and names its base."""


def holds_model(path: Path) -> bool:
    """Whether the directory is a model's: whole weights, or an adapter."""
    return (path / "config.json").is_file() or (path / ADAPTER).is_file()


def _builtin(name: str) -> Path:
    """Directory of a shipped model; found without importing the trainer, which may not be installed."""
    return Path(__file__).resolve().parent.parent / "trainer" / "starter" / "weights" / name


class Publishing(Part):
    """What a constitution must show before it is published."""

    floor: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of its cases that must pass; 0 demands nothing. A request may ask for more."""
    judge: ModelName | None = None
    """Registered judge that tries the cases where a request names none."""


class Settings(Part):
    """Everything that is configured."""

    database: str = "sqlite:///solon.db"
    """SQLAlchemy URL."""
    constitutions: Path | None = None
    """Directory under git for drafts, versions and labels of constitutions; None keeps them in the database."""
    publishing: Publishing = Publishing()
    artifacts: Path = Path("artifacts")
    """Folder in which jobs work and which holds what is published; `s3://BUCKET/PREFIX` sets `bucket` instead."""
    bucket: (
        Annotated[str, StringConstraints(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/\s]+)*/?$")] | None
    ) = None
    """`s3://BUCKET/PREFIX`, for several hosts: files and finished steps are published there, and `artifacts` is the
    folder of this machine in which jobs work."""
    cache: Path | Literal["off"] | None = None
    """SQLite file with the judges' answers, shared by all jobs; on a disk of this machine. Null: `judgements.db` in
    `artifacts`; `off`: none."""
    project: ProjectId = DEFAULT_PROJECT
    """Whose constitutions, judgements and jobs commands work on; requests name theirs by their key."""
    tenancy: Tenancy = Tenancy()
    egress: EgressRules = EgressRules()
    webhooks: Webhooks = Webhooks()
    hosts: tuple[str, ...] = ()
    """Names and addresses, besides those of this machine, under which the service may be reached; `*` is any."""
    server: str = "http://127.0.0.1:8000"
    """The service that `solon job` talks to."""
    vllm: str = "vllm"
    """The vllm command; vLLM lives in an environment of its own."""
    limits: Limits = Limits()
    logs: Logs = Logs()
    probes: Probes = Probes()
    jobs: JobOptions = JobOptions()
    models: dict[ModelName, ModelEntry] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _artifacts_in_a_bucket(cls, values: Any) -> Any:
        if isinstance(values, dict) and str(cast(dict[str, Any], values).get("artifacts", "")).startswith("s3://"):
            given = dict(cast(dict[str, Any], values))
            return {"bucket": given.pop("artifacts")} | given
        return cast(Any, values)

    @classmethod
    def load(
        cls, file: Path | None = None, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> "Settings":
        """The settings from all layers; `file` defaults to ./solon.yaml, which may be absent."""
        document: dict[str, Any] = {"models": {name: dict(entry) for name, entry in _BUILTIN_MODELS.items()}}
        path = file or DEFAULT_FILE
        if file is not None or path.exists():
            _merge(document, read_yaml(path))
        _apply_environment(document, os.environ if environment is None else environment)
        return validated(cls, override(document, overrides), "settings")

    def judgements(self) -> Path | None:
        """File of the judgement cache; None where it is turned off."""
        if self.cache == "off":
            return None
        return self.cache or self.artifacts / "judgements.db"

    def model(self, name: str, kind: Kind | None = None) -> ModelEntry:
        """The entry registered under `name`; raises NotFound, or InvalidInput where it is of another kind."""
        entry = self.models.get(name)
        if entry is None:
            raise NotFound(f"no model is registered as {name!r}", remedy=f"registered: {self._names(kind)}")
        if kind is not None and entry.kind != kind:
            raise InvalidInput(f"{name!r} is a {entry.kind}, not a {kind}", remedy=f"registered: {self._names(kind)}")
        return entry

    def _names(self, kind: Kind | None) -> str:
        return ", ".join(sorted(n for n, e in self.models.items() if kind in (None, e.kind))) or "none"


_BUILTIN_MODELS = {
    "starter": {"kind": "policy", "engine": "local", "path": "builtin:starter", "family": "starter"},
    "starter-critic": {"kind": "policy", "engine": "local", "path": "builtin:starter-critic", "family": "starter"},
    "starter-judge": {
        "kind": "judge",
        "engine": "local",
        "path": "builtin:starter-judge",
        "family": "starter",
        "judge": {"scale": 5},  # what it was taught to answer on
    },
    "starter-marker": {  # the same model, asked for marks: rewards for direct RLAIF
        "kind": "judge",
        "engine": "local",
        "path": "builtin:starter-judge",
        "family": "starter",
        "judge": {"method": "score", "scale": 5},
    },
}

_PREFIX = "SOLON_"
CLIENT_KEY = "SOLON_API_KEY"
"""Environment variable with the key that commands send to a service; no setting."""


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Mappings are merged key by key, anything else is replaced."""
    for key, value in other.items():
        present = into.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            _merge(cast(dict[str, Any], present), cast(dict[str, Any], value))
        else:
            into[key] = value


def _apply_environment(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    for variable in sorted(environment):
        if not variable.startswith(_PREFIX) or variable == CLIENT_KEY:
            continue
        path = variable.removeprefix(_PREFIX).lower().split("__")
        if path[0] not in Settings.model_fields:
            raise InvalidInput(
                "is not a setting", field=variable, remedy=f"settings: {', '.join(Settings.model_fields)}; unset it"
            )
        assign(document, _as_registered(document, path), parse_value(environment[variable], variable))


def _as_registered(document: Mapping[str, Any], path: list[str]) -> list[str]:
    """The path with a model's name as it is registered: STARTER_JUDGE names starter-judge."""
    if path[0] != "models" or len(path) < 2:
        return path
    known: dict[str, str] = {name.lower().replace("-", "_").replace(".", "_"): name for name in document["models"]}
    return ["models", known.get(path[1], path[1]), *path[2:]]
