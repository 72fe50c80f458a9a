"""A process is a list of parts that are started in order and stopped in reverse."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

log = logging.getLogger(__name__)


class Part(Protocol):
    """Something that runs: a service host, a projector, a relay, a gateway."""

    @property
    def name(self) -> str: ...

    def start(self) -> None:
        """Returns when it is ready; raises when it cannot be."""
        ...

    def stop(self) -> None:
        """Returns when nothing of it runs any more; safe to call twice, and before ``start``."""
        ...


class Runtime:
    """Several parts as one."""

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        self.name = name
        self.parts = list(parts)
        self._running: list[Part] = []

    def start(self) -> None:
        """Start all; if one fails, stop those that run and raise its error."""
        for part in self.parts:
            try:
                part.start()
            except BaseException:
                self.stop()
                raise
            self._running.append(part)

    def stop(self) -> None:
        """Stop all, the last started first; an error of one does not keep the others running."""
        while self._running:
            part = self._running.pop()
            try:
                part.stop()
            except Exception:
                log.exception("%s: %s did not stop in order", self.name, part.name)


class Owner:
    """A part that keeps something open for the parts behind it, and closes it after them."""

    def __init__(self, name: str, close: Callable[[], None]) -> None:
        self.name = name
        self._close = close

    def start(self) -> None:
        """It is open already."""

    def stop(self) -> None:
        """Close it."""
        self._close()
