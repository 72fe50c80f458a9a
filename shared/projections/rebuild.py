"""Rebuilding a view: new tables beside the old ones, filled from the first event, then swapped in by renaming.

Readers see the old rows until the swap and the new ones after it. The swap waits until the new tables are at least as
far as the old ones, so that nobody's own writes disappear. A rebuild that was interrupted is taken up again when a
projector starts with that version; several processes that do so at once share the work.

Old and new can be compared on the way: the new tables are folded to exactly the position of a snapshot of the old ones.
Nothing waits for that; the view moves on, and the rest of the events is folded before the swap.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa

from shared.errors import Unavailable
from shared.projections.comparison import Comparison, compare
from shared.projections.faults import LostRace
from shared.projections.positions import reached_by
from shared.projections.replay import Progress, Replay
from shared.projections.runner import ViewRunner
from shared.projections.tables import GENERATION, SHADOW, ViewTables, checkpoints, indexes, view_tables
from shared.store.port import Position

SWAP_ATTEMPTS = 100
SWAP_PAUSE_S = 1.0
"""After readers of the old tables did not let the swap through; such a reader may be a comparison of all rows."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did. ``comparison`` is of the old view (left) and the new one, both at ``compared_at``; None if it
    was not asked for, or there was no old view of this version."""

    events: int
    position: Position | None
    compared_at: Position | None = None
    comparison: Comparison | None = None


def rebuild(live: ViewRunner, *, afresh: bool, comparing: bool = False, progress: Progress | None = None) -> Rebuilt:
    """Rebuild a view; ``afresh`` starts at the first event even if an interrupted rebuild could be taken up.

    Raises ``Unavailable`` (also when somebody else began the same rebuild afresh, or the projector stops) and
    ``PoisonError``; the old tables then stay in use.
    """
    replay = Replay(live.tools, view_tables(live.view, SHADOW), progress)
    epoch = _begin(live, replay.runner, afresh)
    compared_at, comparison = None, None
    if epoch is not None:
        if comparing:
            compared_at, comparison = _compare(live, replay, epoch)
        _finish(live, replay, epoch)
    with live.lock:
        live.reload()
    return Rebuilt(replay.events, replay.runner.position, compared_at, comparison)


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


def _compare(live: ViewRunner, replay: Replay, epoch: int) -> tuple[Position | None, Comparison | None]:
    """Compare old and new at one position; the old tables are only read, and nobody else fills the new ones."""
    database, shadow = live.tools.database, replay.runner
    with database.connect() as connection:
        reached = reached_by(connection, live.tables)
    if reached.version != live.view.version or reached.position is None:
        return None, None
    replay.load(epoch)
    replay.run(reached.position)
    with database.connect() as snapshot:
        position = reached_by(snapshot, live.tables, version=live.view.version).position
        replay.advance_to(position)
        with database.connect() as other:
            if reached_by(other, shadow.tables).epoch != epoch:
                raise Unavailable(f"somebody else began to rebuild {live.view.name}")
            return position, compare(snapshot, live.tables, other, shadow.tables)


def _finish(live: ViewRunner, replay: Replay, epoch: int) -> None:
    """Replay and swap, until this process or another one has done it."""
    for _ in range(SWAP_ATTEMPTS):
        try:
            replay.load(epoch)
            if _attempt(live, replay, epoch):
                return
        except LostRace:  # another process that rebuilds the same was faster; go on from where it is
            continue
        except Unavailable:
            if _swapped_by_another(live, epoch):
                return
            raise
    raise Unavailable(f"the rebuild of {live.view.name} does not overtake the running view, or its readers never pause")


def _attempt(live: ViewRunner, replay: Replay, epoch: int) -> bool:
    database, shadow = live.tools.database, replay.runner
    replay.run()
    for index in indexes(shadow.tables, epoch):  # on full tables they cost less than while those are filled
        with database.writing() as connection:  # one at a time: writers of other views wait for each
            shadow.advance(connection, shadow.position)
            connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
    with live.lock:  # this process's view stands still, so that the rebuilt one can overtake it
        replay.run()
        swapped = _swap(live, shadow)
    if swapped is None:
        time.sleep(SWAP_PAUSE_S)
    return bool(swapped)


def _swap(live: ViewRunner, shadow: ViewRunner) -> bool | None:
    """Put the new tables in place of the old ones; False if those are further, None if readers hold them."""
    tools = live.tools
    quote = tools.database.dialect.identifier_preparer.quote
    with tools.database.writing() as connection:
        present = live.stored(connection, hold=True)
        if present is None:
            raise Unavailable(f"view {live.view.name} is not prepared")
        if present.position is not None and (shadow.position is None or shadow.position < present.position):
            return False
        shadow.advance(connection, shadow.position)
        if not tools.database.take_tables(connection, live.tables):
            return None
        tools.database.drop_tables(connection, live.tables)
        for old, new in zip(shadow.tables.all, live.tables.all, strict=True):
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
