"""What tests of both stores share."""

import multiprocessing
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from api.store.constitutions import DatabaseStore
from api.store.database import open_database
from constitution.git_store import GitStore
from constitution.store import Note, Precondition, Store
from tests.integration.postgres import database_in

PATIENCE_S = 300
"""How long processes may take to come up on a machine that is busy with other things."""
KINDS = ("git", "database", pytest.param("postgresql", marks=pytest.mark.postgres))
NEW = Precondition(if_none_match="*")
ANY = Precondition(if_match="*")
ADA = Note("Ada Example <ada@example.org>", "First words")
BEN = Note("Ben", "Other words")

HARBOUR = b"""\
# The harbour's own text.
format: constitution/v1
id: harbour
title: Harbour
version: 1.0.0   # three numbers
principles:
  - id: kind
    text: Be kind.   # always
    weight: 1.0
"""


def open_store(kind: str, folder: Path) -> Store:
    """A store in the folder; opened again, the same one."""
    if kind == "git":
        return GitStore(folder / "constitutions")
    return DatabaseStore(open_database(database_in(folder, "sqlite" if kind == "database" else kind)))


def processes() -> ForkServerContext:
    """Makes processes that share nothing with this one but what they are given; what they import is read once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["api.app", "tests.integration.service"])
    return context
