"""Past moments, and which copy of the views is of which moment. Pure.

A moment is a time (all that was recorded until then, inclusive) or a position (all up to it). ``at`` never decreases
with position, so both cut the sequence of events once: a copy is good for every moment from its last event to the
next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from shared.errors import Refused
from shared.store.port import Position, Recorded

MAX_TEXT = 64
MAX_POSITION = 2**63 - 1
SETTLED = timedelta(seconds=2)
"""So long after a moment nothing is recorded any more that bears an earlier time: what is being written is on disk."""

State = Literal["waiting", "building", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where an event stands and when it was recorded."""

    position: Position
    at: datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in UTC or a position; the other is None."""

    at: datetime | None = None
    position: Position | None = None

    def __str__(self) -> str:
        return self.at.isoformat().replace("+00:00", "Z") if self.at else str(self.position)

    def includes(self, stamp: Stamp) -> bool:
        """Whether that event had been recorded by then."""
        if self.at is not None:
            return stamp.at <= self.at
        return self.position is not None and stamp.position <= self.position

    def is_settled(self, now: datetime) -> bool:
        """Whether nothing can be recorded any more that belongs to it."""
        return self.at is None or now >= self.at + SETTLED

    def kept(self, events: Sequence[Recorded]) -> int:
        """How many of these events, which follow each other, belong to it."""
        if not events or self.includes(stamp_of(events[-1])):
            return len(events)
        low, high = 0, len(events) - 1  # the last one does not belong to it
        while low < high:
            middle = (low + high) // 2
            if self.includes(stamp_of(events[middle])):
                low = middle + 1
            else:
                high = middle
        return low


def stamp_of(recorded: Recorded) -> Stamp:
    """Of an event."""
    return Stamp(recorded.position, recorded.at)


def parse(text: object, name: str = "as_of") -> Moment:
    """An ISO 8601 time with a zone, or a decimal position. Raises ``Refused("invalid_request")``; ``name`` says there
    what the text is called."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
        raise _invalid(name)
    if text.isascii() and text.isdigit():
        if len(text) > 19 or int(text) > MAX_POSITION:
            raise _invalid(name)
        return Moment(position=Position(int(text)))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _invalid(name) from None
    if at.tzinfo is None:
        raise Refused("invalid_request", f"{name}: the time {text} has no zone; add Z, or an offset such as +02:00.")
    try:
        return Moment(at=at.astimezone(UTC))
    except OverflowError:
        raise _invalid(name) from None


def check_past(moment: Moment, now: datetime, head: Position | None, name: str = "as_of") -> None:
    """Raises ``Refused("invalid_request")`` for what has not come yet."""
    if moment.at is not None and moment.at > now:
        raise Refused("invalid_request", f"{name}: {moment} is in the future; it is {Moment(at=now)} now.")
    if moment.position is not None and moment.position > (head or 0):
        raise Refused("invalid_request", f"{name}: position {moment} is in the future; the last one is {head or 0}.")


def check_order(since: Moment, until: Moment) -> None:
    """Raises ``Refused("invalid_request")`` when the first is certainly later than the second."""
    both_at = since.at is not None and until.at is not None and since.at > until.at
    both_position = since.position is not None and until.position is not None and since.position > until.position
    if both_at or both_position:
        raise Refused("invalid_request", f"from: {since} is later than to, {until}.")


def _invalid(name: str) -> Refused:
    reason = (
        "must be a time with its zone such as 2026-01-31T12:00:00Z, or a position such as 4711 "
        "(in a URL a plus sign is written %2B)."
    )
    return Refused("invalid_request", f"{name}: {reason}")


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a service's views as they were.

    ``last`` is the last event in it, ``next`` the first one behind it, as far as one is known; ``through`` are moments
    up to which it is known to be good (a copy that is not ready is wanted for them). ``events_done`` and
    ``events_total`` are counted in positions, which are not contiguous: the second is an upper bound.
    """

    number: int
    state: State
    through_at: datetime | None
    through_position: Position | None
    last: Stamp | None = None
    next: Stamp | None = None
    events_done: int = 0
    events_total: int = 0
    base: int | None = None
    error: str | None = None
    seen_at: datetime = datetime.min.replace(tzinfo=UTC)
    used_at: datetime = datetime.min.replace(tzinfo=UTC)

    @property
    def wanted(self) -> Moment:
        """The moment that it is built for."""
        return Moment(at=self.through_at) if self.through_at else Moment(position=self.through_position)


def is_of(copy: Copy, moment: Moment) -> bool:
    """Whether the copy, once it is ready, is what the views were at that moment."""
    if copy.last is not None and not moment.includes(copy.last):
        return False
    if copy.next is not None:
        return not moment.includes(copy.next)
    if moment.at is not None:
        return copy.through_at is not None and moment.at <= copy.through_at
    if copy.last is not None and moment.position == copy.last.position:
        return True
    return _up_to(moment.position, copy.through_position)


def _up_to(position: Position | None, through: Position | None) -> bool:
    return position is not None and through is not None and position <= through


def nearest(copies: Iterable[Copy], moment: Moment) -> Copy | None:
    """The ready copy that lacks the fewest events of that moment and has none too many."""
    earlier = [
        copy for copy in copies if copy.state == "ready" and copy.last is not None and moment.includes(copy.last)
    ]
    return max(earlier, key=lambda copy: copy.last.position if copy.last else 0, default=None)
