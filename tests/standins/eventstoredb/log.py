"""The log of an EventStoreDB server as its documentation and source describe it: expected versions, idempotence by
event id, soft deletes, tombstones, stream metadata. In memory, and in a file where a folder is given.

Positions are byte offsets: rising, with gaps, and 0 belongs to the server's own first event.
"""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from esdbclient.protos.Grpc import shared_pb2, streams_pb2

from tests.standins.eventstoredb.journal import Journal

Event = streams_pb2.ReadResp.ReadEvent.RecordedEvent

NO_STREAM, ANY, EXISTS = -1, -2, -4
DELETED = 2**63 - 1
"""As a version: the stream has a tombstone. As ``$tb``: it is soft-deleted."""
MAX_APPEND_BYTES = 1_048_576
MAX_REMEMBERED = 50_000
"""Ids that an append with ANY is compared with; they are forgotten with the process."""
RECORD_BYTES = 60


class WrongVersion(Exception):
    def __init__(self, current: int) -> None:
        super().__init__(current)
        self.current = current


class Deleted(Exception):
    pass


class NotFound(Exception):
    pass


class TooLarge(Exception):
    pass


class BadPosition(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Proposed:
    id: UUID
    type: str
    content_type: str
    data: bytes
    meta: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data) + len(self.meta) + 2 * len(self.type)


@dataclass(frozen=True, slots=True)
class Done:
    """``position`` is None where the server says that it has none."""

    last: int
    position: int | None


@dataclass(slots=True)
class Stream:
    events: list[Event] = field(default_factory=list)
    is_tombstoned: bool = False

    @property
    def last(self) -> int:
        return DELETED if self.is_tombstoned else len(self.events) - 1


