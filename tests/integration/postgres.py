"""A real PostgreSQL for tests marked `postgres`: the server of TEST_POSTGRES_URL, or a cluster of our own.

The cluster lives in a temporary folder, listens on a free loopback port, is made when the first test asks for it, and
is gone with the process. It sorts text as English does, not by bytes, as most servers in production do.
"""

import atexit
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
START_S = 60
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200", "shared_buffers=32MB")

DATABASES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))
"""For `parametrize`: whatever holds on one database holds on the other."""


def new_database(kind: str, folder: Path) -> str:
    """URL of an empty database; a SQLite one is a file in the folder. Skips where there is no PostgreSQL."""
    if kind == "sqlite":
        return f"sqlite:///{folder / 'solon.db'}"
    server = make_url(server_url())
    name = f"solon_test_{secrets.token_hex(6)}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE template0")
    if "TEST_POSTGRES_URL" in os.environ:  # somebody's server: leave nothing there
        atexit.register(_administer, server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    return server.set(database=name).render_as_string(hide_password=False)


def database_in(folder: Path, kind: str | None = None) -> str:
    """URL of the folder's database, the same one every time; of which kind it is, the first call decides.

    Without one it is SQLite, or what TEST_DATABASE says: TEST_DATABASE=postgresql pytest tests/integration
    """
    address = folder / "database.url"
    if not address.exists():
        folder.mkdir(parents=True, exist_ok=True)
        address.write_text(new_database(kind or os.environ.get("TEST_DATABASE", "sqlite"), folder))
    return address.read_text()


@cache
def server_url() -> str:
    """URL of a server on which databases may be made."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        return given
    if not BINARIES:
        pytest.skip("PostgreSQL is not here: set TEST_POSTGRES_URL, or apt-get install postgresql")
    return _started(BINARIES[-1])


def _started(binaries: Path) -> str:
    """URL of a new cluster's server, which ends with this process."""
    user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="solon-postgres-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    sorting = ("--encoding=UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US")
    initdb = [binaries / "initdb", "-D", folder / "data", "-U", "solon", "--auth=trust", "--no-sync", *sorting]
    subprocess.run(initdb, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
    port = _free_port()
    options = [f"--{option}" for option in (*_FAST, "listen_addresses=127.0.0.1", "unix_socket_directories=")]
    with (folder / "log").open("wb") as log:
        command = [binaries / "postgres", "-D", folder / "data", "-p", str(port), *options]
        server = subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=log)
    atexit.register(_stop, server)
    url = URL.create("postgresql+psycopg", "solon", host="127.0.0.1", port=port, database="postgres")
    _wait(url, server, folder / "log")
    return url.render_as_string(hide_password=False)


def _unprivileged() -> str | None:
    """PostgreSQL does not run as root; None where we are nobody special."""
    return "postgres" if os.geteuid() == 0 else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(url: URL, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            return _administer(url, "SELECT 1")
        except OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start:\n{log.read_text()}")
            time.sleep(0.05)


def _administer(server: URL, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGQUIT)  # at once: nothing of it is needed again
    server.wait(10)
