"""The private PostgreSQL server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from deploy.postgres import PostgresServer, ensure_installed, find_server
from shared.errors import Misuse, Unavailable

needs_server = pytest.mark.skipif(find_server() is None, reason="needs the Debian package postgresql")

STARTER = """
import sys, threading
from pathlib import Path
from deploy.postgres import PostgresServer
server = PostgresServer(Path(sys.argv[1]))
server.start()
print(server.url, flush=True)
threading.Event().wait(60)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that the package's account can get to, which it cannot to ``tmp_path``."""
    with tempfile.TemporaryDirectory(prefix="flotilla-postgres-") as name:
        yield Path(name)


@pytest.fixture
def programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ``postgres`` and an ``initdb`` that complain."""
    made = folder / "programs"
    made.mkdir()
    for name in ("postgres", "initdb"):
        (made / name).write_text(f"#!/bin/sh\necho no memory for {name}; exit 3\n")
        (made / name).chmod(0o755)
    monkeypatch.setenv("POSTGRES_BIN", str(made))
    return made


def of_folder(folder: Path) -> list[psutil.Process]:
    """Processes that work in this folder or below."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except psutil.Error:
            continue  # it ended meanwhile, or is not ours to look at
    return found


def ask(url: str, *statements: str) -> object:
    """Run statements in one transaction; the answer of the last one."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        results = [connection.exec_driver_sql(statement) for statement in statements]
        return results[-1].scalar()


@pytest.mark.postgres
@needs_server
def test_a_server_leaves_nothing_running_and_comes_back_with_its_data_at_the_same_address(folder: Path) -> None:
    server = PostgresServer(folder)
    server.stop()
    with server:
        url = server.url
        assert ask(url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)", "SELECT n FROM kept") == 7
        assert str(ask(url, "SHOW listen_addresses")) == "127.0.0.1"
        with pytest.raises(Misuse):
            server.start()
        running = of_folder(folder)
        assert running
    assert psutil.wait_procs(running, timeout=10)[1] == []
    with pytest.raises(sa.exc.OperationalError):
        ask(url, "SELECT 1")
    with server:
        assert server.url == url
        assert ask(url, "SELECT n FROM kept") == 7
    with PostgresServer(folder) as another:
        assert ask(another.url, "SELECT n FROM kept") == 7
    server.stop()


@pytest.mark.postgres
@needs_server
def test_a_server_wants_its_password(folder: Path) -> None:
    with PostgresServer(folder) as server, pytest.raises(sa.exc.OperationalError, match="password authentication"):
        ask(server.url.replace("flotilla:", "flotilla:x"), "SELECT 1")


@pytest.mark.postgres
@needs_server
def test_a_server_ends_when_its_starter_is_killed(folder: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", STARTER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline().startswith("postgresql+psycopg://")
        running = of_folder(folder)
        assert running
        os.kill(starter.pid, signal.SIGKILL)
    assert psutil.wait_procs(running, timeout=20)[1] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
@needs_server
def test_a_folder_that_the_account_cannot_get_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(Unavailable, match="keeps others out"):
        PostgresServer(tmp_path / "closed" / "postgres").start()


@needs_server
def test_programs_that_do_not_work_are_unavailable_and_say_why(programs: Path, folder: Path) -> None:
    assert find_server() == ensure_installed() == programs
    with pytest.raises(Unavailable, match="initdb ended with 3: no memory for initdb"):
        PostgresServer(folder).start()


@needs_server
def test_a_server_that_cannot_start_is_unavailable_and_says_why(programs: Path, folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(Unavailable, match="PostgreSQL ended with 3: no memory for postgres"):
        PostgresServer(folder).start()


def test_a_server_that_is_not_there_is_not_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSTGRES_BIN", str(tmp_path))
    assert find_server() is None
    with pytest.raises(Unavailable, match="POSTGRES_BIN"):
        ensure_installed()
    with pytest.raises(Unavailable, match="not installed"):
        PostgresServer(tmp_path).start()
