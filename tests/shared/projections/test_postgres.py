"""What only a server can do to us."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from deploy.rabbitmq import free_ports
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.port import EventStore, Position
from tests.postgres import Postgres
from tests.shared.projections.fleet import Fleet, Log, content, expected, imported

VIEW = Fleet().view()

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as made:
        yield made


@pytest.fixture
def open_service(url: str) -> Iterator[Callable[[str], Database]]:
    opened: list[Database] = []

    def opener(service: str) -> Database:
        opened.append(Database(url, service))
        return opened[-1]

    yield opener
    for database in opened:
        database.close()


def cut_all_others(database: Database) -> None:
    """End every connection to this database but the one that says so."""
    with database.writing() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_services_share_a_database_and_not_their_tables(open_service: Callable[[str], Database]) -> None:
    one, other = open_service("fleet-1"), open_service("fleet_2")
    for database in (one, other):
        database.prepare([VIEW])
    one.checkpoints().advance("relay", None, Position(5))
    assert other.checkpoints().load("relay") is None
    with one.connect() as connection:
        names = sa.inspect(connection).get_schema_names()
    assert {"fleet-1", "fleet_2"} <= set(names)


def test_a_connection_that_is_lost_is_unavailable_and_the_next_one_works(
    open_service: Callable[[str], Database],
) -> None:
    database, killer = open_service("fleet"), open_service("killer")
    database.prepare([VIEW])

    def write() -> None:
        with database.writing() as connection:
            connection.execute(sa.text("UPDATE checkpoints SET position = 7"))
            cut_all_others(killer)
            connection.execute(sa.text("UPDATE checkpoints SET position = 8"))

    with pytest.raises(Unavailable):
        write()
    assert database.checkpoints().load("view/fleet") is None


def test_a_projector_outlives_its_connections(
    open_service: Callable[[str], Database], store: EventStore, log: Log
) -> None:
    database, killer = open_service("fleet"), open_service("killer")
    projector = Projector("fleet", store, database, [VIEW], CONTRACTS)
    projector.start()
    for number in range(5):
        cut_all_others(killer)
        assert projector.wait_for(log.add(imported(number)), 20)
    assert content(database, VIEW) == expected(VIEW, log.all())
    projector.stop()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    [port] = free_ports(1)
    database = Database(f"postgresql+psycopg://nobody:secret@127.0.0.1:{port}/none", "fleet")
    with pytest.raises(Unavailable) as refusal:
        database.prepare([VIEW])
    assert "secret" not in str(refusal.value)
    database.close()
