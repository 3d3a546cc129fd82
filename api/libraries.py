"""The store of constitutions that the settings name, and the constitutions that can be had from it."""

from sqlalchemy import Engine

from api.recipe_files import is_path
from api.store.constitutions import DatabaseStore
from api.store.database import database_exists, open_database
from constitution.document import Constitution, parents_for, parse, read_bytes
from constitution.editing import Editor
from constitution.git_store import GitStore
from constitution.library import Library
from constitution.store import Store
from solon.settings import DEFAULT_PROJECT, Settings

_OTHERS = ".projects"
"""Folder of the git directory with one directory for each other project; no constitution can be called so."""


def open_store(settings: Settings, engine: Engine | None = None) -> Store:
    """The store of the settings' project, made where there is none yet; in the database of `engine`, if given."""
    if settings.constitutions is not None:
        root = settings.constitutions
        return GitStore(root if settings.project == DEFAULT_PROJECT else root / _OTHERS / settings.project)
    return DatabaseStore(engine if engine is not None else open_database(settings.database), settings.project)


def open_editor(settings: Settings) -> Editor:
    """What changes the store."""
    return Editor(open_store(settings))


def open_library(settings: Settings) -> Library:
    """What there is to read; a store that is not there yet is not made."""
    if settings.constitutions is not None:
        return Library(open_store(settings) if settings.constitutions.is_dir() else None)
    return Library(open_store(settings) if database_exists(settings.database) else None)


def load_constitution(reference: str, settings: Settings, *, drafts: bool = False) -> Constitution:
    """The constitution that a file, or a reference to the library, names; for commands, never for requests.

    Raises:
        NotFound: there is no such file, constitution, version or label; nor draft, where `drafts` are wanted.
        InvalidInput: it is not a valid constitution.
    """
    library = open_library(settings)
    if is_path(reference):
        return parse(read_bytes(reference), reference, parents=parents_for(reference, library.load))
    return library.load(reference, drafts=drafts)


def read_constitution(reference: str, settings: Settings) -> bytes:
    """The text of a file, a published version or a draft; for commands, never for requests."""
    return read_bytes(reference) if is_path(reference) else open_library(settings).find(reference, drafts=True).raw