class Log:
    """Safe from any thread; ``changed`` is notified of every write."""

    def __init__(self, folder: Path | None = None) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.all: list[Event] = []
        self._positions: list[int] = []
        self._next_position = 0
        self._ticks = 0
        self._streams: dict[str, Stream] = {}
        self._recent: OrderedDict[UUID, tuple[str, int]] = OrderedDict()
        self._journal = Journal(folder / "log.bin") if folder else None
        for transaction in self._journal.read() if self._journal else ():
            self._apply([Event.FromString(each) for each in transaction])
        self._recent.clear()
        if not self.all:
            self._write("$user-admin", [Proposed(uuid4(), "$UserCreated", "application/json", b"{}", b"")])

    def append(self, name: str, expected: int, events: Sequence[Proposed]) -> Done:
        """Raises ``WrongVersion``, ``Deleted`` and ``TooLarge``."""
        if sum(event.size_bytes for event in events) > MAX_APPEND_BYTES:
            raise TooLarge
        with self.changed:
            is_soft_deleted = self._truncated_before(name) == DELETED
            repeated = self._check(name, expected, events, is_soft_deleted)
            if repeated is not None:
                return repeated
            first = self._stream(name).last + 1
            if not events:
                return Done(first - 1, None)
            position = self._write(name, events)
            if is_soft_deleted:
                self._write_metadata(name, {**self.metadata(name), "$tb": first})
            return Done(first + len(events) - 1, position)

    def delete(self, name: str, expected: int) -> None:
        """Raises ``WrongVersion`` (also where there is no stream) and ``Deleted``."""
        with self.changed:
            last = self._stream(name).last
            if last == DELETED:
                raise Deleted
            if last < 0 or (expected >= NO_STREAM and expected != last):
                raise WrongVersion(last)
            self._write_metadata(name, {**self.metadata(name), "$tb": DELETED})

    def tombstone(self, name: str, expected: int) -> None:
        """Raises ``WrongVersion`` and ``Deleted``."""
        with self.changed:
            last = self._stream(name).last
            if last == DELETED:
                raise Deleted
            if (expected >= NO_STREAM and expected != last) or (expected == EXISTS and last < 0):
                raise WrongVersion(last)
            self._write(name, [Proposed(uuid4(), "$streamDeleted", "application/octet-stream", b"", b"")], DELETED)

    def stream(self, name: str) -> tuple[list[Event], int]:
        """All events ever written to it, and the first version to be shown. Raises ``NotFound`` and ``Deleted``."""
        with self.changed:
            stream = self._streams.get(name, Stream())
            if stream.is_tombstoned or (name.startswith("$$") and self._stream(name[2:]).is_tombstoned):
                raise Deleted
            metadata = self.metadata(name)
            first = self._truncated_before(name)
            if not stream.events or first == DELETED:
                raise NotFound
            return stream.events, max(first, len(stream.events) - metadata.get("$maxCount", len(stream.events)))

    def metadata(self, name: str) -> dict[str, int]:
        """The metadata of a stream; those of metadata streams are fixed: the last one counts."""
        if name.startswith("$$"):
            return {"$maxCount": 1}
        events = self._stream(f"$${name}").events
        found: dict[str, int] = json.loads(events[-1].data) if events else {}
        return found

    def index(self, position: int) -> int:
        """Where in ``all`` the event at this position is. Raises ``BadPosition`` where none is."""
        index = bisect_left(self._positions, position)
        if index == len(self._positions) or self._positions[index] != position:
            raise BadPosition
        return index

    def close(self) -> None:
        if self._journal:
            self._journal.close()

    def _check(self, name: str, expected: int, events: Sequence[Proposed], is_soft_deleted: bool) -> Done | None:
        last = self._stream(name).last
        if last == DELETED or (name.startswith("$$") and self._stream(name[2:]).is_tombstoned):
            raise Deleted
        if expected == EXISTS:
            if is_soft_deleted:
                raise Deleted
            if last < 0 and not self._stream(f"$${name}").events:
                raise WrongVersion(last)
        if expected in (ANY, EXISTS):
            return self._known(name, events)
        if expected > last:
            raise WrongVersion(last)
        return self._repeated(name, expected, events, is_soft_deleted) if expected < last else None

    def _known(self, name: str, events: Sequence[Proposed]) -> Done | None:
        last = -1
        for index, event in enumerate(events):
            stream, number = self._recent.get(event.id, ("", -1))
            if stream != name:
                if index > 0:
                    raise WrongVersion(self._stream(name).last)
                return None
            last = number
        return self._done(name, last) if events else None

    def _repeated(self, name: str, expected: int, events: Sequence[Proposed], is_soft_deleted: bool) -> Done | None:
        stored = self._stream(name).events
        for index, event in enumerate(events):
            number = expected + 1 + index
            if number < len(stored) and stored[number].id.string == str(event.id):
                continue
            if index == 0 and expected == NO_STREAM and is_soft_deleted:
                return None
            raise WrongVersion(len(stored) - 1)
        return self._done(name, expected + len(events))

    def _done(self, name: str, number: int) -> Done:
        is_readable = number >= self._truncated_before(name)
        return Done(number, self._stream(name).events[number].commit_position if is_readable else None)

    def _stream(self, name: str) -> Stream:
        return self._streams.get(name) or Stream()

    def _truncated_before(self, name: str) -> int:
        return self.metadata(name).get("$tb", 0)

    def _write_metadata(self, name: str, metadata: dict[str, int]) -> None:
        data = json.dumps(metadata).encode()
        self._write(f"$${name}", [Proposed(uuid4(), "$metadata", "application/json", data, b"")])

    def _write(self, name: str, events: Sequence[Proposed], number: int | None = None) -> int:
        """One transaction; the position of its last event."""
        self._ticks = max(self._ticks, time.time_ns() // 100)
        first = self._stream(name).last + 1 if number is None else number
        position, made = self._next_position, []
        for index, event in enumerate(events):
            made.append(
                Event(
                    id=shared_pb2.UUID(string=str(event.id)),
                    stream_identifier=shared_pb2.StreamIdentifier(stream_name=name.encode()),
                    stream_revision=first + index,
                    commit_position=position,
                    prepare_position=position,
                    metadata={"type": event.type, "content-type": event.content_type, "created": str(self._ticks)},
                    custom_metadata=event.meta,
                    data=event.data,
                )
            )
            position += RECORD_BYTES + len(name) + event.size_bytes
        if self._journal:
            self._journal.write([event.SerializeToString() for event in made])
        self._apply(made)
        return made[-1].commit_position

    def _apply(self, transaction: Sequence[Event]) -> None:
        for event in transaction:
            name = event.stream_identifier.stream_name.decode()
            stream = self._streams.setdefault(name, Stream())
            if event.stream_revision == DELETED:
                stream.is_tombstoned = True
            else:
                stream.events.append(event)
            self.all.append(event)
            self._positions.append(event.commit_position)
            size_bytes = len(event.data) + len(event.custom_metadata) + 2 * len(event.metadata["type"])
            self._next_position = event.commit_position + RECORD_BYTES + len(name) + size_bytes
            self._ticks = int(event.metadata["created"])
            self._recent[UUID(event.id.string)] = (name, event.stream_revision)
            if len(self._recent) > MAX_REMEMBERED:
                self._recent.popitem(last=False)
        with self.changed:
            self.changed.notify_all()
