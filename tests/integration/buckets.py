"""A real S3 server on loopback for tests, and artifacts in either place."""

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from api.store.artifacts import open_artifacts
from api.store.content import Artifacts
from solon.settings import Settings

PLACES = ("folder", "bucket")
"""For `parametrize`: whatever holds in a folder holds in a bucket."""


@cache
def _server() -> Any:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()  # a daemon thread: it ends with the process
    return server


@contextmanager
def bucket() -> Generator[str]:
    """URL of a new bucket; the AWS environment is that of its server."""
    import boto3

    host, port = _server().get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
    }
    name = f"solon-{secrets.token_hex(6)}"
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket=name)
        client.close()
        yield f"s3://{name}/some/prefix"


@contextmanager
def artifacts_in(place: str, folder: Path) -> Generator[tuple[Artifacts, Settings]]:
    """Empty artifacts, and settings that name them."""
    if place == "folder":
        settings = Settings(artifacts=folder / "artifacts")
        yield open_artifacts(settings), settings
        return
    with bucket() as url:
        settings = Settings.model_validate({"artifacts": url}).model_copy(update={"artifacts": folder / "artifacts"})
        yield open_artifacts(settings), settings
