from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from shared.errors import Misuse, Refused, Unavailable
from shared.projections.database import Database
from shared.projections.tables import JsonText, Micros, micros, moment
from shared.projections.view import View
from shared.store.port import Position
from tests.shared.projections.fleet import NOW, Flaky, Fleet, content

VIEW = Fleet().view()
ROW = {
    "product_id": 1000,
    "device_id": "00aa",
    "name": None,
    "online": True,
    "seen_at": NOW,
    "score": 0.25,
    "groups": ["b", "a"],
    "extra": {"z": None, "a": [1.5, "x"]},
}


def put(database: Database, *rows: dict[str, Any]) -> None:
    with database.writing() as connection:
        connection.execute(sa.insert(database.table(VIEW)), list(rows))


def test_a_row_comes_back_as_it_was(database: Flaky) -> None:
    database.prepare([VIEW])
    put(database, ROW)
    rows, counts = content(database, VIEW, damaged=True)
    assert rows == {(1000, "00aa"): ROW}
    assert counts == {}
    assert list(database.table(VIEW).c.keys()) == list(VIEW.columns)


def test_a_moment_keeps_its_microseconds_and_comes_back_in_utc() -> None:
    east = timezone(timedelta(hours=5))
    told = datetime(2026, 1, 1, 4, 0, 0, 123457, tzinfo=east)
    assert moment(micros(told)) == told
    assert moment(micros(told)).tzinfo is UTC
    assert micros(datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)) == -1


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        micros(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


def test_preparing_twice_keeps_the_rows(database: Flaky) -> None:
    database.prepare([VIEW])
    put(database, ROW)
    database.prepare([VIEW])
    assert len(content(database, VIEW, damaged=True)[0]) == 1


def test_many_may_prepare_at_once(open_database: Callable[[], Flaky]) -> None:
    databases = [open_database() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: each.prepare([VIEW]), databases))
    assert content(databases[0], VIEW) == ({}, {})


def _prepare(url: str) -> None:
    database = Database(url, "fleet")
    database.prepare([VIEW])
    database.close()


def test_processes_may_prepare_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/views"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_prepare, args=(url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_a_connection_sees_one_moment(database: Flaky) -> None:
    database.prepare([VIEW])
    count = sa.select(sa.func.count()).select_from(database.table(VIEW))
    with database.connect() as connection:
        assert connection.execute(count).scalar() == 0
        put(database, ROW)
        assert connection.execute(count).scalar() == 0
    with database.connect() as connection:
        assert connection.execute(count).scalar() == 1


def test_a_transaction_that_raises_leaves_nothing(database: Flaky) -> None:
    database.prepare([VIEW])

    def fail() -> None:
        with database.writing() as connection:
            connection.execute(sa.insert(database.table(VIEW)), [ROW])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert content(database, VIEW) == ({}, {})


def test_a_checkpoint_moves_only_from_where_it_is(database: Flaky) -> None:
    database.prepare([])
    checkpoints = database.checkpoints()
    assert checkpoints.load("relay") is None
    assert checkpoints.advance("relay", None, Position(5))
    assert not checkpoints.advance("relay", None, Position(6))
    assert not checkpoints.advance("relay", Position(4), Position(6))
    assert checkpoints.advance("relay", Position(5), Position(2**62))
    assert checkpoints.load("relay") == 2**62
    assert checkpoints.load("another") is None


def test_of_many_that_move_a_checkpoint_one_does(open_database: Callable[[], Flaky]) -> None:
    databases = [open_database() for _ in range(4)]
    databases[0].prepare([])
    with ThreadPoolExecutor(4) as pool:
        moved = list(pool.map(lambda each: each.checkpoints().advance("relay", None, Position(1)), databases))
    assert sorted(moved) == [False, False, False, True]


def test_a_digest_depends_on_rows_and_counters_but_not_on_their_order(open_database: Callable[[], Flaky]) -> None:
    database = open_database()
    database.prepare([VIEW])
    other = ROW | {"device_id": "00AB", "extra": {}}
    put(database, ROW, other)
    both = database.digest(VIEW)
    with database.writing() as connection:
        connection.execute(sa.delete(database.table(VIEW)))
    put(database, other)
    assert database.digest(VIEW) != both
    put(database, ROW | {"extra": {"a": [1.5, "x"], "z": None}})
    assert database.digest(VIEW) == both
    with database.writing() as connection:
        connection.execute(sa.insert(database.counts(VIEW)).values(scope="a", item="b", n=1))
    assert database.digest(VIEW) != both


