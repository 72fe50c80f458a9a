"""A simulated Particle device: its connections one after the other, over either transport.

It has no task while it is connected, so that thousands fit in one process: a link is a protocol of the event loop and
one timer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deploy.simulation.application import Unit
from deploy.simulation.chance import Chance
from deploy.simulation.conditions import HALF_OPEN_S, Conditions
from deploy.simulation.counts import Counts, note
from deploy.simulation.device import FIRST_PAUSE_S, LONGEST_PAUSE_S, Endpoint
from deploy.simulation.particle_session import End, ParticleSession


class Link(Protocol):
    """A connection, from its handshake on."""

    @property
    def session(self) -> ParticleSession | None: ...

    def cut(self) -> None:
        """Close it without a word."""
        ...

    def leave(self) -> None:
        """Close it so that the other side knows."""
        ...

    def fall_silent(self) -> None:
        """Read and write nothing more, and leave it open."""
        ...


Dial = Callable[["ParticleDevice", Endpoint], Coroutine[Any, Any, None]]
"""Opens a link, which makes itself known to the device; raises ``OSError``."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What devices of one protocol share."""

    protocol: str
    endpoints: Sequence[Endpoint]
    conditions: Conditions
    counts: Counts
    dial: Dial


class ParticleDevice:
    """See ``deploy.simulation.device.Device``."""

    __slots__ = (
        "_again",
        "_around",
        "_attempts",
        "_dialling",
        "_link",
        "_on",
        "_pause_s",
        "_silent",
        "chance",
        "connections",
        "unit",
    )

    def __init__(self, unit: Unit, around: Surroundings) -> None:
        self.unit = unit
        self.connections = 0
        self.chance: Chance = around.conditions.chance_of(unit.device_id)
        self._around = around
        self._attempts = 0
        self._on = False
        self._pause_s = FIRST_PAUSE_S
        self._link: Link | None = None
        self._again: asyncio.TimerHandle | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._silent: Link | None = None

    @property
    def device_id(self) -> str:
        return self.unit.device_id

    @property
    def protocol(self) -> str:
        return self._around.protocol

    @property
    def version(self) -> int:
        return self.unit.version

    @property
    def online(self) -> bool:
        session = self._link.session if self._link is not None else None
        return session is not None and session.online

    @property
    def published(self) -> int:
        return self.unit.published

    @property
    def updates(self) -> int:
        return self.unit.updates

    @property
    def trouble(self) -> str:
        return self.unit.trouble

    def start(self) -> None:
        """See ``Device``."""
        self._on = True
        self._dial()

    async def stop(self) -> None:
        """See ``Device``."""
        if self._link is not None:
            self._link.leave()
        await self._off()

    async def _off(self) -> None:
        self._on = False
        self._let_go()
        if self._silent is not None:
            self._silent.cut()
            self._silent = None
        dialling = self._dialling
        if dialling is not None:
            dialling.cancel()
            await asyncio.wait([dialling])

    async def power_cycle(self, off_s: float) -> None:
        """See ``Device``."""
        await self._off()
        self.unit.restarted("power_down")
        await asyncio.sleep(off_s)
        self.start()

    def reconnect(self) -> None:
        """See ``Device``."""
        if self._on and self._dialling is None:
            self._let_go()
            note(self._around.counts.meant, "a storm")
            self._dial()

    # -- for links ----------------------------------------------------------------------------------------------------

    def session(self, first_id: int, *, reliable: bool) -> ParticleSession:
        """The session of a link whose handshake is done."""
        around = self._around
        return ParticleSession(self.unit, around.conditions, self.chance, around.counts, first_id, reliable=reliable)

    def welcomed(self) -> None:
        """The server let it in."""
        self.connections += 1
        self._pause_s = FIRST_PAUSE_S

    def linked(self, link: Link) -> None:
        """A link is open; its handshake begins."""
        self._link = link

    def refused(self, link: Link, reason: str) -> None:
        """The link came to nothing."""
        if link is self._link:
            self._link = None
            note(self._around.counts.refused, reason)
            self._later()

    def moved(self) -> None:
        """The link goes on from another address."""
        note(self._around.counts.meant, "moved to another address")

    def over(self, link: Link, end: End) -> None:
        """The link is over by the device's own doing, or was lost."""
        if link is not self._link:
            return
        self._link = None
        note(self._around.counts.meant if end.meant else self._around.counts.lost, end.reason)
        if not end.meant and link.session is not None and link.session.updating:
            self.unit.trouble = f"interrupted: {end.reason}"
        if end.kind == "goes half-open":
            link.fall_silent()
            self._silent = link
        else:
            link.cut()
        if end.kind == "lost":
            self._later()
        else:
            self._later(end.out_s or FIRST_PAUSE_S)

    def half_open_over(self, link: Link) -> None:
        """An old end of a half-open link is closed."""
        if link is self._silent:
            self._silent = None

    # -- its own ------------------------------------------------------------------------------------------------------

    def _later(self, pause_s: float | None = None) -> None:
        if not self._on:
            return
        if pause_s is None:
            pause_s = self._pause_s
            self._pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        loop = asyncio.get_running_loop()
        self._again = loop.call_later(pause_s * self.chance.uniform(0.75, 1.25), self._dial)

    def _dial(self) -> None:
        self._again = None
        self._dialling = asyncio.get_running_loop().create_task(self._dialled())

    async def _dialled(self) -> None:
        around = self._around
        endpoint = around.endpoints[self._attempts % len(around.endpoints)]
        self._attempts += 1
        try:
            async with asyncio.timeout(HALF_OPEN_S):
                await around.dial(self, endpoint)
        except OSError as problem:  # and TimeoutError, which is one
            note(around.counts.refused, os.strerror(problem.errno) if problem.errno else type(problem).__name__)
            self._later()
        finally:
            self._dialling = None

    def _let_go(self) -> None:
        """End whatever is under way."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        link, self._link = self._link, None
        if link is not None:
            link.cut()
