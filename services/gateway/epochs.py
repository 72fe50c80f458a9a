"""Serving devices, epoch by epoch.

An epoch is a ``Life``, the ``Facts`` recorded in it and a listener. When the devices service has given an epoch up (the
store was out of reach for longer than the lease), its sessions were put offline; so they are closed here too, and a
new epoch begins, which the devices connect to. When another process of this name has begun an epoch, this one serves
no devices any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Literal, Protocol

from services.gateway.directory import OnChange
from services.gateway.facts import Facts
from services.gateway.life import Life, Over
from shared.clock import Clock, system_clock
from shared.errors import Conflict, Unavailable
from shared.store.port import EventStore

log = logging.getLogger(__name__)

AGAIN_S = 1.0
"""Pause between attempts to begin a new epoch."""
END_S = 30.0
"""How long each thing may take to end."""


@dataclass(frozen=True, slots=True)
class Port:
    """Where to listen, and for what; number 0 is any free one."""

    kind: str
    number: int
    ssl: SSLContext | None = None


class Listener(Protocol):
    """The device side of an epoch: ``devices.server.DeviceServer``."""

    @property
    def sessions(self) -> Any: ...

    async def start(self, host: str, port: Port) -> int: ...

    async def drain(self, seconds: float) -> None: ...

    async def stop(self) -> None: ...

    def status(self) -> dict[str, Any]: ...


Listen = Callable[[Life, Facts], Listener]
"""Makes a listener for an epoch, not started."""
Watch = Callable[[OnChange], Callable[[], None]]


class Epochs:
    """The device side of a gateway."""

    def __init__(
        self,
        store: EventStore,
        gateway: str,
        lease_s: int,
        listen: Listen,
        on_change: Watch,
        *,
        host: str,
        ports: Sequence[Port],
        drain_s: float,
        clock: Clock = system_clock,
        on_superseded: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.state: Literal["starting", "serving", "lost", "superseded", "stopped"] = "starting"
        self._store = store
        self._gateway = gateway
        self._lease_s = lease_s
        self._listen = listen
        self._on_change = on_change
        self._host = host
        self._ports = list(ports)
        self._drain_s = drain_s
        self._clock = clock
        self._on_superseded = on_superseded
        self._epoch: _Epoch | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def ports(self) -> list[int]:
        """The bound ports, in the order given; -1 for each while nothing listens."""
        listening = self._epoch is not None and self._epoch.listener is not None
        return [port.number if listening else -1 for port in self._ports]

    async def start(self) -> None:
        """Begin the first epoch. Raises ``Unavailable`` without the store, ``OSError`` without the port."""
        await self._begin()
        self._watcher = asyncio.create_task(self._watch(), name="epochs")

    async def stop(self) -> None:
        """Close all sessions, spread over ``drain_s``, store the facts and end the epoch."""
        self._stopping.set()  # not cancelled: an epoch that is being changed must not be left half changed
        if self._watcher is not None:
            await self._watcher
            self._watcher = None
        await self._end(self._drain_s)
        self.state = "stopped"

    def status(self) -> dict[str, Any]:
        """``ok`` while devices are served and the store takes beats."""
        epoch = self._epoch
        alive = epoch is not None and epoch.life.alive
        shown: dict[str, Any] = {"ok": alive and self.state == "serving", "state": self.state, "beating": alive}
        if epoch is not None:
            shown["epoch"] = epoch.life.epoch
            shown["facts"] = epoch.facts.batcher.status() if epoch.facts else {}
            shown["devices"] = epoch.listener.status() if epoch.listener else {}
        return shown

    async def _begin(self) -> None:
        epoch = self._epoch = _Epoch(Life(self._store, self._gateway, self._lease_s))
        try:
            number = await epoch.life.start()
            epoch.facts = Facts(self._store, self._gateway, number, clock=self._clock)
            epoch.facts.start()
            listener = epoch.listener = self._listen(epoch.life, epoch.facts)
            for index, port in enumerate(self._ports):
                try:
                    bound = await listener.start(self._host, port)
                except OSError as error:
                    setting = f"FLOTILLA_{port.kind.upper().replace('-', '_')}_PORT"
                    why = f"{self._host}:{port.number} ({setting}): {error.strerror}"
                    raise OSError(error.errno, why) from error
                self._ports[index] = Port(port.kind, bound, port.ssl)  # the same one in every epoch
            epoch.forget_changes = self._on_change(listener.sessions.directory_changed)
        except BaseException:
            await self._end(0)
            raise
        self.state = "serving"

    async def _end(self, drain_s: float) -> None:
        """In this order: no session without its end, no fact behind the epoch's end."""
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            await epoch.end(drain_s)

    async def _watch(self) -> None:
        while (over := await self._over()) is not None:
            self.state = over
            await self._end(0)
            if over == "superseded":
                log.critical(
                    "another process is gateway %r: this one serves no devices any more; give it a name of its own",
                    self._gateway,
                )
                if self._on_superseded is not None:
                    await end_logged("what goes by this name", self._on_superseded())
                return
            await self._begin_at_last()

    async def _over(self) -> Over | None:
        """How the epoch ended; None when the gateway is to stop."""
        if self._epoch is None or self._epoch.life.over is None:
            return None
        stopping = asyncio.ensure_future(self._stopping.wait())
        either: set[asyncio.Future[Any]] = {self._epoch.life.over, stopping}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            return None
        stopping.cancel()
        return self._epoch.life.over.result()

    async def _begin_at_last(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._begin()
            except (Unavailable, Conflict, OSError) as error:
                log.error("gateway %r cannot begin a new epoch yet: %s", self._gateway, error)
                await asyncio.sleep(AGAIN_S)
            else:
                return


class _Epoch:
    """What exists of one epoch so far."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.facts: Facts | None = None
        self.listener: Listener | None = None
        self.forget_changes: Callable[[], None] | None = None

    async def end(self, drain_s: float) -> None:
        """End what exists; an error of one thing does not keep the others."""
        if self.forget_changes is not None:
            self.forget_changes()
        if self.listener is not None:
            await end_logged("listener", self.listener.drain(drain_s), drain_s + END_S)
            await end_logged("listener", self.listener.stop())
        if self.facts is not None:
            await end_logged("facts", self.facts.stop())
        await end_logged("life", self.life.stop())


async def end_logged(what: str, ending: Awaitable[None], within_s: float | None = None) -> None:
    """Wait for an end, at most so long, or ``END_S``; its error stops here."""
    try:
        async with asyncio.timeout(END_S if within_s is None else within_s):
            await ending
    except Exception as error:
        log.error("%s did not end in order: %r", what, error, exc_info=not isinstance(error, Unavailable))
