"""Folding the rows that a range of events touches once more, each from its whole history (EVT-3).

No event is ever applied to a row that has it already: the rows are folded from the first event into scratch tables, up
to exactly the position of the live view, and those that are not the same are put in place. A row that was damaged is
thereby repaired; refolding a healthy view changes nothing. Counters move by the difference of the rows: counters that
did not fit their rows before do not fit them afterwards, and only a rebuild repairs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import sqlalchemy as sa

from shared.errors import NotFound, Refused
from shared.projections.faults import is_poison
from shared.projections.folding import changes
from shared.projections.history import Measured
from shared.projections.parked import Parked
from shared.projections.positions import reached_by, repair
from shared.projections.replay import Progress, Replay, beside
from shared.projections.rows import Rows
from shared.projections.runner import ViewRunner
from shared.projections.view import Key, View
from shared.store.port import Only, Position, Recorded

MAX_ROWS = 200_000
"""Most rows in one refold: their keys are in memory."""
CHUNK_ROWS = 1_000

Find = Callable[[Parked], Recorded]
"""The event that is parked; raises ``NotFound`` if it is no longer in the store."""


@dataclass(frozen=True, slots=True)
class Refolded:
    """How many events the range has for this view, how many rows they touch, and how many of those were other than
    their events say and are right now."""

    events: int
    rows: int
    changed: int


def refold(
    live: ViewRunner, after: Position | None, until: Position | None, find: Find, progress: Progress | None = None
) -> Refolded:
    """Refold the rows touched by the events behind ``after`` and up to ``until`` (None: from the first, to the last).

    Raises ``Refused("too_many_rows")`` beyond ``MAX_ROWS``, ``Refused("scratch_in_use")``, ``Unavailable`` and, for a
    view that stops at poison, ``PoisonError``; nothing has changed then.
    """
    with live.tools.database.connect() as connection:
        reached = reached_by(connection, live.tables, version=live.view.version).position
    events, touched = _touched(live, after, until)
    if not touched or reached is None:
        return Refolded(events, len(touched), 0)
    parked = _parked(live, find, touched)
    view = replace(live.view, by_envelope=True, keys=partial(_keys_among, live.view, touched))
    with beside(live.tools, view, progress) as replay:
        replay.advance_to(reached)
        pair = _Pair(live, replay)
        wrong = pair.different(sorted(touched))
        still = {each.event_id for each in replay.tools.parked.listed({view.name})}
        healed = [each for each in parked if each.event_id not in still]
        changed = pair.put_in_place(wrong, healed) if wrong or healed else 0
    return Refolded(events, len(touched), changed)


def _touched(live: ViewRunner, after: Position | None, until: Position | None) -> tuple[int, set[Key]]:
    """How many events the range has, and the keys of their rows."""
    tools, touched = live.tools, set[Key]()
    history = Measured(tools.history or tools.store)
    history.until = until
    while True:
        page = history.read_all(after, tools.page_events, Only(types=live.view.event_types))
        for recorded in page.events:
            touched.update(_keys(live, recorded))
        if len(touched) > MAX_ROWS:
            _refuse(live.view.name)
        if page.end:
            return history.events, touched
        after = page.looked


def _keys(live: ViewRunner, recorded: Recorded) -> list[Key]:
    """None for an event that cannot be decoded: no view has folded it."""
    try:
        return _keys_of(live.view, live.tools.contracts.decode(recorded), recorded)
    except Exception as error:
        if not is_poison(error):
            raise
        return []


def _keys_of(view: View, event: Any, recorded: Recorded) -> list[Key]:
    touched = view.touched(*view.divided([event], [recorded]))
    return list(dict.fromkeys(key for keys in touched for key in keys))


def _keys_among(view: View, touched: set[Key], part: Any, recorded: Recorded) -> list[Key]:
    [keys] = view.touched([part], [recorded])
    return [key for key in keys if key in touched]


def _refuse(name: str) -> None:
    advice = f"take a shorter range, or build the view anew: `flotilla projections rebuild {name}`"
    raise Refused("too_many_rows", f"these events touch more than {MAX_ROWS} rows of {name}; {advice}")


def _parked(live: ViewRunner, find: Find, touched: set[Key]) -> list[Parked]:
    """The parked events whose rows are folded once more; rows that such an event shares with these are added, because
    an event that can be folded meanwhile must reach all of its rows before it is unparked."""
    waiting = [(each, _keys_of_parked(live, find, each)) for each in live.tools.parked.listed({live.tables.name})]
    more = True
    while more:
        shared = {key for _, keys in waiting if not touched.isdisjoint(keys) for key in keys}
        more = not shared <= touched
        touched |= shared
    return [each for each, keys in waiting if keys and touched.issuperset(keys)]


def _keys_of_parked(live: ViewRunner, find: Find, parked: Parked) -> list[Key]:
    try:
        return _keys(live, find(parked))
    except NotFound:  # then it is not in the history either
        return []


class _Pair:
    """The live rows and the folded ones."""

    def __init__(self, live: ViewRunner, replay: Replay) -> None:
        self._live = live
        self._replay = replay
        self._is = Rows(live.tools.database, live.tables)
        self._should = Rows(replay.tools.database, replay.tables)

    def different(self, keys: Sequence[Key]) -> list[Key]:
        """Those of the keys whose rows are not the same, at one position."""
        live, replay = self._live, self._replay
        with live.tools.database.connect() as snapshot:
            replay.advance_to(reached_by(snapshot, live.tables, version=live.view.version).position)
            with replay.tools.database.connect() as other:
                wrong: list[Key] = []
                for some in _chunks(keys):
                    found, folded = self._is.load(snapshot, some), self._should.load(other, some)
                    wrong += [key for key in some if found.get(key) != folded.get(key)]
                return wrong

    def put_in_place(self, keys: Sequence[Key], healed: Sequence[Parked]) -> int:
        """Make these rows what they should be, at the position where the live view is now, and unpark what is among
        them. Other writers of the live view wait; whoever remembers its rows is put off."""
        live, replay, changed = self._live, self._replay, 0
        database, parked = live.tools.database, live.tools.parked
        with live.lock:
            with database.writing() as connection:
                live.stored(connection, hold=True)
                replay.advance_to(reached_by(connection, live.tables, version=live.view.version).position)
                with replay.tools.database.connect() as other:
                    for some in _chunks(keys):
                        changed += self._repair(connection, other, some)
                for each in healed:
                    parked.remove(connection, each.id)
                repair(connection, live.tables.checkpoint)
            live.reload()
        return changed

    def _repair(self, connection: sa.Connection, other: sa.Connection, keys: Sequence[Key]) -> int:
        found, folded = self._is.load(connection, keys), self._should.load(other, keys)
        wrong = {key: folded.get(key) for key in keys if found.get(key) != folded.get(key)}
        difference = changes(self._live.view, found, wrong)
        self._is.write(connection, difference)
        return len(difference.keys)


def _chunks(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    return (keys[start : start + CHUNK_ROWS] for start in range(0, len(keys), CHUNK_ROWS))
