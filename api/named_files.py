"""Files of this machine for what a recipe names by an uploaded file's id."""

from api.recipe_files import is_file_id
from api.store.artifacts import FolderArtifacts, get, open_artifacts
from api.store.database import open_database
from api.store.files import FileStore, content_name
from solon.settings import Settings


def located(reference: str, settings: Settings) -> str:
    """The reference, or, where it is the id of an uploaded file, the path of its content on this machine.

    Raises NotFound where the settings' project has no such file.
    """
    if not is_file_id(reference):
        return reference
    engine = open_database(settings.database)
    try:
        name = content_name(FileStore(engine).get(reference, project=settings.project).id)
    finally:
        engine.dispose()
    path = FolderArtifacts(settings.artifacts).path(name)
    if settings.bucket is not None and not path.exists():
        get(open_artifacts(settings), name, path)
    return str(path)
