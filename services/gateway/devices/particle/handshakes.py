"""Whose handshake goes on now: bounded in all and for each address, the others wait in order, none for ever. Pure.

``Admissions`` says how fast connections come in; this, how many of them keep the private key busy. A device waits 20 s
for its nonce, and one that fails half-way comes again and doubles the load (protocol section 10): so those for whom
there is no room wait before the nonce. Addresses take turns, so that one that opens thousands of connections holds up
only itself.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Shaking(Protocol):
    """A connection in its handshake."""

    @property
    def address(self) -> str: ...


C = TypeVar("C", bound=Shaking)


class Handshakes(Generic[C]):
    """``most`` go on at the same time, ``most_an_address`` of one address."""

    def __init__(self, most: int, most_an_address: int) -> None:
        self._most = most
        self._most_an_address = most_an_address
        self._going: dict[C, None] = {}
        self._by_address: dict[str, int] = {}
        self._waiting: OrderedDict[str, dict[C, None]] = OrderedDict()
        self._full: dict[str, dict[C, None]] = {}

    @property
    def going(self) -> int:
        """Handshakes that go on."""
        return len(self._going)

    @property
    def waiting(self) -> int:
        """Connections that wait for their nonce."""
        return sum(map(len, self._waiting.values())) + sum(map(len, self._full.values()))

    def enter(self, connection: C) -> bool:
        """Whether its handshake may begin; if not, ``next`` answers with it when it may."""
        address = connection.address
        if self._by_address.get(address, 0) >= self._most_an_address:
            self._full.setdefault(address, {})[connection] = None
        elif len(self._going) >= self._most or address in self._waiting:
            self._waiting.setdefault(address, {})[connection] = None
        else:
            self._begin(connection)
            return True
        return False

    def leave(self, connection: C) -> None:
        """Its handshake is over, well or not, or will never begin."""
        address = connection.address
        if connection in self._going:
            del self._going[connection]
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
            if address in self._full:
                self._waiting.setdefault(address, {}).update(self._full.pop(address))
            return
        for places in (self._waiting, self._full):
            waiting = places.get(address)
            if waiting is not None and connection in waiting:
                del waiting[connection]
                if not waiting:
                    del places[address]

    def next(self) -> C | None:
        """One that waited and may begin now: of the address whose turn it is, the one that has waited longest."""
        while self._waiting and len(self._going) < self._most:
            address, waiting = self._waiting.popitem(last=False)
            if self._by_address.get(address, 0) >= self._most_an_address:
                self._full[address] = waiting
                continue
            connection = next(iter(waiting))
            del waiting[connection]
            if waiting:
                self._waiting[address] = waiting
            self._begin(connection)
            return connection
        return None

    def _begin(self, connection: C) -> None:
        self._going[connection] = None
        self._by_address[connection.address] = self._by_address.get(connection.address, 0) + 1
