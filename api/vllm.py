"""Real vLLM for a registered model: the command line and environment that the critic relies on.

vLLM lives in an environment of its own; its `vllm` command is found on PATH, or is named by the setting `vllm`.
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

from solon.errors import InvalidInput, NotFound, UsageError
from solon.settings import ADAPTER, ModelEntry

_MAX_LOGPROBS = 20  # as many alternatives as the judge reads
_MAX_LORA_RANK = 64


def vllm_command(
    name: str,
    entry: ModelEntry,
    *,
    port: int,
    host: str = "127.0.0.1",
    executable: str = "vllm",
    max_model_len: int | None = None,
    dtype: str | None = None,
) -> list[str]:
    """The command that serves `entry` under `name`.

    Prefixes are cached because a judge's prompts for one pair share theirs. The model's own sampling defaults are set
    aside, so that a request means the same on every engine. The key is not here: it would show in the process list.

    Args:
        max_model_len: tokens of prompt and completion; None is the model's own.
        dtype: None is what the hardware multiplies natively.
    """
    if entry.path and (entry.directory() / ADAPTER).is_file():
        remedy = f"solon model merge {entry.path} OUT, and register OUT"
        raise InvalidInput("vLLM serves whole weights, and this is an adapter", field=f"models.{name}", remedy=remedy)
    model = str(entry.directory()) if entry.path else entry.model
    if model is None:
        raise NotFound("nothing to serve", field=f"models.{name}", remedy="register it with `path` or `model`")
    command = [executable, "serve", model, "--served-model-name", entry.model or name]
    command += ["--host", host, "--port", str(port), "--dtype", dtype or native_dtype()]
    command += ["--enable-prefix-caching", "--max-logprobs", str(_MAX_LOGPROBS), "--logprobs-mode", "raw_logprobs"]
    command += ["--generation-config", "vllm"]
    if entry.adapters is not None:
        command += ["--enable-lora", "--max-lora-rank", str(_MAX_LORA_RANK)]
    if entry.revision and not entry.path:
        command += ["--revision", entry.revision]
    return [*command, "--max-model-len", str(max_model_len)] if max_model_len else command


def vllm_environment(entry: ModelEntry) -> dict[str, str]:
    """Our environment, plus the key of clients, no reports to anybody, and adapters where they are wanted."""
    extra = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    key = entry.api_key()
    if key is not None:
        extra["VLLM_API_KEY"] = key
    if entry.path:
        extra["HF_HUB_OFFLINE"] = "1"
    if entry.adapters is not None:
        extra["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    return {"VLLM_CPU_KVCACHE_SPACE": "2", **os.environ, **extra}


def serve_vllm(
    name: str,
    entry: ModelEntry,
    *,
    port: int,
    host: str = "127.0.0.1",
    executable: str = "vllm",
    max_model_len: int | None = None,
    dtype: str | None = None,
) -> NoReturn:
    """Become vLLM serving `entry`: this process is replaced and does not return."""
    found = shutil.which(executable)
    if found is None:
        raise NotFound(
            "there is no vllm command here",
            remedy="install vLLM in an environment of its own and set `vllm` (or SOLON_VLLM) to its command",
        )
    if host not in {"127.0.0.1", "::1", "localhost"} and entry.api_key_env is None:
        raise UsageError(
            f"{host} can be reached from elsewhere",
            field="--host",
            remedy=f"set models.{name}.api_key_env, or bind 127.0.0.1",
        )
    command = vllm_command(
        name, entry, port=port, host=host, executable=found, max_model_len=max_model_len, dtype=dtype
    )
    os.execvpe(found, command, vllm_environment(entry))


def native_dtype(cpu_info: Path = Path("/proc/cpuinfo"), gpu: Path = Path("/dev/nvidia0")) -> str:
    """vLLM's --dtype for this machine: float32 on a CPU without bfloat16 arithmetic, else the model's own."""
    if gpu.exists() or not cpu_info.exists():
        return "auto"
    flags = set(cpu_info.read_text().split())
    arm = "bf16" in flags
    return "auto" if arm or flags & {"avx512_bf16", "amx_bf16"} else "float32"