def test_text_is_ordered_by_its_bytes(database: Flaky) -> None:
    database.prepare([VIEW])
    put(database, *(ROW | {"device_id": name} for name in ("b", "a", "B", "ä", "_")))
    table = database.table(VIEW)
    with database.connect() as connection:
        names = connection.execute(sa.select(table.c.device_id).order_by(table.c.device_id)).scalars().all()
    assert names == ["B", "_", "a", "b", "ä"]


def test_indexes_are_made(database: Flaky) -> None:
    database.prepare([VIEW])
    with database.connect() as connection:
        found = sa.inspect(connection).get_indexes("fleet")
    assert sorted(index["column_names"] for index in found) == [
        ["name"],
        ["product_id", "online"],
        ["product_id", "seen_at"],
    ]


def test_a_view_of_the_same_columns_has_its_own_indexes(database: Flaky) -> None:
    """What is compiled for tables is kept for all views that have the same."""
    first, second = (replace(VIEW, name="twice", indexes=((column, "device_id"),)) for column in ("seen_at", "score"))
    database.prepare([first])
    with database.writing() as connection:
        database.create_tables(connection, database.tables(second))
        database.create_indexes(connection, database.tables(second), epoch=0)
    with database.connect() as connection:
        found = sa.inspect(connection).get_indexes("twice")
    assert [index["column_names"] for index in found] == [["score", "device_id"]]


def test_a_closed_database_is_unavailable(database: Flaky) -> None:
    database.prepare([])
    database.close()
    with pytest.raises(Unavailable):
        database.checkpoints().load("relay")


def test_a_database_without_tables_is_unavailable_or_says_so(database: Flaky) -> None:
    with pytest.raises((Unavailable, sa.exc.ProgrammingError)):
        database.checkpoints().load("relay")


def test_a_lock_that_is_not_let_go_of_is_unavailable(views_url: str) -> None:
    database = Database(views_url, "fleet", lock_wait_s=0.05)
    database.prepare([])
    checkpoints = database.checkpoints()
    checkpoints.advance("relay", None, Position(1))
    with database.writing() as connection:
        connection.execute(sa.text("UPDATE checkpoints SET position = 2"))
        with pytest.raises(Unavailable, match="lock"):
            checkpoints.advance("relay", Position(1), Position(3))
    assert checkpoints.load("relay") == 2
    database.close()


@pytest.mark.parametrize(
    "changes",
    [{"key": ()}, {"key": ("seen_at",)}, {"key": ("unknown",)}, {"columns": {"product_id": int, "x": bytes}}],
)
def test_a_view_that_no_table_can_keep_is_misuse(tmp_path: Path, changes: dict[str, Any]) -> None:
    database = Database(f"sqlite:///{tmp_path}", "fleet")
    view: View = Fleet().view(**({"key": ("product_id",)} | changes))
    with pytest.raises(Misuse):
        database.table(view)
    database.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:relative"])
def test_a_url_without_a_folder_is_misuse(url: str) -> None:
    with pytest.raises(Misuse):
        Database(url, "fleet")


@pytest.mark.parametrize("url", ["postgres://user:secret@host/name", "mysql://host/name", "nonsense", ""])
def test_a_url_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(Refused) as refusal:
        Database(url, "fleet")
    assert refusal.value.code == "bad_setting"
    assert "secret" not in refusal.value.reason


def test_a_service_name_that_could_leave_the_folder_is_misuse(tmp_path: Path) -> None:
    with pytest.raises(Misuse):
        Database(f"sqlite:///{tmp_path}", "../fleet")


def test_nothing_stays_nothing() -> None:
    dialect = sa.create_engine("sqlite://").dialect
    for kind in (Micros(), JsonText()):
        assert kind.process_bind_param(None, dialect) is None
        assert kind.process_result_value(None, dialect) is None
