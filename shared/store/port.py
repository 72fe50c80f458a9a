"""What an event store promises; adapters are chosen by URL (``shared.store.open_store``).

A *stream* is a named sequence of events with versions 0, 1, 2…. All streams together are one sequence ordered by
*position*. Appends to one stream are all or nothing. Positions are opaque: compare them, keep them, hand them back,
never calculate with them; they are not contiguous.

Every method may raise ``Unavailable``. Blocking calls, safe from any thread; from asyncio use a thread.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NewType, Protocol
from uuid import UUID

import msgspec

Position = NewType("Position", int)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

MAX_APPEND_BYTES = 1_048_576
"""Largest append: the sum of data, metadata and twice the type name over its events."""
MAX_APPEND_EVENTS = 2_000


class Expected(enum.Enum):
    """Expected states of a stream other than "its last version is n"."""

    NO_STREAM = "no stream"
    """It has no events, or was deleted (then numbering goes on)."""
    ANY = "any"
    """Whatever it is. Only for facts that have no rule to break and whose doubles do not matter."""


NO_STREAM = Expected.NO_STREAM
ANY = Expected.ANY


class New(msgspec.Struct, frozen=True, gc=False):
    """An event to append. ``data`` and ``meta`` are JSON objects as UTF-8 bytes; ``type`` must not start with ``$``."""

    id: UUID
    type: str
    data: bytes
    meta: bytes


@lru_cache(1_024)
def _moment(at_us: int) -> datetime:
    """Remembered, because what was appended together has one time."""
    return _EPOCH + timedelta(microseconds=at_us)


class Recorded(tuple[bytes, str, str, int, Position, int, bytes, bytes]):
    """An event as stored. ``at`` is when the store recorded it, in UTC; it never decreases with position.

    A tuple of what a store keeps, so that a replay builds it in no time: ``id`` and ``at`` are made when asked for.
    """

    __slots__ = ()

    def __new__(
        cls,
        id: UUID,  # noqa: A002 - the field's name
        type: str,  # noqa: A002 - the field's name
        stream: str,
        version: int,
        position: Position,
        at: datetime,
        data: bytes,
        meta: bytes,
    ) -> Recorded:
        at_us = (at - _EPOCH) // _MICROSECOND
        return super().__new__(cls, (id.bytes, type, stream, version, position, at_us, data, meta))

    @property
    def id(self) -> UUID:
        return UUID(bytes=self[0])

    @property
    def type(self) -> str:
        return self[1]

    @property
    def stream(self) -> str:
        return self[2]

    @property
    def version(self) -> int:
        return self[3]

    @property
    def position(self) -> Position:
        return self[4]

    @property
    def at(self) -> datetime:
        return _moment(self[5])

    @property
    def data(self) -> bytes:
        return self[6]

    @property
    def meta(self) -> bytes:
        return self[7]

    def __getnewargs__(self) -> tuple[object, ...]:
        return (self.id, self.type, self.stream, self.version, self.position, self.at, self.data, self.meta)

    def __repr__(self) -> str:
        return f"Recorded({self.type} {self.id}, {self.stream} {self.version}, position {self.position}, {self.at})"


class Append(msgspec.Struct, frozen=True, gc=False):
    """One append to one stream. ``expected`` is the version of its last event now, or an ``Expected``."""

    stream: str
    expected: int | Expected
    events: Sequence[New]


class Appended(msgspec.Struct, frozen=True, gc=False):
    """Where the last event of an append stands."""

    version: int
    position: Position


@dataclass(frozen=True, slots=True)
class Only:
    """A filter: exact event types, or stream name prefixes; both given means both must hold. Empty means no limit."""

    types: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of all events. ``looked`` is the position up to which the store has looked (None: before the first):
    go on from there, whether or not anything matched. ``end`` says that nothing lay behind it at that moment."""

    events: list[Recorded]
    looked: Position | None
    end: bool


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """A subscription has delivered all that there was up to this position; what follows is new."""

    position: Position | None


class StreamNotFound(Exception):
    """The stream has no events, or was deleted."""


class StreamTombstoned(Exception):
    """The stream was deleted for ever: it can be neither read nor appended to."""


class AppendTooLarge(Exception):
    """More than ``MAX_APPEND_BYTES`` or ``MAX_APPEND_EVENTS`` in one append; nothing was stored."""


class Subscription(Protocol):
    """Iterates over events in order of position and, whenever it has reached the end, one ``CaughtUp``.

    It resumes by itself after the store was away. ``stop`` may be called from any thread and ends the iteration.
    """

    def __iter__(self) -> Iterator[Recorded | CaughtUp]: ...

    def stop(self) -> None: ...


class EventStore(Protocol):
    """See the module."""

    def append(self, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        """Append all events or none, durably. Raises ``Conflict``, ``StreamTombstoned``, ``AppendTooLarge``,
        ``Unknown`` (it may have happened) and ``Misuse`` for an empty list.

        Idempotent for an exact version and ``NO_STREAM``: if the stream already holds exactly these event ids behind
        the expected version, the answer is the one given then. For ``ANY`` the same is best effort.
        """
        ...

    def append_many(self, appends: Sequence[Append]) -> list[Appended | Exception]:
        """Many appends, each all or nothing for itself, sharing durable writes where the store can. One outcome for
        each, in order: what ``append`` would have returned or raised."""
        ...

    def read(self, stream: str, first: int = 0, limit: int | None = None, *, backwards: bool = False) -> list[Recorded]:
        """Events of a stream from version ``first`` on (backwards: from ``first`` down, -1 meaning the last one).
        Raises ``StreamNotFound`` and ``StreamTombstoned``; beyond the end the answer is empty."""
        ...

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = Only()) -> Page:
        """Events of all streams behind ``after``, at most ``limit``. Truncated or deleted events may still appear."""
        ...

    def at(self, position: Position) -> Recorded:
        """The event at exactly this position, one that the store gave out. Raises ``shared.errors.NotFound`` when none
        is there: it was forgotten, or never was."""
        ...

    def head(self) -> Position | None:
        """The position of the last event; None when there is none."""
        ...

    def subscribe(self, after: Position | None = None, only: Only = Only()) -> Subscription:
        """Everything behind ``after`` and then whatever comes."""
        ...

    def wait(self, after: Position | None, timeout_s: float) -> bool:
        """Block until there is an event behind ``after`` or the time is over; whether there is one."""
        ...

    def truncate(self, stream: str, before: int) -> None:
        """Forget the events of a stream with versions below ``before``; numbering stays. Used for retention."""
        ...

    def delete(self, stream: str, *, forever: bool = False) -> None:
        """Delete a stream. An append may bring it back, numbering goes on; not so when deleted ``forever``."""
        ...

    def close(self) -> None:
        """Let go of files and connections; running calls end with ``Unavailable``."""
        ...
