"""A device and an endpoint with a network between them that does what a test says. Time is a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from cryptography.hazmat.primitives.asymmetric import ec

from services.gateway.devices.particle.dtls import p256
from services.gateway.devices.particle.dtls.client import OLD, DeviceClient, Firmware
from services.gateway.devices.particle.dtls.cookies import Address
from services.gateway.devices.particle.dtls.endpoint import Endpoint
from services.gateway.devices.particle.dtls.entropy import SystemSource
from services.gateway.devices.particle.dtls.events import Closed, Established, Event, Received
from services.gateway.devices.particle.dtls.limits import DtlsLimits
from services.gateway.devices.particle.dtls.session import Session, StoredSession

DEVICE_ID = bytes.fromhex("3a0021000347343138333836")
HOME: Address = ("192.0.2.7", 40_000)
AWAY: Address = ("198.51.100.9", 41_000)
SERVER_KEY = ec.generate_private_key(ec.SECP256R1())
DEVICE_KEY = ec.generate_private_key(ec.SECP256R1())
PATIENT = DtlsLimits(handshake_s=1_000.0, flight_repeats=50)
LATENCY_S = 0.1


class Store:
    """Stored sessions in memory."""

    def __init__(self, *stored: StoredSession) -> None:
        self.stored = list(stored)
        self.asked = 0

    def of_device(self, device_id: bytes) -> StoredSession | None:
        return self._first(lambda each: each.device_id == device_id)

    def of_connection(self, connection_id: bytes) -> StoredSession | None:
        return self._first(lambda each: each.connection_id == connection_id)

    def at_address(self, address: Address) -> StoredSession | None:
        return self._first(lambda each: each.address == address)

    def _first(self, matches: Callable[[StoredSession], bool]) -> StoredSession | None:
        self.asked += 1
        return next(filter(matches, self.stored), None)


def new_endpoint(
    *,
    store: Store | None = None,
    limits: DtlsLimits | None = None,
    admits: Callable[[bytes], bool] = lambda public_key: True,
) -> Endpoint:
    """An endpoint at time 0."""
    return Endpoint(SERVER_KEY, SystemSource(), 0.0, store=store, limits=limits, admits=admits)


def new_device(firmware: Firmware = OLD, *, key: p256.PrivateKey = DEVICE_KEY) -> DeviceClient:
    """A device that knows the endpoint's key."""
    server_key = p256.public_key_of(SERVER_KEY)
    return DeviceClient(key, server_key, SystemSource(), device_id=DEVICE_ID, firmware=firmware)


Fate = Callable[[bytes, bool], list[float]]
"""What becomes of a datagram (to the server?): the delay of each copy that arrives."""


def intact(datagram: bytes, to_server: bool) -> list[float]:
    """The network as one would like it."""
    return [LATENCY_S]


@dataclass
class Network:
    """Delivers; every event of the endpoint and all that the device heard is kept."""

    endpoint: Endpoint
    device: DeviceClient
    address: Address = HOME
    fate: Fate = intact
    now: float = 0.0
    binds: bool = True
    events: list[Event] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    sent: list[tuple[bool, bytes]] = field(default_factory=list)
    _flying: list[tuple[float, int, bool, bytes]] = field(default_factory=list)

    def connect(self) -> None:
        """The device begins a handshake."""
        self.to_server(self.device.connect(self.now))

    def to_server(self, datagrams: list[bytes]) -> None:
        """The device sends."""
        for datagram in datagrams:
            self._launch(datagram, True)

    def to_device(self, datagrams: list[tuple[bytes, Address]]) -> None:
        """The server sends; what goes to another address is lost."""
        for datagram, address in datagrams:
            if address == self.address:
                self._launch(datagram, False)

    def _launch(self, datagram: bytes, to_server: bool) -> None:
        self.sent.append((to_server, datagram))
        for delay in self.fate(datagram, to_server):
            heappush(self._flying, (self.now + delay, len(self.sent), to_server, datagram))

    def run(self, until: float) -> None:
        """All that happens until then."""
        while True:
            wake_at = self.endpoint.wake_at()
            arrival = self._flying[0][0] if self._flying else until + 1
            soonest = min(arrival, self.device.wake_at(), until + 1 if wake_at is None else wake_at)
            if soonest > until:
                self.now = until
                return
            self.now = max(self.now, soonest)
            self._step()

    def _step(self) -> None:
        while self._flying and self._flying[0][0] <= self.now:
            _, _, to_server, datagram = heappop(self._flying)
            if to_server:
                output = self.endpoint.receive(datagram, self.address, self.now)
                self._heed(output.events)
                self.to_device(output.datagrams)
            else:
                heard = self.device.receive(datagram, self.now)
                self.heard += heard.contents
                self.to_server(heard.datagrams)
        output = self.endpoint.tick(self.now)
        self._heed(output.events)
        self.to_device(output.datagrams)
        self.to_server(self.device.tick(self.now))

    def _heed(self, events: list[Event]) -> None:
        """As the layer above does, once it has the Hello."""
        for event in events:
            self.events.append(event)
            if isinstance(event, Established) and self.binds:
                self.events += self.endpoint.bind(event.session, DEVICE_ID).events

    @property
    def session(self) -> Session:
        """The last session that came up."""
        return [event.session for event in self.events if isinstance(event, Established)][-1]

    @property
    def received(self) -> list[bytes]:
        """The application data that reached the server."""
        return [event.content for event in self.events if isinstance(event, Received)]

    @property
    def closed(self) -> list[str]:
        """Why sessions went."""
        return [event.reason for event in self.events if isinstance(event, Closed)]

    def say(self, content: bytes) -> None:
        """The device sends data; a second passes."""
        self.to_server([self.device.seal(content)])
        self.run(self.now + 1)

    def answer(self, content: bytes) -> None:
        """The server sends data in its last session; a second passes."""
        self.to_device(self.endpoint.send(self.session, content).datagrams)
        self.run(self.now + 1)


def connected(
    firmware: Firmware = OLD,
    *,
    store: Store | None = None,
    limits: DtlsLimits | None = None,
    key: p256.PrivateKey = DEVICE_KEY,
) -> Network:
    """A device and an endpoint with a session that is bound."""
    network = Network(new_endpoint(store=store, limits=limits), new_device(firmware, key=key))
    network.connect()
    network.run(1.0)
    return network
