"""The MQTT listener: sockets, one timer, and what all connections share."""

from __future__ import annotations

import asyncio
import logging
import ssl as tls
from collections.abc import Coroutine
from math import ceil
from typing import Any

from services.gateway.devices.images import Images
from services.gateway.devices.mqtt.connection import LINGER_S, Connection
from services.gateway.devices.mqtt.effects import Now
from services.gateway.devices.mqtt.limits import LoginGuard, MqttLimits
from services.gateway.devices.mqtt.session import Surroundings
from services.gateway.devices.mqtt.sessions import Sessions
from services.gateway.devices.mqtt.violations import DRAINING
from services.gateway.devices.ports import Blobs, Directory, Facts, Log
from services.gateway.devices.timers import Wheel
from shared.clock import Clock
from shared.errors import Unavailable

log = logging.getLogger(__name__)

BACKLOG = 4_096
WAKE_AT_ONCE = 200
"""Connections woken in one turn of the loop."""
SWEEP_S = 10.0
DRAIN_STEP_S = 0.05
COMPLAIN_S = 60.0
"""The log hears of an unreadable directory this seldom."""


class MqttListener:
    """Serves MQTT for one epoch of one gateway; everything in the running loop's thread."""

    def __init__(
        self,
        *,
        directory: Directory,
        facts: Facts,
        log: Log,
        blobs: Blobs,
        gateway: str,
        epoch: int,
        clock: Clock,
        limits: MqttLimits | None = None,
        ssl: tls.SSLContext | None = None,
    ) -> None:
        self.limits = limits or MqttLimits()
        self.around = Surroundings(directory, self.limits, gateway, epoch)
        self.facts = facts
        self.log = log
        self.images = Images(blobs, self.limits.image_cache_bytes)
        self.guard = LoginGuard(self.limits.refused_logins, self.limits.refused_logins_s)
        self.sessions = Sessions(self)
        self.connections: set[Connection] = set()
        self.draining = False
        self.buffer = memoryview(bytearray(max(self.limits.packet_bytes, self.limits.connect_bytes)))
        self.loop: asyncio.AbstractEventLoop
        self.wheel: Wheel[Connection]
        self._clock = clock
        self._ssl = ssl
        self._servers: list[asyncio.Server] = []
        self._ticking: asyncio.TimerHandle | None = None
        self._sweep_at = 0.0
        self._complain_at = 0.0
        self._empty = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int, *, ssl: tls.SSLContext | None = None) -> int:
        """Listen, and answer with the port (0 asks for any free one). May be called again for another port, with TLS
        or without: all ports share their sessions. Raises ``OSError`` when the address is not to be had."""
        self.loop = asyncio.get_running_loop()
        if self._ticking is None:
            self.wheel = Wheel(self.limits.tick_s, self.loop.time())
            self._ticking = self.loop.call_later(self.limits.tick_s, self._tick)
        context = ssl or self._ssl
        server = await self.loop.create_server(
            lambda: Connection(self),
            host,
            port,
            ssl=context,
            backlog=BACKLOG,
            ssl_handshake_timeout=self.limits.connect_s if context else None,
        )
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def drain(self, seconds: float) -> None:
        """Accept nothing more and end all sessions, evenly over the time, so that the fleet does not come back as one
        herd (MQS-6)."""
        self._stop_accepting()
        waiting = list(self.sessions)
        steps = max(1, int(seconds / DRAIN_STEP_S))
        share = ceil(len(waiting) / steps)
        while waiting:
            now, waiting = waiting[:share], waiting[share:]
            for device_id in now:
                connection = self.sessions.connection(device_id)
                if connection is not None:
                    connection.dismiss(DRAINING, "draining", "the gateway is being stopped")
            if waiting:
                await asyncio.sleep(DRAIN_STEP_S)

    async def stop(self) -> None:
        """End everything within two seconds or so: sessions end as draining; safe to call twice and before start."""
        await self.drain(0.0)
        for connection in list(self.connections):
            connection.dismiss(DRAINING, "draining", "the gateway is being stopped")
        if self.connections:
            self._empty.clear()
            async with asyncio.timeout(LINGER_S + 4 * self.limits.tick_s + 1.0):
                await self._empty.wait()
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=LINGER_S)
        await self.images.close()

    def _stop_accepting(self) -> None:
        self.draining = True
        for server in self._servers:
            server.close()
        self._servers.clear()

    def status(self) -> dict[str, Any]:
        """Numbers for operators: connections, sessions, and counts since the start by kind."""
        return {
            "connections": len(self.connections),
            "sessions": len(self.sessions),
            "draining": self.draining,
            "image_cache_bytes": self.images.held_bytes,
            "counts": dict(self.around.counts),
        }

    # -- for connections ------------------------------------------------------------------------------------------

    def now(self) -> Now:
        """The present moment."""
        return Now(self.loop.time(), self._clock())

    def welcomes(self, connection: Connection, now: Now) -> bool:
        """Whether a new connection is heard at all."""
        if self.draining or self.guard.unheard(connection.address, now.s):
            self.around.counts["unheard_connections"] += 1
            return False
        if len(self.connections) >= self.limits.connections:
            self.around.counts["connections_above_limit"] += 1
            return False
        self.connections.add(connection)
        return True

    def cannot_admit(self, error: Unavailable, now: Now) -> None:
        """A device was refused because the directory cannot be read; told to the log once a minute, for a whole fleet
        may come."""
        self.around.counts["unavailable_connects"] += 1
        if now.s >= self._complain_at:
            self._complain_at = now.s + COMPLAIN_S
            log.warning("devices are refused for now: %s", error)

    def gone(self, connection: Connection) -> None:
        """The socket of a connection is closed."""
        self.wheel.cancel(connection)
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def unreadable_image(self) -> None:
        """An image could not be read."""
        self.around.counts["unreadable_images"] += 1

    def record(self, event: object, actor: str = "system:gateway") -> None:
        """Record a fact that no acknowledgement waits for."""
        self.facts.record(event, actor=actor).add_done_callback(self._recorded)

    def _recorded(self, done: asyncio.Future[None]) -> None:
        if done.cancelled() or done.exception() is not None:
            self.around.counts["lost_events"] += 1

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it, and hold it until it is done."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("serving an image failed", exc_info=task.exception())
            self.around.counts["our_errors"] += 1

    def _tick(self) -> None:
        now = self.now()
        due = self.wheel.due(now.s, WAKE_AT_ONCE)
        for connection in due:
            connection.wake(now)
        if now.s >= self._sweep_at:
            self._sweep_at = now.s + SWEEP_S
            self.sessions.sweep(now)
        pause_s = 0.0 if len(due) == WAKE_AT_ONCE else self.limits.tick_s
        self._ticking = self.loop.call_later(pause_s, self._tick)
