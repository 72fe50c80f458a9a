"""Billing's time: the machine's, and in an installation without real money as far ahead as an operator moved it."""

from __future__ import annotations

from datetime import datetime, timedelta
from time import monotonic

from services.billing.clock_moves import CLOCK, STREAM, MoveClock, Moves, ReachMove
from shared.clock import Clock, system_clock
from shared.context import Context
from shared.errors import Unavailable
from shared.store.port import StreamNotFound
from shared.streams import Handled, Streams

LOOK_S = 0.25
"""How long one wait for the end of a move lasts in the store."""


class BillingClock:
    """Safe from any thread. Whatever process moved it: each call reads how far it is ahead. ``is_live``: real money
    moves, so it is never ahead. Every method raises ``Unavailable`` with the store."""

    def __init__(self, streams: Streams, clock: Clock = system_clock, *, is_live: bool = False) -> None:
        self._streams = streams
        self._clock = clock
        self._is_live = is_live

    def __call__(self) -> datetime:
        """The same as ``now``: it is a ``shared.clock.Clock``."""
        return self.now()

    def now(self) -> datetime:
        """An aware UTC datetime."""
        return self._clock() + self.ahead()

    def ahead(self) -> timedelta:
        """How far it is ahead of the machine's."""
        if self._is_live:
            return timedelta(0)
        try:
            last = self._streams.store.read(STREAM, -1, 1, backwards=True)
        except StreamNotFound:
            return timedelta(0)
        return timedelta(seconds=self._streams.contracts.decode(last[0]).offset_s)

    def moves(self) -> Moves:
        """How often it was moved, and whether the last move has been finished."""
        return self._streams.load(CLOCK, STREAM).state

    def move(self, to: datetime, context: Context) -> Handled[Moves]:
        """Let it be ``to``; what comes due by that is then done by the service. Raises ``Refused``: ``live_payments``,
        ``clock_backwards``, ``too_far``."""
        return self._streams.handle(CLOCK, STREAM, MoveClock(to, self._clock(), self._is_live), context)

    def reached(self, move: int, waiting: int, context: Context) -> None:
        """All that came due by the ``move``-th move was done."""
        self._streams.handle(CLOCK, STREAM, ReachMove(move, self.now(), waiting), context)

    def await_reached(self, move: int, patience_s: float) -> Moves:
        """Wait until a service has done all that came due by the ``move``-th move. Raises ``Unavailable`` if none has
        in time: the move stands, and it is done when a service gets to it."""
        deadline = monotonic() + patience_s
        while True:
            head = self._streams.store.head()
            moves = self.moves()
            if moves.reached >= move:
                return moves
            left_s = deadline - monotonic()
            if left_s <= 0:
                raise Unavailable("the clock has moved, but what came due is not done yet; is the platform running?")
            self._streams.store.wait(head, min(LOOK_S, left_s))
