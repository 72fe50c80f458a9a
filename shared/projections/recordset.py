"""Many rows written to PostgreSQL as one JSON text, which the server takes apart.

psycopg reads the text of a long statement anew each time: with a placeholder for each value, that took three quarters
of what an import costs the view ``fleet``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from shared.projections.tables import ViewTables

MOST_ROWS = 1_000
"""In one statement."""


class Recordset:
    """Writes rows of one view, given value after value as the database keeps them."""

    def __init__(self, insert: sa.Insert, tables: ViewTables, dialect: sa.Dialect) -> None:
        """``insert``: how one row is written, without its values."""
        self._names = tuple(tables.view.columns)
        given = sa.cast(sa.bindparam("given", type_=sa.Text()), postgresql.JSON())
        columns = [sa.column(name, tables.rows.c[name].type) for name in self._names]
        rows = sa.func.json_to_recordset(given).table_valued(*columns).render_derived("given", with_types=True)
        statement = insert.from_select(self._names, sa.select(*(rows.c[name] for name in self._names)))
        self._statement = str(statement.compile(dialect=dialect))

    def run_all(self, connection: sa.Connection, values: Sequence[Any]) -> None:
        """Write them all."""
        names, width = self._names, len(self._names)
        rows = [dict(zip(names, values[at : at + width], strict=True)) for at in range(0, len(values), width)]
        for first in range(0, len(rows), MOST_ROWS):
            text = msgspec.json.encode(rows[first : first + MOST_ROWS]).decode()
            connection.exec_driver_sql(self._statement, (text,)).close()
