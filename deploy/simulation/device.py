"""What the fleet asks of a simulated device, whatever it speaks."""

from __future__ import annotations

from typing import Protocol

Endpoint = tuple[str, int]
"""Host and port of a gateway's listener."""

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
"""Between attempts to connect, doubling."""


class Device(Protocol):
    """One simulated device, in the running loop. ``connections``: how often it was let in; ``trouble``: what went wrong
    with its last update without being meant to, "" for nothing."""

    @property
    def device_id(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def online(self) -> bool: ...
    @property
    def connections(self) -> int: ...
    @property
    def published(self) -> int: ...
    @property
    def updates(self) -> int: ...
    @property
    def trouble(self) -> str: ...

    def start(self) -> None:
        """Switch it on: it connects, and again whenever it has lost its connection."""
        ...

    async def stop(self) -> None:
        """Switch it off for good; returns when its connection is closed."""
        ...

    async def power_cycle(self, off_s: float) -> None:
        """Pull the plug: the connection ends without a goodbye; come back after ``off_s``."""
        ...

    def reconnect(self) -> None:
        """Its link drops and is there again at once."""
        ...
