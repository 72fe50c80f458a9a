"""Rows that one process remembers of a view, so that it need not read what it wrote itself.

They are the stored rows as long as nobody else moves the view's position or its epoch. Whoever remembers them also
moves the position by compare-and-set in the transaction that relies on them, and forgets them when that fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from shared.projections.folding import Changes
from shared.projections.view import Key, Row, View

MAX_BYTES = 32 * 1024 * 1024
"""About as much memory may the rows of one view take."""
ROW_BYTES, VALUE_BYTES = 200, 60
"""What a row, and each of its values, is taken to need."""
MAX_ITEMS = 16
"""Rows with longer lists or dicts are not remembered."""


class KnownRows:
    """``stored`` are rows as they are stored; if ``complete``, no others exist."""

    def __init__(self, view: View) -> None:
        self.stored: dict[Key, Row] = {}
        self.complete = False
        self._most = MAX_BYTES // (ROW_BYTES + VALUE_BYTES * len(view.columns))
        self._nested = [name for name, kind in view.columns.items() if kind in (list, dict)]
        self._large: list[Key] = []

    def forget(self, *, empty: bool = False) -> None:
        """Nothing is known any more; ``empty``: but that there is no row at all."""
        self.stored = {}
        self.complete = empty
        self._large = []

    def loaded(self, rows: Mapping[Key, Row]) -> None:
        """These are stored, too. Kept, however many, until ``committed``."""
        self.stored.update(rows)
        self._note_large(rows)

    def committed(self, changes: Changes) -> None:
        """These changes are stored now; the rows that are known for longest are forgotten if they are too many."""
        stored = self.stored
        stored.update(changes.written)
        for key in changes.gone:
            stored.pop(key, None)
        self._note_large(changes.written)
        excess = len(stored) - self._most
        oldest = list(islice(stored, excess + self._most // 4)) if excess > 0 else []
        for key in (*self._large, *oldest):
            if stored.pop(key, None) is not None:
                self.complete = False
        self._large.clear()

    def _note_large(self, rows: Mapping[Key, Row]) -> None:
        for name in self._nested:
            self._large += [key for key, row in rows.items() if row[name] and len(row[name]) > MAX_ITEMS]
