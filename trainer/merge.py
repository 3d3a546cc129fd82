"""`python -m trainer.merge ADAPTER OUT`: an adapter and its base become a directory of whole weights."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from solon import __version__
from solon.errors import InvalidInput, SolonError
from trainer import bases, checkpoint
from trainer.publishing import published
from trainer.runs.records import write_facts, write_json


def merge(adapter: Path, out: Path, base: Path | None = None) -> None:
    """Write `out`, which must not exist: safetensors in the base's dtype, tokenizer, provenance and card.

    Args:
        base: of the adapter, where it is not where the adapter says.
    """
    if not bases.is_adapter(adapter):
        raise InvalidInput(f"{adapter} holds no adapter", field="adapter", remedy=f"it must hold {bases.ADAPTER}")
    if base is None:
        base = bases.base_of(adapter, "adapter")
    else:
        bases.require_base(adapter, base, "--base")
    with published(out) as scratch:
        network = bases.merged(adapter, base, "--base")
        source = adapter if (adapter / "config.json").is_file() else base
        checkpoint.save_like(network, source, scratch)
        _write_facts(adapter, base, scratch)


def _write_facts(adapter: Path, base: Path, out: Path) -> None:
    """The adapter's provenance and card, and what was merged; an adapter from elsewhere has no more than the latter."""
    told = bases.provenance(adapter)
    about: dict[str, Any] = {
        "adapter_weights": bases.weights_digests(adapter),
        "base": str(base.resolve()),
        "base_weights": bases.weights_digests(base),
        "versions": {"solon": __version__, "peft": version("peft")},
    }
    if told:
        write_facts(out, {**told, "merged": about})
    else:
        write_json(out / "provenance.json", {"merged": about})


def main(arguments: Sequence[str] | None = None) -> int:
    """Merge as the command line says; the exit code."""
    parser = argparse.ArgumentParser("trainer.merge", description="Merge an adapter into its base.")
    parser.add_argument("adapter", type=Path, help="directory with adapter_config.json")
    parser.add_argument("out", type=Path, help="directory to make")
    parser.add_argument("--base", type=Path, help="the adapter's base, where it is not where the adapter says")
    options = parser.parse_args(arguments)
    try:
        merge(options.adapter, options.out, options.base)
    except SolonError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
