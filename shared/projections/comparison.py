"""Two tables of a view compared row by row, and digests: streams, so that neither's size matters.

Values are compared as the database keeps them (times in microseconds, lists and dicts as JSON text, booleans as 0 and
1), so that a digest is the same on SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from shared.projections.tables import ViewTables

PAGE_ROWS = 1_000
"""Rows that are in memory at a time."""
MAX_SHOWN = 5
"""Differences that are kept; the others are counted."""

Values = tuple[Any, ...]
_lines = msgspec.json.Encoder().encode_lines


@dataclass(frozen=True, slots=True)
class Difference:
    """A row, a counter, or a member of a set, that is not the same in both; None where it is missing. Values as they
    are stored."""

    table: str
    left: dict[str, Any] | None
    right: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """``different`` counts rows, counters and members, ``shown`` are the first ``MAX_SHOWN`` of them; ``rows`` those of
    the left one."""

    rows: int
    left_digest: str
    right_digest: str
    different: int
    shown: Sequence[Difference]

    @property
    def equal(self) -> bool:
        """Whether both have the same content."""
        return self.left_digest == self.right_digest


def digest(connection: sa.Connection, tables: ViewTables) -> str:
    """SHA-256 over the sorted rows, counters and members."""
    state = _Digest()
    for table in tables.all:
        for page in pages(connection, table):
            state.add(page)
        state.end()
    return state.hex


def compare(left: sa.Connection, left_tables: ViewTables, right: sa.Connection, right_tables: ViewTables) -> Comparison:
    """Compare what two connections see. The tables belong to the same view."""
    mine, theirs = _Digest(), _Digest()
    shown: list[Difference] = []
    different = rows = 0
    for one, other in zip(left_tables.all, right_tables.all, strict=True):
        names = [column.name for column in one.columns]
        key = itemgetter(*(names.index(column.name) for column in one.primary_key.columns))
        streams = (_digested(left, one, mine), _digested(right, other, theirs))
        for found, expected in differences(*streams, key):
            different += 1
            if len(shown) < MAX_SHOWN:
                shown.append(Difference(one.name, _named(names, found), _named(names, expected)))
        rows = mine.rows if one is left_tables.rows else rows
        mine.end()
        theirs.end()
    return Comparison(rows, mine.hex, theirs.hex, different, shown)


def differences(
    left: Iterator[Values], right: Iterator[Values], key: Callable[[Values], Any]
) -> Iterator[tuple[Values | None, Values | None]]:
    """The pairs that are not equal of two streams that are sorted by ``key``; None where one lacks it."""
    mine, theirs = next(left, None), next(right, None)
    while mine is not None or theirs is not None:
        if mine == theirs:
            mine, theirs = next(left, None), next(right, None)
        elif theirs is None or (mine is not None and key(mine) < key(theirs)):
            yield mine, None
            mine = next(left, None)
        elif mine is None or key(theirs) < key(mine):
            yield None, theirs
            theirs = next(right, None)
        else:
            yield mine, theirs
            mine, theirs = next(left, None), next(right, None)


def _named(names: Sequence[str], values: Values | None) -> dict[str, Any] | None:
    return None if values is None else dict(zip(names, values, strict=True))


def pages(connection: sa.Connection, table: sa.Table) -> Iterator[list[Values]]:
    """All rows as they are stored, sorted by their key, ``PAGE_ROWS`` at a time."""
    plain = [sa.cast(column, sa.Integer) if isinstance(column.type, sa.Boolean) else column for column in table.columns]
    query = str(sa.select(*plain).order_by(*table.primary_key.columns).compile(dialect=connection.dialect))
    result = connection.exec_driver_sql(query, execution_options={"yield_per": PAGE_ROWS})
    for page in result.partitions():
        yield [tuple(row) for row in page]


class _Digest:
    """SHA-256 over rows as lines of JSON; ``rows`` is how many there were."""

    def __init__(self) -> None:
        self.rows = 0
        self._state = sha256()

    def add(self, page: Sequence[Values]) -> None:
        self.rows += len(page)
        self._state.update(_lines(page))

    def end(self) -> None:
        """A table is over."""
        self._state.update(b"\n")

    @property
    def hex(self) -> str:
        return self._state.hexdigest()


def _digested(connection: sa.Connection, table: sa.Table, state: _Digest) -> Iterator[Values]:
    def told() -> Iterator[list[Values]]:
        for page in pages(connection, table):
            state.add(page)
            yield page

    return chain.from_iterable(told())
