"""The order of a list, in SQL and among rows (DEV-6).

By a column and by ID among those that are alike; where only some devices have anything in the column, those that have
nothing come last, by ID, whichever the direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from services.devices.listing import Cursor, Listing
from shared.projections.sql import Sql, all_of, any_of, not_, plain
from shared.projections.view import Row


class Order:
    """Of one list."""

    def __init__(self, listing: Listing) -> None:
        self._sort = listing.sort
        self._descending = listing.descending

    def by(self, column: str, table: str = "") -> str:
        """ORDER BY this column and the ID; ``table`` has a dot at its end."""
        way = " DESC" if self._descending else ""
        first = "" if column == "device_id" else f"{table}{column}{way}, "
        return f" ORDER BY {first}{table}device_id{way}"

    def by_all(self) -> str:
        """ORDER BY the whole, of what has ``value`` and ``device_id``."""
        way = " DESC" if self._descending else ""
        first = f"({self._nothing()}), " if self._sort.some else ""
        return f" ORDER BY {first}value{way}, device_id{way}"

    def behind(self, column: str, cursor: Cursor) -> Sql:
        """What comes behind a place in the order of a column."""
        compare = "<" if self._descending else ">"
        if column == "device_id":
            return Sql(f"device_id {compare} ?", (cursor.device_id,))
        return Sql(f"({column}, device_id) {compare} (?, ?)", (plain(cursor.value), cursor.device_id))

    def behind_all(self, cursor: Cursor) -> Sql:
        """What comes behind a place in the whole, of what has ``value`` and ``device_id``."""
        if not self._sort.some:
            return self.behind("value", cursor)
        nothing = Sql(self._nothing())
        if cursor.value is None:
            return all_of([nothing, self.behind("device_id", cursor)])
        return any_of([all_of([not_(nothing), self.behind("value", cursor)]), nothing])

    def _nothing(self) -> str:
        return "value = ''" if self._sort.kind is str else "value IS NULL"

    def place(self, row: Mapping[str, Any]) -> Cursor:
        """Where a device stands."""
        value = row[self._sort.column]
        return Cursor(value or None if self._sort.some else value, row["device_id"])

    def is_behind(self, row: Row, cursor: Cursor) -> bool:
        """Whether a device comes behind a place in the whole."""
        place = self.place(row)
        if (cursor.value is None) is not (place.value is None):
            return place.value is None
        ours, theirs = (place.value or "", place.device_id), (cursor.value or "", cursor.device_id)
        return bool(ours < theirs if self._descending else ours > theirs)

    def ordered(self, rows: Iterable[Row]) -> list[Row]:
        """These rows in the order."""
        placed = [(self.place(row), row) for row in rows]
        some = [(place.value, place.device_id, row) for place, row in placed if place.value is not None]
        none = [(None, place.device_id, row) for place, row in placed if place.value is None]
        some.sort(key=itemgetter(0, 1), reverse=self._descending)
        none.sort(key=itemgetter(1), reverse=self._descending)
        return [row for *_, row in (*some, *none)]
