"""A PostgreSQL for all tests of a run: the one that is given, else a container, else a private server."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

from deploy.postgres import PostgresServer, ensure_installed
from shared.errors import Unavailable

IMAGE = "postgres:16-alpine"
DOCKER_SOCKET = Path("/var/run/docker.sock")
BY_PERSONS_ORDER = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
"""Text is ordered as in a dictionary unless a column asks for another order: what needs that order has to ask."""
FIRST_WITH_ICU = (15,)


class Postgres:
    """A server that lets us make databases; ``url`` is of one that exists."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._engine = sa.create_engine(self._url, isolation_level="AUTOCOMMIT", pool_size=1, pool_pre_ping=True)

    def connect(self) -> None:
        """Raises ``Unavailable`` if it does not answer."""
        try:
            self._engine.connect().close()
        except sa.exc.OperationalError as error:
            raise Unavailable(f"PostgreSQL at {self._url.host}: {error}") from error

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, which is dropped at the end with all connections to it."""
        name = f"flotilla_test_{uuid4().hex[:12]}"
        with self._engine.connect() as connection:
            version = connection.dialect.server_version_info or ()
            connection.exec_driver_sql(
                f"CREATE DATABASE {name} {BY_PERSONS_ORDER if version >= FIRST_WITH_ICU else ''}"
            )
        try:
            yield self._url.set(database=name).render_as_string(hide_password=False)
        finally:
            with self._engine.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Let go of it."""
        self._engine.dispose()


@contextmanager
def any_postgres() -> Iterator[Postgres]:
    """The first that is to be had. Raises ``Unavailable`` with the reasons why none is, or if a given one does not
    answer."""
    reasons: list[str] = []
    with ExitStack() as stack:
        for way in (_given, _contained, _local):
            try:
                found = Postgres(way(stack))
                break
            except Unavailable as problem:
                reasons.append(str(problem))
        else:
            raise Unavailable("no PostgreSQL for the tests:\n  " + "\n  ".join(reasons))
        stack.callback(found.close)
        found.connect()
        yield found


def _given(_stack: ExitStack) -> str:
    url = os.environ.get("POSTGRES_URL")
    if not url:
        raise Unavailable("POSTGRES_URL is not set")
    return url


def _contained(stack: ExitStack) -> str:
    if not os.environ.get("DOCKER_HOST") and not DOCKER_SOCKET.exists():
        raise Unavailable(f"docker: neither DOCKER_HOST nor {DOCKER_SOCKET}")
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=3)
        stack.callback(client.close)
        client.ping()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its own decorators
            from testcontainers.community.postgres import PostgresContainer
        container = stack.enter_context(PostgresContainer(IMAGE, driver="psycopg"))
    except (DockerException, OSError, TimeoutError) as problem:
        raise Unavailable(f"docker: {problem}") from problem
    url: str = container.get_connection_url()
    return url


def _local(stack: ExitStack) -> str:
    """In a folder of its own, because the package's account cannot get to those of the tests."""
    ensure_installed()
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flotilla-postgres-"))
    return stack.enter_context(PostgresServer(Path(folder))).url
