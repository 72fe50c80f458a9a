"""New connections of all protocols wait here until the gateway can take them.

Before its turn nothing is read from a connection and nothing is done for it, so that one who gives up while waiting
costs next to nothing; all its time-outs begin with its turn. Many that were let in may speak at the same moment: who
they are is found out for a few of them in each turn of the loop (``turns``), and as long as others wait for that,
nobody new is let in. The timer runs only while somebody waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from services.gateway.devices.limits import network_of
from services.gateway.devices.throttle import AdmissionLimits, Throttle
from services.gateway.devices.turns import Turns
from services.gateway.devices.waiting import Line


class Arrival(Protocol):
    """A connection that nothing was done for yet."""

    @property
    def network(self) -> str: ...

    @property
    def came_at(self) -> float:
        """By the loop's clock."""
        ...

    def begin(self, waited_s: float) -> None:
        """It is its turn: from now on it costs something."""
        ...

    def refuse(self) -> None:
        """Close it."""
        ...


class Admissions:
    """In the loop's thread. ``behind``: for how long what was seen of devices has waited to be stored."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counts: Counter[str],
        behind: Callable[[], float] = lambda: 0.0,
        limits: AdmissionLimits | None = None,
    ) -> None:
        self.limits = limits or AdmissionLimits()
        self._loop = loop
        self._counts = counts
        self._behind = behind
        self._line: Line[Arrival] = Line(self.limits.waiting, self.limits.unproven_an_address)
        self.turns = Turns(loop, self.limits.at_once)
        self._throttle = Throttle(self.limits, loop.time())
        self._connections: dict[str, int] = {}
        self._ticking: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._let_in = 0
        self._longest_s = 0.0
        self._held = False
        self._closed = False

    def status(self) -> dict[str, Any]:
        """Numbers for operators; ``longest_wait_s`` and counts are since the start."""
        return {
            "waiting": len(self._line),
            "unproven": self._line.unproven,
            "spoken": len(self.turns),
            "let_in": self._let_in,
            "rate": round(self._throttle.rate),
            "late": self._throttle.late,
            "held": self._held and len(self._line) > 0,
            "longest_wait_s": round(self._longest_s, 3),
            "addresses": len(self._connections),
        }

    # -- a connection's life --------------------------------------------------------------------------------------

    def enter(self, arrival: Arrival) -> None:
        """Somebody is there: begins at once, or waits, or is refused."""
        network = arrival.network
        connections = self._connections.get(network, 0)
        most = self.limits.connections_an_address
        if self._closed or (most and connections >= most):
            self._counts["refused_addresses"] += not self._closed
            arrival.refuse()
            return
        self._connections[network] = connections + 1
        sent_away = self._line.join(arrival)
        if sent_away is not None:
            self._counts["sent_away"] += 1
            self._forget(sent_away.network)
            sent_away.refuse()
        if self._ticking is None:
            self._pump()
        self._wait()

    @property
    def behind(self) -> bool:
        """Whether what was seen of devices waits so long to be stored that nobody is let in."""
        return self._behind() > self.limits.behind_s

    def proven(self, address: str) -> None:
        """One who was let in from there has proven who it is: another may take its place."""
        self._line.leave(network_of(address))
        self._wait()

    def gone(self, address: str, proven: bool) -> None:
        """One who was let in from there is gone; ``proven``: as was told before."""
        network = network_of(address)
        if not proven:
            self._line.leave(network)
        self._forget(network)
        self._wait()

    def close(self) -> None:
        """Everybody who waits is refused, and whoever comes."""
        self._closed = True
        for arrival in self._line.clear():
            self._forget(arrival.network)
            arrival.refuse()
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def _forget(self, network: str) -> None:
        left = self._connections[network] - 1
        if left:
            self._connections[network] = left
        else:
            del self._connections[network]

    # -- turns ----------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        if self._ticking is None and self._line.ready and not self._closed:
            self._due = self._loop.time() + self.limits.tick_s
            self._ticking = self._loop.call_later(self.limits.tick_s, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        now = self._loop.time()
        self._pump()
        self._throttle.observe(now - self._due, bool(self._line.ready) and not self._held, now)
        self._wait()

    def _pump(self) -> None:
        now = self._loop.time()
        self._held = len(self.turns) > self.limits.at_once or self.behind
        while not self._held and self._line.ready and self._throttle.take(now):
            arrival = self._line.take()
            waited_s = now - arrival.came_at
            self._longest_s = max(self._longest_s, waited_s)
            self._let_in += 1
            arrival.begin(waited_s)
