"""How far billing's time is ahead of the machine's: an operator moves it forward in an installation without real money,
so that what comes due in a year can be seen today (contract 13.3). Stream ``billing-clock``. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from services.billing.cycle import in_seconds
from shared.aggregates import Aggregate
from shared.errors import Refused
from shared.events.billing import ClockMoved, ClockReached

STREAM = "billing-clock"
FURTHEST_S = 100 * 366 * 86_400
"""No move goes further ahead of the machine's time."""


@dataclass(frozen=True, slots=True)
class Moves:
    """``moves``: how many there were; ``reached``: after which of them all was done that came due; ``waiting``: the
    attempts whose fate was not known then."""

    offset_s: int = 0
    moves: int = 0
    reached: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class MoveClock:
    """Let it be ``to``. ``real``: the machine's time; ``is_live``: real money moves."""

    to: datetime
    real: datetime
    is_live: bool


@dataclass(frozen=True, slots=True)
class ReachMove:
    """All that came due by this move, the ``move``-th, was done."""

    move: int
    at: datetime
    waiting: int


Command = MoveClock | ReachMove
Event = ClockMoved | ClockReached


def decide(state: Moves, command: Command) -> list[Event]:
    """Raises ``Refused``: ``live_payments``, ``clock_backwards``, ``too_far``."""
    if isinstance(command, ReachMove):
        if command.move != state.moves or state.reached == state.moves:
            return []
        return [ClockReached(in_seconds(command.at), state.offset_s, command.waiting)]
    if command.is_live:
        raise Refused("live_payments", "with a live key the clock cannot be moved: cards would be charged early")
    to = in_seconds(command.to)
    offset_s = int((to - in_seconds(command.real)).total_seconds())
    if offset_s < state.offset_s:
        raise Refused("clock_backwards", "billing's clock can be moved forward only; what happened has happened")
    if offset_s > FURTHEST_S:
        raise Refused("too_far", "billing's clock can be moved a hundred years ahead at most")
    return [ClockMoved(to, offset_s)]


def evolve(state: Moves, event: Event) -> Moves:
    """What the event makes true."""
    if isinstance(event, ClockMoved):
        return replace(state, offset_s=event.offset_s, moves=state.moves + 1)
    return replace(state, reached=state.moves, waiting=event.waiting)


CLOCK = Aggregate(Moves(), decide, evolve)
