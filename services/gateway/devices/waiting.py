"""Who waits to be let in: in order of arrival, bounded in all; one address holds up the others only so far. Pure.

An address has ``an_address`` places, in the line and among those who were let in and have not proven who they are yet.
Whoever comes from an address that has no place left waits aside and joins the line when a place of it becomes free. So
a flood from one address keeps nobody else waiting for longer than its places take, and a thousand honest devices
behind one address only wait.

A line that is full sends the newest away of those who wait aside, else the newcomer: never one who waits in line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Applicant(Protocol):
    """A new connection."""

    @property
    def network(self) -> str:
        """Its address, as far as addresses are counted."""
        ...


A = TypeVar("A", bound=Applicant)


class Line(Generic[A]):
    """See the module."""

    def __init__(self, most: int, an_address: int) -> None:
        self._most = most
        self._an_address = an_address
        self._line: deque[A] = deque()
        self._aside: dict[str, deque[A]] = {}
        self._aside_count = 0
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._line) + self._aside_count

    def __iter__(self) -> Iterator[A]:
        yield from self._line
        for waiting in self._aside.values():
            yield from waiting

    @property
    def ready(self) -> int:
        """How many are in line."""
        return len(self._line)

    @property
    def unproven(self) -> int:
        """Who was let in and has not proven who they are."""
        return sum(self._places.values()) - len(self._line)

    def join(self, applicant: A) -> A | None:
        """Somebody came; whoever has to be sent away instead, if anybody."""
        network = applicant.network
        places = self._places.get(network, 0)
        sent_away = None
        if len(self) >= self._most:
            if places >= self._an_address or not self._aside:
                return applicant
            sent_away = self._drop_aside()
        if places >= self._an_address:
            self._aside.setdefault(network, deque()).append(applicant)
            self._aside_count += 1
        else:
            self._places[network] = places + 1
            self._line.append(applicant)
        return sent_away

    def take(self) -> A:
        """Whose turn it is; keeps the place until ``leave``. Raises ``IndexError`` when nobody is in line."""
        return self._line.popleft()

    def leave(self, network: str) -> None:
        """One who was taken has proven who it is, or is gone."""
        aside = self._aside.get(network)
        if aside:
            self._line.append(aside.popleft())
            self._aside_count -= 1
            if not aside:
                del self._aside[network]
            return
        places = self._places[network] - 1
        if places:
            self._places[network] = places
        else:
            del self._places[network]

    def clear(self) -> list[A]:
        """Everybody who waits, who does so no more."""
        everybody = list(self)
        for applicant in self._line:
            self._places[applicant.network] -= 1
        self._places = {network: places for network, places in self._places.items() if places}
        self._line.clear()
        self._aside.clear()
        self._aside_count = 0
        return everybody

    def _drop_aside(self) -> A:
        network = max(self._aside, key=lambda name: len(self._aside[name]))
        aside = self._aside[network]
        newest = aside.pop()
        self._aside_count -= 1
        if not aside:
            del self._aside[network]
        return newest
