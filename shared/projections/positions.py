"""How far views are, as stored beside their rows."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from shared.errors import Unavailable
from shared.projections.tables import ViewTables, checkpoints, statement
from shared.store.port import Position


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is stored about how far a view is."""

    position: Position | None
    version: int
    epoch: int


def stored(connection: sa.Connection, name: str, *, hold: bool = False) -> Checkpoint | None:
    """The checkpoint of this name; ``hold``: nobody else moves it until this transaction ends."""
    query = sa.select(checkpoints.c.position, checkpoints.c.version, checkpoints.c.epoch)
    query = query.where(checkpoints.c.name == name)
    row = connection.execute(query.with_for_update() if hold else query).one_or_none()
    return None if row is None else Checkpoint(*row)


def reached_by(connection: sa.Connection, tables: ViewTables, *, version: int | None = None) -> Checkpoint:
    """How far a view is. Raises ``Unavailable`` if it is not prepared, or not of this version."""
    found = stored(connection, tables.checkpoint)
    if found is None:
        raise Unavailable(f"view {tables.name} is not prepared")
    if version not in (None, found.version):
        raise Unavailable(f"view {tables.name} became version {found.version} meanwhile; try again")
    return found


def advance_statement(dialect: sa.Dialect) -> str:
    """The compare-and-set of a position, with the parameters new, name, epoch, old."""
    at = checkpoints.c
    old = sa.bindparam("old", type_=sa.BigInteger)
    update = (
        sa.update(checkpoints)
        .where(at.name == sa.bindparam("name_"), at.epoch == sa.bindparam("epoch_"))
        .where(at.position.is_not_distinct_from(old))
        .values(position=sa.bindparam("new"))
    )
    return statement(checkpoints, dialect, "advance", lambda: update)


def repair(connection: sa.Connection, name: str) -> None:
    """Say that rows changed without the position: whoever remembers rows of this view must not rely on them."""
    at = checkpoints.c
    connection.execute(sa.update(checkpoints).where(at.name == name).values(epoch=at.epoch + 1))
