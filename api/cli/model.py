"""`solon model ls | serve | calibrate | merge | import-llama2c`: the registered models."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from api.terminal import print_table, run, settings, write, write_json
from solon.errors import Failed, InvalidInput

app = typer.Typer(no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("ls")
def list_models(
    context: typer.Context,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="The models of a service, trained ones too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the registered models and where they are."""
    from rich.table import Table

    if server is not None:
        _list_models_there(server, as_json)
        return
    models = settings(context).models
    if as_json:
        write_json([{"name": name, **entry.model_dump(mode="json")} for name, entry in sorted(models.items())])
        return
    table = Table("name", "kind", "engine", "where")
    for name, entry in sorted(models.items()):
        table.add_row(name, entry.kind, entry.engine, entry.endpoint or entry.path or ", ".join(entry.members))
    print_table(table)


def _list_models_there(server: str, as_json: bool) -> None:
    from rich.table import Table

    from api import calls
    from api.client import Service
    from api.sending import AT_A_TERMINAL

    with Service(server, patience=AT_A_TERMINAL) as service:
        found = list(service.each(calls.models(limit=100)))
    if as_json:
        write_json([card.model_dump(mode="json") for card in found])
        return
    table = Table("name", "kind", "engine", "owner", "promoted")
    for card in found:
        table.add_row(card.id, card.kind, card.engine, card.owned_by, card.promoted or "")
    print_table(table)


@app.command("serve")
def serve(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Registered name.")],
    engine: Annotated[Literal["local", "vllm"], typer.Option(help="Our own small server, or vLLM.")] = "local",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8001,
    max_model_len: Annotated[int | None, typer.Option(min=2, help="vLLM: tokens of prompt and completion.")] = None,
) -> None:
    """Serve one model with an OpenAI-compatible API until interrupted."""
    from api.engines import child_environment
    from api.vllm import serve_vllm

    configured = settings(context)
    entry = configured.model(name)
    if engine == "vllm":
        serve_vllm(name, entry, port=port, host=host, max_model_len=max_model_len, executable=configured.vllm)
    if max_model_len is not None:
        raise InvalidInput("only vLLM takes it", field="--max-model-len", remedy="leave it out, or use --engine vllm")
    command = [sys.executable, "-m", "trainer.server", "--model", f"{name}={entry.directory().resolve()}"]
    command += ["--host", host, "--port", str(port)]
    if entry.api_key_env is not None:
        entry.api_key()
        command += ["--api-key-env", entry.api_key_env]
    os.execve(sys.executable, command, child_environment())


@app.command("calibrate")
def calibrate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="JUDGE", help="Registered judge.")],
    rows: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Comparisons with people's verdicts.")],
    constitution: Annotated[str, typer.Option(metavar="ID", help="Published id, or a file.")],
    principle: Annotated[
        str | None, typer.Option(metavar="ID", help="The one that asks what people were asked; default: each.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the labels a judge answers with and the temperature that makes its probabilities honest."""
    from api.judge_calibration import calibrate as work
    from api.judge_calibration import show_calibration

    found = run(work(name, rows, constitution, settings(context), principle=principle))
    if as_json:
        write_json(found)
    else:
        show_calibration(found)


@app.command("import-llama2c")
def import_llama2c(
    checkpoint: Annotated[Path, typer.Argument(metavar="MODEL.bin", help="llama2.c weights, version 0.")],
    tokenizer: Annotated[Path, typer.Argument(metavar="TOKENIZER.bin", help="Its tokenizer.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Hugging Face directory to make.")],
    as_json: AsJson = False,
) -> None:
    """Convert a llama2.c checkpoint, such as stories260K, to a local Hugging Face directory."""
    _make("trainer.llama2c", "import", [checkpoint, tokenizer, out])
    _show_made("imported", out, as_json)


@app.command("merge")
def merge(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Directory of a training with `merge: false`.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory to make.")],
    base: Annotated[
        Path | None, typer.Option("--base", metavar="DIR", help="Its base; default: where the adapter says.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Merge an adapter into its base: whole weights in safetensors, as vLLM serves them."""
    _make("trainer.merge", "merge", [adapter, out, *(["--base", base] if base is not None else [])])
    _show_made("merged", out, as_json)


def _make(module: str, what: str, arguments: list[Any]) -> None:
    """Run a command of the trainer, which alone has torch; raises what it says."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode == InvalidInput.exit_code:
        raise InvalidInput(last)
    if done.returncode != 0:
        raise Failed(f"the {what} ended with code {done.returncode}: {last}", remedy="pip install 'solon[trainer]'")


def _show_made(done: str, out: Path, as_json: bool) -> None:
    if as_json:
        write_json({"out": str(out)})
        return
    write(f"{done}: {out}")
    write(f"use it: solon --set 'models.{out.name}={{kind: policy, path: {out}}}' ...")
