"""Pages of events that are packed into a row, as the store answers them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.store.port import ANY, New
from shared.store.sqlite import SqliteEventStore
from shared.store.sqlite.packed import MAX_PACKED, packed, unpacked

BYTES = st.one_of(st.binary(max_size=20), st.sampled_from([b"{}", b"", b"\x00", b"\x1e", b'{"a":"\xc3\xa9"}', b"\xff"]))
NUMBER = st.integers(0, 2**63 - 1)
ROWS = st.lists(st.tuples(st.binary(min_size=16, max_size=16), *[NUMBER] * 5, BYTES, BYTES), max_size=8)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteEventStore]:
    with closing(SqliteEventStore(tmp_path / "events.db", durable=False)) as opened:
        yield opened


@given(rows=ROWS)
def test_what_was_packed_comes_back_or_is_known_not_to(
    rows: list[tuple[bytes, int, int, int, int, int, bytes, bytes]],
) -> None:
    names = "event_id, type_id, stream_id, version, pos, at, data, meta"
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE TABLE events(n INTEGER PRIMARY KEY, {names})")
        db.executemany(f"INSERT INTO events({names}) VALUES(?, ?, ?, ?, ?, ?, ?, ?)", rows)
        found = unpacked(db.execute(packed(f"SELECT {names} FROM events ORDER BY n")).fetchone())
    has_separator = any(b"\x1e" in row[6] + row[7] for row in rows)
    assert (None if found is None else list(zip(*found, strict=True))) == (None if has_separator else rows)


def test_a_page_may_be_longer_than_what_is_packed_at_a_time(store: SqliteEventStore) -> None:
    events = [New(uuid4(), "T", b"%d" % number, b"{}") for number in range(2 * MAX_PACKED + 1)]
    store.append("a", ANY, events)
    assert [event.id for event in store.read_all(limit=MAX_PACKED * 3).events] == [event.id for event in events]
    page = store.read_all(limit=MAX_PACKED * 2)
    assert [event.data for event in page.events] == [event.data for event in events[:-1]]
    assert [event.data for event in store.read_all(page.looked).events] == [events[-1].data]


def test_bytes_that_no_json_has_are_read_all_the_same(store: SqliteEventStore) -> None:
    events = [New(uuid4(), "T", data, meta) for data, meta in ((b"a\x1eb", b"{}"), (b"{}", b"\x1e"), (b"{}", b"{}"))]
    store.append("a", ANY, events)
    assert [(event.data, event.meta) for event in store.read_all().events] == [(new.data, new.meta) for new in events]
