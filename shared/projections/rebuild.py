"""Rebuilding a view: new tables beside the old ones, filled from the first event, then swapped in by renaming.

Readers see the old rows until the swap and the new ones after it. The swap waits until the new tables are at least as
far as the old ones, so that nobody's own writes disappear. A rebuild that was interrupted is taken up again when a
projector starts with that version; several processes that do so at once share the work.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from shared.errors import Unavailable
from shared.projections.faults import LostRace
from shared.projections.runner import ViewRunner
from shared.projections.tables import GENERATION, SHADOW, ViewTables, checkpoints, view_tables

SWAP_ATTEMPTS = 50

Progress = Callable[[int, int | None], None]
"""Called after each page with the position reached (0: none yet) and that of the last event."""


def rebuild(live: ViewRunner, *, afresh: bool, progress: Progress | None = None) -> None:
    """Rebuild a view; ``afresh`` starts at the first event even if an interrupted rebuild could be taken up.

    Raises ``Unavailable`` (also when somebody else began the same rebuild afresh, or the projector stops) and
    ``PoisonError``; the old tables then stay in use.
    """
    shadow = ViewRunner(live.tools, view_tables(live.view, SHADOW), lambda keys: None, lambda: None)
    epoch = _begin(live, shadow, afresh)
    if epoch is not None:
        _finish(live, shadow, epoch, progress)
    with live.lock:
        live.reload()


def _begin(live: ViewRunner, shadow: ViewRunner, afresh: bool) -> int | None:
    """Have the new tables there, empty or as an interrupted rebuild left them; their epoch, None if another process
    has swapped them in already."""
    tools, tables, version = live.tools, shadow.tables, live.view.version
    with tools.database.writing() as connection:
        present, found = live.stored(connection, hold=True), shadow.stored(connection)
        if not afresh and present is not None and present.version == version:
            return None
        if not afresh and found is not None and found.version == version:
            return found.epoch
        last = max(checkpoint.epoch for checkpoint in (present, found) if checkpoint is not None)
        epoch = (last // GENERATION + 1) * GENERATION
        tools.database.create_tables(connection, tables)
        tools.parked.clear(connection, tables.name)
        _forget(connection, tables)
        row = {"name": tables.checkpoint, "position": None, "version": version, "epoch": epoch}
        connection.execute(sa.insert(checkpoints).values(row))
        return epoch


def _finish(live: ViewRunner, shadow: ViewRunner, epoch: int, progress: Progress | None) -> None:
    """Replay and swap, until this process or another one has done it."""
    for _ in range(SWAP_ATTEMPTS):
        try:
            shadow.load()
            if _attempt(live, shadow, epoch, progress):
                return
        except LostRace:  # another process that rebuilds the same was faster; go on from where it is
            continue
        except Unavailable:
            if _swapped_by_another(live, epoch):
                return
            raise
    raise Unavailable(f"the rebuild of {live.view.name} does not overtake the running view")


def _attempt(live: ViewRunner, shadow: ViewRunner, epoch: int, progress: Progress | None) -> bool:
    database = live.tools.database
    _replay(shadow, epoch, progress)
    with database.writing() as connection:  # on full tables they cost less than while those are filled
        shadow.advance(connection, shadow.position)
        database.create_indexes(connection, shadow.tables, epoch)
    with live.lock:  # this process's view stands still, so that the rebuilt one can overtake it
        _replay(shadow, epoch, progress)
        return _swap(live, shadow)


def _replay(shadow: ViewRunner, epoch: int, progress: Progress | None) -> None:
    more = True
    while more:
        if shadow.tools.stopping.is_set():
            raise Unavailable(f"the rebuild of {shadow.view.name} was interrupted")
        more = shadow.step(patient=False)
        if shadow.epoch != epoch:
            raise Unavailable(f"somebody else began to rebuild {shadow.view.name}")
        if progress is not None:
            progress(shadow.looked or 0, shadow.tools.store.head())
    shadow.save()


def _swap(live: ViewRunner, shadow: ViewRunner) -> bool:
    """Put the new tables in place of the old ones, unless those are further."""
    tools = live.tools
    quote = tools.database.dialect.identifier_preparer.quote
    with tools.database.writing() as connection:
        present = live.stored(connection, hold=True)
        if present is None:
            raise Unavailable(f"view {live.view.name} is not prepared")
        if present.position is not None and (shadow.position is None or shadow.position < present.position):
            return False
        shadow.advance(connection, shadow.position)
        tools.database.drop_tables(connection, live.tables)
        for old, new in ((shadow.tables.rows, live.tables.rows), (shadow.tables.counts, live.tables.counts)):
            connection.exec_driver_sql(f"ALTER TABLE {quote(old.name)} RENAME TO {quote(new.name)}")
        tools.parked.clear(connection, live.tables.name)
        tools.parked.rename(connection, shadow.tables.name, live.tables.name)
        _forget(connection, shadow.tables)
        connection.execute(
            sa.update(checkpoints)
            .where(checkpoints.c.name == live.tables.checkpoint)
            .values(position=shadow.position, version=live.view.version, epoch=shadow.epoch)
        )
    return True


def _forget(connection: sa.Connection, tables: ViewTables) -> None:
    connection.execute(sa.delete(checkpoints).where(checkpoints.c.name == tables.checkpoint))


def _swapped_by_another(live: ViewRunner, epoch: int) -> bool:
    with live.tools.database.connect() as connection:
        present = live.stored(connection)
    return present is not None and present.epoch // GENERATION == epoch // GENERATION
