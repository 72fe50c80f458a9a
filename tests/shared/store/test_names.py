"""Names that two threads learn at the same time: the slower one read before the newest name was there."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from shared.store.sqlite.names import Names
from shared.store.sqlite.packed import Columns
from shared.store.sqlite.pool import Pool

OLD, NEW = {1: "One"}, {1: "One", 2: "Two"}
WAIT_S = 10.0


class SlowPool:
    """The first reader of types gets those of before, and only when the second one has got all of them; what the second
    one asks next is answered when the first one remembers what it got."""

    def __init__(self) -> None:
        self.newest_read, self.oldest_remembered = threading.Event(), threading.Event()
        self.slow: threading.Thread | None = None

    def rows(self, sql: str, arguments: tuple[Any, ...] = ()) -> list[tuple[int, str]]:
        is_slow = threading.current_thread() is self.slow
        if "types" in sql:
            if is_slow:
                assert self.newest_read.wait(WAIT_S)
                return list(OLD.items())
            self.newest_read.set()
            return list(NEW.items())
        if is_slow:
            self.oldest_remembered.set()
        else:
            assert self.oldest_remembered.wait(WAIT_S)
        return [(7, "stream")]


def columns(type_id: int) -> Columns:
    return cast(Columns, ([b"i"], [type_id], [7], [0], [1], [datetime(2026, 1, 1, tzinfo=UTC)], [b"{}"], [b"{}"]))


def test_a_name_that_was_learned_is_not_forgotten_by_a_slower_reader() -> None:
    pool = SlowPool()
    names = Names(cast(Pool, pool))
    pool.slow = threading.Thread(target=lambda: names.events(columns(1)))
    pool.slow.start()
    (event,) = names.events(columns(2))
    pool.slow.join(WAIT_S)
    assert event.type == "Two"


@pytest.mark.parametrize("wanted", [["Two"], ["One", "Two"]])
def test_types_that_are_not_remembered_are_asked_for(wanted: list[str]) -> None:
    pool = SlowPool()
    names = Names(cast(Pool, pool))
    names._types = OLD
    assert names.type_ids(wanted) == [number for number, name in NEW.items() if name in wanted]
