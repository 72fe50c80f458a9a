"""Whether a live view is what its events say: folded once more from the first event, and compared row by row (EVT-2).

The live view may move on meanwhile. The scratch tables are folded to where it was; then a snapshot of it is taken,
they are folded to exactly the position of that snapshot, and the two are compared. Nothing waits for any of this, and
the snapshot lasts as long as the comparison, not as long as the folding.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.projections.comparison import Comparison, compare
from shared.projections.positions import reached_by
from shared.projections.replay import Progress, beside
from shared.projections.tables import ViewTables
from shared.projections.tools import Tools
from shared.store.port import Position


@dataclass(frozen=True, slots=True)
class Verified:
    """What came out for one view. ``left`` of the comparison is the live view, ``right`` what its events say; both at
    ``position``. ``parked`` and ``folded_parked`` are how many events each went on without: if they are not the same,
    that explains a difference. ``problem`` says why there is no comparison."""

    view: str
    position: Position | None
    events: int
    comparison: Comparison | None
    parked: int = 0
    folded_parked: int = 0
    problem: str | None = None

    @property
    def equal(self) -> bool:
        """Whether the live view is what its events say."""
        return self.comparison is not None and self.comparison.equal


def verify(tools: Tools, live: ViewTables, progress: Progress | None = None) -> Verified:
    """Verify a view of the database of ``tools``. It is not changed. Raises ``Refused`` (see ``scratch``),
    ``Unavailable`` and, for a view that stops at poison, ``PoisonError``."""
    with tools.database.connect() as connection:
        reached = reached_by(connection, live)
    if reached.version != live.view.version:
        problem = f"stored is version {reached.version}, this program has {live.view.version}: it is to be rebuilt"
        return Verified(live.name, reached.position, 0, None, problem=problem)
    with beside(tools, live.view, progress) as replay:
        replay.advance_to(reached.position)
        with tools.database.connect() as snapshot:
            position = reached_by(snapshot, live, version=live.view.version).position
            replay.advance_to(position)
            with replay.tools.database.connect() as other:
                comparison = compare(snapshot, live, other, replay.tables)
        parked, folded_parked = (each.count().get(live.name, 0) for each in (tools.parked, replay.tools.parked))
        return Verified(live.name, position, replay.events, comparison, parked, folded_parked)
