"""The rows and counters of one view as a whole: remembered, loaded, folded, written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import sqlalchemy as sa

from shared.events.contracts import Registry
from shared.projections.database import Database
from shared.projections.folding import After, Changes, changes, fold
from shared.projections.known import KnownRows
from shared.projections.rows import Rows
from shared.projections.tables import ViewTables
from shared.projections.view import Key, Row
from shared.store.port import Recorded


class Content:
    """Belongs to one runner, which uses it inside its lock and says when ``known`` is to be forgotten."""

    def __init__(self, database: Database, tables: ViewTables, contracts: Registry) -> None:
        self.view = tables.view
        self.database = database
        self.known = KnownRows(tables.view)
        self.rows = Rows(database, tables)
        self.decode_all = contracts.decode_all

    def draft(self) -> Draft:
        """Changes for one transaction."""
        return Draft(self)


class Draft:
    """What the events of one transaction change. ``commit`` once that has happened; else let go of it."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._after: After = {}
        self._changes = Changes({}, [], {})

    def fold(self, recorded: Sequence[Recorded], connection: sa.Connection | None = None) -> None:
        """Fold further events over the rows as this connection sees them, or as they are now: then whoever writes the
        draft must find position and epoch where they were. Raises what keeps an event from being decoded or folded.
        """
        content = self._content
        events, recorded = content.view.divided(content.decode_all(recorded), recorded)
        touched = list(content.view.touched(events, recorded))
        known = content.known
        if not known.complete:
            wanted = set(chain.from_iterable(touched)).difference(known.stored)
            wanted = wanted.difference(self._after)  # of two at once it would look through all of the second
            if wanted:
                known.loaded(self._load(wanted, connection))
        fold(content.view, zip(events, recorded, touched, strict=True), known.stored, self._after)

    def _load(self, keys: set[Key], connection: sa.Connection | None) -> dict[Key, Row]:
        if connection is not None:
            return self._content.rows.load(connection, keys)
        with self._content.database.connect() as reading:
            return self._content.rows.load(reading, keys)

    def write(self, connection: sa.Connection) -> None:
        """Write what changed, each row once."""
        self._changes = changes(self._content.view, self._content.known.stored, self._after)
        self._content.rows.write(connection, self._changes)

    def commit(self) -> Sequence[Key]:
        """Remember what is stored now; the keys of the rows that changed."""
        self._content.known.committed(self._changes)
        return self._changes.keys
