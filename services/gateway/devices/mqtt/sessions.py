"""Who is connected to this gateway, by device; one connection a device (MQS-2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

from services.gateway.devices.conduct import HOUR_S
from services.gateway.devices.memory import DeviceMemory
from services.gateway.devices.mqtt.admission import Admitted
from services.gateway.devices.mqtt.effects import Effect, Now
from services.gateway.devices.mqtt.packets import Connect
from services.gateway.devices.mqtt.session import Session

if TYPE_CHECKING:
    from services.gateway.devices.mqtt.connection import Connection
    from services.gateway.devices.mqtt.listener import MqttListener

SLICE = 100
"""Devices looked at in one turn of the loop."""


class Sessions:
    """In the loop's thread, ``directory_changed`` too."""

    def __init__(self, listener: MqttListener) -> None:
        self._listener = listener
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

    def join(
        self, connection: Connection, connect: Connect, connect_bytes: int, admitted: Admitted, secure: bool, now: Now
    ) -> list[Effect] | None:
        """The effects of the new session's start, which the connection now has; None when it is refused as one of a
        storm (MQS-3)."""
        device_id = admitted.entry.device_id
        memory = self._memories.get(device_id)
        if memory is None:
            memory = self._memories[device_id] = DeviceMemory(device_id)
        older, replaced_address = self._connections.get(device_id), None
        session = Session(
            self._listener.around, connect, admitted, memory, next(self._numbers), connection.address, secure, now
        )
        session.bytes_in = connect_bytes
        if older is not None and older.session is not None:
            if memory.storm(now.s - older.session.started_at, now.s):
                self._used_twice(memory, now)
                return None
            replaced_address = older.session.address
            self._connections[device_id] = connection  # so that the older one leaves without going offline
            older.ask(lambda session: session.replaced(now), now)
        self._connections[device_id] = connection
        self._offline.pop(device_id, None)
        connection.session = session
        return session.start(connect, replaced_address, now)

    def _used_twice(self, memory: DeviceMemory, now: Now) -> None:
        self._listener.around.counts["takeover_storms"] += 1
        event = memory.conduct.noted(
            memory.device_id, memory.product_id, "token_used_twice", "two devices use one token", b"", now.s, HOUR_S
        )
        if event is not None:
            self._listener.record(event)

    def leave(self, connection: Connection, session: Session) -> bool:
        """The session is over; whether the device is offline with it."""
        if self._connections.get(session.device_id) is not connection:
            return False
        del self._connections[session.device_id]
        self._offline[session.device_id] = None
        return True

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
            self._listener.loop.call_soon(self._look)

    def _look(self) -> None:
        now = self._listener.now()
        for _ in range(min(SLICE, len(self._news))):
            device_id = self._news.popleft()
            self._awaited.discard(device_id)
            connection = self._connections.get(device_id)
            if connection is not None:
                connection.ask(lambda session: session.directory_changed(now), now)
        if self._news:
            self._listener.loop.call_soon(self._look)

    def sweep(self, now: Now) -> None:
        """Look after devices that are offline: attempts that take too long, and what can be forgotten."""
        for device_id in list(self._offline):
            memory = self._memories[device_id]
            for event in memory.updates.due(now.s):
                self._listener.record(event, f"device:{device_id}")
            if memory.forgettable(now.s):
                del self._offline[device_id], self._memories[device_id]
