"""Which devices want which events of other devices: found by scope and prefix, so that an event that no device wants
costs a few look-ups, whatever the number of devices. Delivered a slice a turn of the loop; what there is no room for
is dropped and counted, so that a slow device keeps nobody waiting."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from shared.events.gateway import DevicePublished

SLICE = 100
"""Deliveries in one turn of the loop."""
WAITING_EVENTS = 1_000
"""Events that are being delivered or wait for it."""

RESERVED = ("spark", "particle/")
"""Names that begin like this, in any case, are the platform's: no device gets those of another."""


Scope = Literal["org", "owner", "product", "device"]


class Wanted(NamedTuple):
    """Events with names that begin with ``prefix``: public ones of devices of an organization, or all of the devices
    of an owner, of a product, or of one device; ``only``: of these devices this one."""

    scope: Scope
    of: str
    prefix: str
    only: str | None = None


class Publisher(NamedTuple):
    """Where an event comes from. ``customer_of``: the company as whose customer its owner published it."""

    org_id: str | None
    owner_id: str | None
    product_id: int
    customer_of: str | None = None


class Reader(Protocol):
    """A connected device that wants events."""

    def deliver(self, event: DevicePublished) -> None:
        """Never raises, never waits."""
        ...


R = TypeVar("R", bound=Reader)
C = TypeVar("C", int, str)


def owner_key(owner_id: str, org_id: str | None) -> str:
    """Of an owner's devices, or of those of one company: whoever is a customer of several has none of them hear of
    another's (CUS-5)."""
    return owner_id if org_id is None else f"{owner_id}/{org_id}"


def reserved(name: str) -> bool:
    """Whether the name is the platform's."""
    return name.lower().startswith(RESERVED) or name == "particle"


class EventSubscriptions(Generic[R]):
    """In the loop's thread. ``soon`` calls in the next turn of the loop."""

    def __init__(self, soon: Callable[[Callable[[], None]], Any], counts: Counter[str]) -> None:
        self._soon = soon
        self._counts = counts
        self._readers: dict[Wanted, dict[R, None]] = {}
        self._by_reader: dict[R, frozenset[Wanted]] = {}
        self._lengths: dict[int, int] = {}
        self._prefixes: dict[str, int] = {}
        self._waiting: deque[tuple[DevicePublished, deque[R]]] = deque()

    def __len__(self) -> int:
        return len(self._by_reader)

    def listen(self, reader: R, wanted: frozenset[Wanted]) -> None:
        """The reader wants these from now on, and no others; none ends it."""
        before = self._by_reader.get(reader, frozenset())
        for one in before - wanted:
            readers = self._readers[one]
            del readers[reader]
            if not readers:
                del self._readers[one]
            _count(self._lengths, len(one.prefix), -1)
            _count(self._prefixes, one.prefix, -1)
        for one in wanted - before:
            self._readers.setdefault(one, {})[reader] = None
            _count(self._lengths, len(one.prefix), +1)
            _count(self._prefixes, one.prefix, +1)
        if wanted:
            self._by_reader[reader] = wanted
        else:
            self._by_reader.pop(reader, None)

    def may_want(self, name: str) -> bool:
        """Whether some device has a subscription that such a name fits; quick, to be asked of every event."""
        if not self._by_reader or reserved(name):
            return False
        return any(name[:length] in self._prefixes for length in self._lengths if length <= len(name))

    def publish(self, event: DevicePublished, publisher: Publisher) -> None:
        """Hand an event to those who want it."""
        if not self._by_reader or reserved(event.name):
            return
        readers = deque(self._find(event, publisher))
        if not readers:
            return
        if len(self._waiting) >= WAITING_EVENTS:
            self._counts["undelivered_events"] += len(readers)
            return
        self._waiting.append((event, readers))
        if len(self._waiting) == 1:
            self._soon(self._deliver)

    def _find(self, event: DevicePublished, publisher: Publisher) -> Iterable[R]:
        scopes: list[tuple[Scope, str]] = [("product", str(publisher.product_id)), ("device", event.device_id)]
        if publisher.owner_id is not None:
            scopes.append(("owner", owner_key(publisher.owner_id, publisher.org_id or publisher.customer_of)))
        if event.public and publisher.org_id is not None:
            scopes.append(("org", publisher.org_id))
        found: dict[R, None] = {}
        for length in self._lengths:
            if length <= len(event.name) and event.name[:length] in self._prefixes:
                prefix = event.name[:length]
                for scope, of in scopes:
                    found.update(self._readers.get(Wanted(scope, of, prefix), {}))
                    found.update(self._readers.get(Wanted(scope, of, prefix, event.device_id), {}))
        return found

    def _deliver(self) -> None:
        left = SLICE
        while self._waiting and left:
            event, readers = self._waiting[0]
            while readers and left:
                left -= 1
                reader = readers.popleft()
                if reader in self._by_reader:
                    reader.deliver(event)
            if not readers:
                self._waiting.popleft()
        if self._waiting:
            self._soon(self._deliver)


def _count(counts: dict[C, int], key: C, change: int) -> None:
    counts[key] = counts.get(key, 0) + change
    if not counts[key]:
        del counts[key]
