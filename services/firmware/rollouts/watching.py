"""What the coordinator asks of the views. Each answer is bounded and comes from an index."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

import sqlalchemy as sa

from services.firmware.rollouts.rollout_views import DEVICES_VIEW, IN_TURN, ROLLOUTS_VIEW
from services.firmware.rollouts.rounds import Deadline
from services.firmware.rollouts.turns import MOST_DEVICES, Candidate
from services.firmware.rollouts.watch_view import WATCH_VIEW
from shared.errors import Unavailable
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.port import Position

PATIENCE_S = 2.0
"""How long a round waits for the views."""


class Watch:
    """Reads the views of the service."""

    def __init__(self, database: Database, projector: Projector) -> None:
        self._database = database
        self._projector = projector
        self._rollouts = database.table(ROLLOUTS_VIEW)
        self._watch = database.table(WATCH_VIEW)
        self._counts = database.counts(DEVICES_VIEW)

    def reach(self, position: Position | None) -> None:
        """Return when the views have come so far. Raises ``Unavailable`` if that takes more than 2 s."""
        if not self._projector.wait_for(position, PATIENCE_S):
            raise Unavailable(f"the views have not reached position {position} yet")

    def active(self) -> Iterator[tuple[str, int]]:
        """Roll-outs that are unfinished, or have turns under way, each with its product."""
        rollouts, counts = self._rollouts, self._counts
        under_way = sa.select(rollouts.c.rollout_id, rollouts.c.product_id).where(rollouts.c.under_way.is_not(None))
        ending = sa.select(rollouts.c.rollout_id, rollouts.c.product_id).join_from(
            counts, rollouts, counts.c.scope == rollouts.c.rollout_id
        )
        with self._database.connect() as connection:
            yield from connection.execute(under_way).tuples()
            yield from connection.execute(ending.where(counts.c.item == IN_TURN)).tuples()

    def fated(self, rollout_id: str) -> dict[str, str]:
        """Devices whose turn ended with an outcome that is not recorded yet, and the outcome."""
        watch = self._watch
        query = sa.select(watch.c.device_id, watch.c.fate).where(watch.c.fated == rollout_id).limit(MOST_DEVICES)
        with self._database.connect() as connection:
            return dict(connection.execute(query).tuples().all())

    def silent(self, rollout_id: str, deadline: Deadline, before: datetime) -> Sequence[str]:
        """Devices in their turn that are in this state since before that moment."""
        watch = self._watch
        query = sa.select(watch.c.device_id).where(
            watch.c.turning == rollout_id, watch.c.state == deadline.state, watch.c.since <= before
        )
        if deadline.offline:
            query = query.where(watch.c.online.is_(False))
        with self._database.connect() as connection:
            return connection.execute(query.order_by(watch.c.since).limit(MOST_DEVICES)).scalars().all()

    def unwatched(self, rollout_id: str, devices: Collection[str]) -> set[str]:
        """Those of these devices that the view does not know to be in their turn."""
        if not devices:
            return set()
        watch = self._watch
        is_mine = sa.or_(watch.c.turning == rollout_id, watch.c.fated == rollout_id)
        query = sa.select(watch.c.device_id).where(watch.c.device_id.in_(devices), is_mine)
        with self._database.connect() as connection:
            return set(devices) - set(connection.execute(query).scalars())

    def waiting(self, rollout_id: str, share: int, most: int, *, only_again: bool) -> list[Candidate]:
        """The first devices before this place that wait for a turn."""
        watch = self._watch
        query = sa.select(watch.c.device_id, watch.c.turns).where(watch.c.waiting == rollout_id, watch.c.place < share)
        if only_again:
            query = query.where(watch.c.turns > 0)
        with self._database.connect() as connection:
            rows = connection.execute(query.order_by(watch.c.place).limit(most)).all()
        return [Candidate(row.device_id, row.turns > 0) for row in rows]

    def away(self, rollout_id: str, before: datetime, behind: Position | None, most: int) -> int:
        """How many devices succeeded, behind this position, and are offline since before that moment; at most so
        many."""
        watch = self._watch
        query = sa.select(watch.c.device_id).where(watch.c.away == rollout_id, watch.c.since <= before)
        if behind is not None:
            query = query.where(watch.c.ended > behind)
        with self._database.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(query.limit(most).subquery())).scalar_one()
