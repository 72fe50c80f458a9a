"""What the listeners of all protocols over TCP share: ports, who is connected, one timer for all of them, and the end.

A protocol derives its listener from this, says what a connection becomes (``Kind``), and has its connections call
``welcomes`` when they begin and ``gone`` when their socket is closed.
"""

from __future__ import annotations

import asyncio
from typing import Generic, Protocol, TypeVar

from services.gateway.devices.accepting import Acceptor, Kind
from services.gateway.devices.effects import Now
from services.gateway.devices.limits import LoginGuard
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.sessions import Dismissal
from services.gateway.devices.timers import Scheduled, Wheel

LINGER_S = 1.0
"""A connection that was ended is aborted after this, whatever the peer does (MQS-6)."""
WAKE_AT_ONCE = 200
"""Connections woken in one turn of the loop."""


class StreamLimits(Protocol):
    """Of a listener, among others."""

    @property
    def connections(self) -> int: ...

    @property
    def refused_logins(self) -> int:
        """Of one address within ``refused_logins_s``; beyond that it goes unheard for as long."""
        ...

    @property
    def refused_logins_s(self) -> float: ...

    @property
    def tick_s(self) -> float:
        """The step of the wheel."""
        ...


class StreamConnection(Scheduled, Protocol):
    """One socket; it waits in the listener's wheel."""

    @property
    def address(self) -> str: ...

    @property
    def proven(self) -> bool:
        """Whether it is known which device it is."""
        ...

    def wake(self, now: Now) -> None:
        """The moment that it waited for in the wheel has come."""
        ...

    def dismiss(self, ending: Dismissal, text: str) -> None:
        """The gateway ends it; within ``LINGER_S`` the socket is closed."""
        ...


C = TypeVar("C", bound=StreamConnection)


class StreamListener(Generic[C]):
    """For one epoch of one gateway; everything in the running loop's thread."""

    def __init__(self, server: DeviceServer, limits: StreamLimits) -> None:
        self.server = server
        self.loop = server.loop
        self.guard = LoginGuard(limits.refused_logins, limits.refused_logins_s)
        self.connections: set[C] = set()
        self.wheel: Wheel[C] = Wheel(limits.tick_s, self.loop.time())
        self._most_connections = limits.connections
        self._tick_s = limits.tick_s
        self._acceptors: list[Acceptor] = []
        self._ticking: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    async def _listen(self, host: str, number: int, kind: Kind) -> int:
        """Listen on one more port, and answer with its number. Raises ``OSError`` when it is not to be had."""
        if self._ticking is None:
            self._ticking = self.loop.call_later(self._tick_s, self._tick)
        acceptor = Acceptor(self.loop, self.server.admissions, kind)
        self._acceptors.append(acceptor)
        return await acceptor.listen(host, number)

    def stop_accepting(self) -> None:
        """No new connections."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()

    async def stop(self) -> None:
        """End everything within two seconds or so; safe to call twice and before start."""
        self.stop_accepting()
        for connection in list(self.connections):
            connection.dismiss("draining", "the gateway is being stopped")
        if self.connections:
            self._empty.clear()
            async with asyncio.timeout(LINGER_S + 4 * self._tick_s + 1.0):
                await self._empty.wait()
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def _tick(self) -> None:
        now = self.now()
        due = self.wheel.due(now.s, WAKE_AT_ONCE)
        for connection in due:
            connection.wake(now)
        pause_s = 0.0 if len(due) == WAKE_AT_ONCE else self._tick_s
        self._ticking = self.loop.call_later(pause_s, self._tick)

    # -- for connections ------------------------------------------------------------------------------------------

    def now(self) -> Now:
        """The present moment."""
        return self.server.now()

    def _hears(self, address: str) -> bool:
        """Whether anybody from this address is heard at all."""
        if self.server.draining or self.guard.unheard(address, self.loop.time()):
            self.server.note("unheard_connections")
            return False
        return True

    def welcomes(self, connection: C) -> bool:
        """Whether a new connection is heard, now that it is its turn."""
        if not self._hears(connection.address):
            return False
        if len(self.connections) >= self._most_connections:
            self.server.note("connections_above_limit")
            return False
        self.connections.add(connection)
        return True

    def gone(self, connection: C) -> None:
        """The socket of a connection is closed."""
        self.wheel.cancel(connection)
        self.connections.discard(connection)
        self.server.admissions.gone(connection.address, connection.proven)
        if not self.connections:
            self._empty.set()
