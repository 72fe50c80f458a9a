"""Who is connected to this gateway, by device, whatever protocol it speaks; one connection a device (MQS-2, and section
5.12 of Particle's protocol)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Literal, Protocol

from services.gateway.devices.calls import Question
from services.gateway.devices.conduct import HOUR_S
from services.gateway.devices.effects import Now, SessionName
from services.gateway.devices.memory import DeviceMemory
from shared.events.gateway import DeviceDisconnected

SLICE = 100
"""Devices looked at in one turn of the loop."""

FACTS_OF_A_SESSION = 2
"""Its beginning and its end."""

Dismissal = Literal["kicked", "draining"]


class LiveSession(Protocol):
    """One connected device, as every protocol's session machine shows it."""

    @property
    def device_id(self) -> str: ...

    @property
    def memory(self) -> DeviceMemory: ...

    @property
    def name(self) -> SessionName: ...

    @property
    def address(self) -> str: ...

    @property
    def started_at(self) -> float: ...

    @property
    def connected_at(self) -> datetime: ...


class Connection(Protocol):
    """What a protocol's connection of one device does when it is told; none of it raises."""

    @property
    def session(self) -> LiveSession | None:
        """None before the device is known, and after the end."""
        ...

    def replaced(self, now: Now) -> None:
        """A newer connection of the device takes over: end, and leave it to the newer one to be online."""
        ...

    def news(self, now: Now) -> None:
        """The directory has news of the device or of its product."""
        ...

    def dismiss(self, ending: Dismissal, text: str) -> None:
        """The gateway ends it."""
        ...

    def ask(self, number: int, question: Question, now: Now) -> None:
        """Ask the device; ``DeviceServer.answered`` is told what became of it, unless the session ends before."""
        ...

    def unask(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        ...


class Surrounding(Protocol):
    """What sessions need of the device server."""

    def now(self) -> Now: ...

    def soon(self, call: Callable[[], None]) -> None:
        """In the next turn of the loop."""
        ...

    def note(self, kind: str) -> None:
        """Count it."""
        ...

    def record(self, event: object, actor: str = "system:gateway") -> None: ...

    def ended(self, device_id: str) -> None:
        """The device's session is over: whoever waits for an answer of it waits in vain."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A device's place among the sessions, for the session that begins now; ``older`` is the one that it follows."""

    memory: DeviceMemory
    number: int
    older: LiveSession | None

    @property
    def replaced_address(self) -> str | None:
        """Where the older connection came from, if there was one."""
        return None if self.older is None else self.older.address


class Sessions:
    """In the loop's thread, ``directory_changed`` too."""

    def __init__(self, around: Surrounding) -> None:
        self._around = around
        self._connections: dict[str, Connection] = {}
        self._memories: dict[str, DeviceMemory] = {}
        self._offline: dict[str, None] = {}
        self._numbers = count(1)
        self._news: deque[str] = deque()
        self._awaited: set[str] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def __contains__(self, device_id: str) -> bool:
        return device_id in self._connections

    def __iter__(self) -> Iterator[str]:
        """The devices that are connected."""
        return iter(list(self._connections))

    def connection(self, device_id: str) -> Connection | None:
        """The connection of a device."""
        return self._connections.get(device_id)

    def memory(self, device_id: str) -> DeviceMemory:
        """What is remembered of a device, connected or not; forgotten again when there is nothing to remember."""
        memory = self._memories.get(device_id)
        if memory is None:
            memory = self._memories[device_id] = DeviceMemory(device_id)
            self._offline[device_id] = None
        return memory

    def remembered(self, device_id: str) -> DeviceMemory | None:
        """The same, without beginning to remember."""
        return self._memories.get(device_id)

    def join(self, connection: Connection, device_id: str, now: Now) -> Place | None:
        """The device has a new connection, which is to have a session when this returns; an older one is over by then.
        None when it is refused as one of a storm (MQS-3), or because the device connects too often."""
        memory = self.memory(device_id)
        if memory.may_cause_facts_from(now.s) is not None:
            self._misbehaved(memory, "too_many_connections", "connects, or reports, faster than it may", now)
            return None
        older = self._connections.get(device_id)
        session = None if older is None or older is connection else older.session
        if older is not None and session is not None:
            if memory.storm(now.s - session.started_at, now.s):
                self._around.note("takeover_storms")
                self._misbehaved(memory, "token_used_twice", "two devices use one identity", now)
                return None
            self._connections[device_id] = connection  # so that the older one leaves without going offline
            older.replaced(now)
            self._around.ended(device_id)
        self._connections[device_id] = connection
        self._offline.pop(device_id, None)
        memory.caused(FACTS_OF_A_SESSION, now.s)
        return Place(memory, next(self._numbers), session)

    def failed(self, connection: Connection, place: Place | None, now: Now) -> None:
        """The session that was to begin at this place did not; the device is offline, also if an older session made
        room for it."""
        device_id = "" if place is None else place.memory.device_id
        if place is None or self._connections.get(device_id) is not connection:
            return
        del self._connections[device_id]
        self._offline[device_id] = None
        self._around.ended(device_id)
        if place.older is not None:
            duration_s = max(0, int(now.s - place.older.started_at))
            product_id = place.memory.product_id
            ended = DeviceDisconnected(device_id, product_id, *place.older.name, "kicked", duration_s, 0, 0, 0, 0)
            self._around.record(ended, f"device:{device_id}")

    def _misbehaved(self, memory: DeviceMemory, kind: str, text: str, now: Now) -> None:
        about = (memory.device_id, memory.product_id)
        event = memory.conduct.noted(*about, kind, text, b"", now.s, HOUR_S, memory.version)
        if event is not None:
            self._around.record(event)

    def leave(self, connection: Connection, session: LiveSession) -> bool:
        """The session is over; whether the device is offline with it."""
        if self._connections.get(session.device_id) is not connection:
            return False
        del self._connections[session.device_id]
        self._offline[session.device_id] = None
        self._around.ended(session.device_id)
        return True

    def elsewhere(self, device_id: str, name: SessionName, connected_at: datetime, now: Now) -> None:
        """The device has a session of this name on another gateway: an older one here is over (MQS-2), and what becomes
        of an update that it was applying is told there."""
        connection, memory = self._connections.get(device_id), self._memories.get(device_id)
        session = None if connection is None else connection.session
        if connection is not None and session is not None:
            if name.gateway == session.name.gateway or (session.connected_at, *session.name) >= (connected_at, *name):
                return
            self._around.note("taken_over_elsewhere")
            connection.replaced(now)
        if memory is not None:
            memory.updates.left()

    def directory_changed(self, device_ids: frozenset[str], product_ids: frozenset[int]) -> None:
        """Rows of these devices and products changed: whoever of them is connected is looked at again, a slice a
        turn of the loop."""
        if product_ids:
            found = (
                device_id
                for device_id, connection in self._connections.items()
                if device_id in device_ids
                or (connection.session is not None and connection.session.memory.product_id in product_ids)
            )
        elif len(device_ids) < len(self._connections):
            found = (device_id for device_id in device_ids if device_id in self._connections)
        else:
            found = (device_id for device_id in self._connections if device_id in device_ids)
        idle = not self._news
        for device_id in found:
            if device_id not in self._awaited:
                self._awaited.add(device_id)
                self._news.append(device_id)
        if idle and self._news:
            self._around.soon(self._look)

    def _look(self) -> None:
        now = self._around.now()
        for _ in range(min(SLICE, len(self._news))):
            device_id = self._news.popleft()
            self._awaited.discard(device_id)
            connection = self._connections.get(device_id)
            if connection is not None:
                connection.news(now)
        if self._news:
            self._around.soon(self._look)

    def sweep(self, now: Now) -> None:
        """Look after devices that are offline: attempts that take too long, and what can be forgotten."""
        for device_id in list(self._offline):
            memory = self._memories[device_id]
            for event in memory.updates.due(now.s):
                self._around.record(event, f"device:{device_id}")
            if memory.forgettable(now.s):
                del self._offline[device_id], self._memories[device_id]
