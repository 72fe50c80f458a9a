"""All associations of one UDP socket: a datagram with its address in, datagrams to send and events out.

Where a record goes, cheapest check first:

* epoch 0, ClientHello: without a valid cookie it is answered with one and forgotten; with it, a handshake begins
  *beside* a session at that address, which stays until the new Finished is verified. Anything else of epoch 0 goes to
  the handshake at its address; alerts of epoch 0 never touch a session.
* with a connection id: to the session, or to the handshake at this address, that has it.
* marked as moved (type 254): to the session of the device that it names.
* else: to the handshake or the session at its address.

A session that is not in memory is asked for in the store, and taken into memory only after the record was verified. A
session follows its device to a new address only when the record is the newest that was received. Unknown sessions are
not answered: the device begins a handshake when its ping fails (8.5). Every refusal is counted by kind. Longer than
150 lines because it is the one place that knows all the ways.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from services.gateway.devices.limits import network_of
from services.gateway.devices.particle.dtls import messages
from services.gateway.devices.particle.dtls.cookies import Address, Cookies, RotatingCookies, hello_verify_request
from services.gateway.devices.particle.dtls.entropy import Source
from services.gateway.devices.particle.dtls.events import (
    Closed,
    Established,
    Moved,
    NothingStored,
    Output,
    Received,
    Restored,
    SaveDue,
    StoredSessions,
)
from services.gateway.devices.particle.dtls.limits import DtlsLimits
from services.gateway.devices.particle.dtls.p256 import PrivateKey
from services.gateway.devices.particle.dtls.pace import HostPace, Pace
from services.gateway.devices.particle.dtls.records import ALERT, APPLICATION_DATA, HANDSHAKE, Record, parse
from services.gateway.devices.particle.dtls.refusals import FATAL, WARNING, Alert, Discarded, HandshakeRefused
from services.gateway.devices.particle.dtls.server import Opening, ServerHandshake
from services.gateway.devices.particle.dtls.session import Session, StoredSession
from shared.errors import Misuse

CLOSE_NOTIFY = bytes((WARNING, Alert.CLOSE_NOTIFY))
_CLIENT_HELLO = bytes((messages.CLIENT_HELLO,))


class Endpoint:
    """Sessions by address, connection id and device id; handshakes by address. Times are seconds of any one clock."""

    def __init__(
        self,
        key: PrivateKey,
        source: Source,
        now: float,
        *,
        store: StoredSessions | None = None,
        admits: Callable[[bytes], bool] = lambda public_key: True,
        hears: Callable[[Address], bool] = lambda address: True,
        cookies: Cookies | None = None,
        limits: DtlsLimits | None = None,
    ) -> None:
        self.limits = limits or DtlsLimits()
        self.refusals: Counter[str] = Counter()
        self._key = key
        self._source = source
        self._store = store or NothingStored()
        self._admits = admits
        self._hears = hears
        self._cookies = cookies or RotatingCookies(source.random, self.limits.cookie_s, now)
        self._handshake_pace = Pace(self.limits.handshakes_per_s, now)
        self._host_pace = HostPace(self.limits.handshakes_per_host_per_s)
        self._lookup_pace = Pace(self.limits.lookups_per_s, now)
        self._handshakes: dict[Address, ServerHandshake] = {}
        self._of_host: Counter[str] = Counter()
        self._sessions: set[Session] = set()
        self._by_address: dict[Address, Session] = {}
        self._by_connection_id: dict[bytes, Session] = {}
        self._by_device_id: dict[bytes, Session] = {}
        self._timers: list[tuple[float, int, Address, ServerHandshake | Session]] = []
        self._timers_set = 0

    # What the layer above does

    def receive(self, datagram: bytes, address: Address, now: float) -> Output:
        """What one datagram does. Never raises for what a peer sent."""
        output = Output([], [])
        if len(datagram) <= 1:  # 5.10
            self.refusals["keep_alive"] += 1
            return output
        try:
            device_id, records = parse(datagram)
        except Discarded as discarded:
            self.refusals[discarded.kind] += 1
            return output
        for record in records:
            try:
                if record.epoch:
                    self._protected(record, device_id, address, now, output)
                else:
                    self._plain(record, address, now, output)
            except Discarded as discarded:
                self.refusals[discarded.kind] += 1
        return output

    def send(self, session: Session, content: bytes) -> Output:
        """One application record to where the session's device is now. Raises ``Misuse`` for a session that is closed
        or must be exported first."""
        self._expect(session)
        output = Output([], [])
        self._seal(session, content, APPLICATION_DATA, output)
        if session.save_due:
            output.events.append(SaveDue(session))
        return output

    def bind(self, session: Session, device_id: bytes) -> Output:
        """This session is of this device, which has no other from now on."""
        self._expect(session)
        output = Output([], [])
        older = self._by_device_id.get(device_id)
        if older is not None and older is not session:
            self._drop(older, "replaced", output)
        if session.device_id != device_id:
            self._by_device_id.pop(session.device_id, None)
        session.device_id = device_id
        self._by_device_id[device_id] = session
        return output

    def close(self, session: Session) -> Output:
        """Ends the session and tells the device so. What is stored of it must go."""
        self._expect(session)
        output = Output([], [])
        if session.may_send:
            self._seal(session, CLOSE_NOTIFY, ALERT, output)
        self.forget(session)
        return output

    def forget(self, session: Session) -> None:
        """Takes the session out of memory; if it is stored, its device can continue it."""
        self._sessions.discard(session)
        if session.address is not None and self._by_address.get(session.address) is session:
            del self._by_address[session.address]
        if self._by_connection_id.get(session.connection_id) is session:
            del self._by_connection_id[session.connection_id]
        if self._by_device_id.get(session.device_id) is session:
            del self._by_device_id[session.device_id]

    def tick(self, now: float) -> Output:
        """What is due: flights to repeat, handshakes and nameless sessions to give up."""
        output = Output([], [])
        while self._timers and self._timers[0][0] <= now:
            _, _, address, whose = heappop(self._timers)
            if isinstance(whose, Session):
                if whose in self._sessions and not whose.device_id:
                    self._drop(whose, "unbound", output)
            elif self._handshakes.get(address) is whose:
                self._tick_handshake(whose, address, now, output)
        return output

    def wake_at(self) -> float | None:
        """When ``tick`` is due; None if nothing waits."""
        return self._timers[0][0] if self._timers else None

    def __iter__(self) -> Iterator[Session]:
        """All sessions in memory."""
        return iter(tuple(self._sessions))

    def __len__(self) -> int:
        return len(self._sessions)

    def of_device(self, device_id: bytes) -> Session | None:
        """The session in memory that is bound to the device."""
        return self._by_device_id.get(device_id)

    @property
    def handshakes(self) -> int:
        """How many are in flight."""
        return len(self._handshakes)

    # Epoch 0: handshakes

    def _plain(self, record: Record, address: Address, now: float, output: Output) -> None:
        if record.content_type == HANDSHAKE and record.fragment[:1] == _CLIENT_HELLO:
            self._hello(record, address, now, output)
            return
        handshake = self._handshakes.get(address)
        if handshake is None:
            raise Discarded("no_handshake")
        self._feed(handshake, record, address, now, output)

    def _hello(self, record: Record, address: Address, now: float, output: Output) -> None:
        if not self._hears(address):
            raise Discarded("unheard")
        fragment = messages.fragments(record.fragment)[0]
        current = self._handshakes.get(address)
        if current is not None and current.opening.message[1:] == (fragment.sequence, fragment.body):
            output.datagrams.extend((datagram, address) for datagram in current.repeat(now))
            return
        opening = Opening.read(record, fragment)
        hello = opening.hello
        if not self._cookies.is_valid(address, hello, now):
            self.refusals["wrong_cookie" if hello.cookie else "no_cookie"] += 1
            asked = hello_verify_request(record, fragment, self._cookies.make(address, hello, now))
            output.datagrams.append((asked, address))
            return
        live = self._by_address.get(address)
        if live is not None and live.secrets.client_random == hello.random:
            raise Discarded("replayed_hello")  # the one this session came from
        self._begin(opening, address, now, output)

    def _begin(self, opening: Opening, address: Address, now: float, output: Output) -> None:
        self._expect_room(address, now)
        self._end(address)  # one handshake an address: the device began anew
        try:
            handshake = ServerHandshake(opening, self._key, self._source, now, limits=self.limits, admits=self._admits)
        except HandshakeRefused as refusal:
            self.refusals[refusal.kind] += 1
            if refusal.alert is not None:
                output.datagrams.append((opening.alert(refusal.alert), address))
            return
        self._handshakes[address] = handshake
        self._of_host[network_of(address[0])] += 1
        self._set_timer(handshake.wake_at(), address, handshake)
        output.datagrams.extend((datagram, address) for datagram in handshake.send())

    def _expect_room(self, address: Address, now: float) -> None:
        """Before any private-key operation. The device repeats its hello, whose cookie is still good then."""
        limits = self.limits
        if len(self._sessions) >= limits.sessions:
            raise Discarded("full")
        if address not in self._handshakes:
            if len(self._handshakes) >= limits.handshakes:
                raise Discarded("full")
            if self._of_host[network_of(address[0])] >= limits.handshakes_per_host:
                raise Discarded("full_for_host")
        if not self._host_pace.take(network_of(address[0]), now):
            raise Discarded("too_fast_for_host")
        if not self._handshake_pace.take(now):
            raise Discarded("too_fast")

    def _end(self, address: Address) -> None:
        if self._handshakes.pop(address, None) is not None:
            host = network_of(address[0])
            self._of_host[host] -= 1
            if not self._of_host[host]:
                del self._of_host[host]

    def _feed(self, handshake: ServerHandshake, record: Record, address: Address, now: float, output: Output) -> None:
        try:
            answers = handshake.receive(record)
        except HandshakeRefused as refusal:
            self._end(address)
            self.refusals[refusal.kind] += 1
            if refusal.alert is not None:
                output.datagrams.append((handshake.alert(refusal.alert), address))
            return
        output.datagrams.extend((datagram, address) for datagram in answers)
        if handshake.done:
            self._end(address)
            self._establish(handshake.session, address, now, output)

    def _establish(self, session: Session, address: Address, now: float, output: Output) -> None:
        older = self._by_address.get(address)
        if older is not None and older.public_key == session.public_key:
            self._drop(older, "replaced", output)
        session.address = address
        self._by_address[address] = session
        self._enter(session)
        self._set_timer(now + self.limits.bind_s, address, session)
        output.events.append(Established(session, session.public_key, address))

    def _tick_handshake(self, handshake: ServerHandshake, address: Address, now: float, output: Output) -> None:
        if now >= handshake.deadline:
            self._end(address)
            self.refusals["handshake_too_slow"] += 1
            return
        output.datagrams.extend((datagram, address) for datagram in handshake.tick(now))
        self._set_timer(handshake.wake_at(), address, handshake)

    def _set_timer(self, at: float, address: Address, whose: ServerHandshake | Session) -> None:
        self._timers_set += 1
        heappush(self._timers, (at, self._timers_set, address, whose))

    # Epoch 1: sessions, and the last message of a handshake

    def _protected(self, record: Record, device_id: bytes, address: Address, now: float, output: Output) -> None:
        handshake = self._handshakes.get(address)
        if handshake is None or device_id or handshake.connection_id != record.connection_id:
            self._of_session(record, device_id, address, now, output)
        elif handshake.has_keys:
            try:
                self._feed(handshake, record, address, now, output)
            except Discarded:
                self._of_session(record, device_id, address, now, output)
        else:
            try:
                self._of_session(record, device_id, address, now, output)
            except Discarded:
                self._feed(handshake, record, address, now, output)

    def _of_session(self, record: Record, device_id: bytes, address: Address, now: float, output: Output) -> None:
        session = self._in_memory(record, device_id, address)
        if session is not None:
            content_type, content = session.open(record)
        else:
            session = self._restore(record, device_id, address, now)
            content_type, content = session.open(record)
            self._enter(session)
            self._by_address.setdefault(session.address or address, session)
            output.events.append(Restored(session, address))
        if session.address != address and (session.is_newest(record) or session.address is None):
            self._move(session, address, output)
        if session.save_due:
            output.events.append(SaveDue(session))
        self._act(session, content_type, content, address, output)

    def _in_memory(self, record: Record, device_id: bytes, address: Address) -> Session | None:
        if record.connection_id:
            return self._by_connection_id.get(record.connection_id)
        if device_id:
            return self._by_device_id.get(device_id)
        return self._by_address.get(address)

    def _restore(self, record: Record, device_id: bytes, address: Address, now: float) -> Session:
        if not self._lookup_pace.take(now):
            raise Discarded("too_many_unknown")
        stored: StoredSession | None
        if record.connection_id:
            stored = self._store.of_connection(record.connection_id)
        elif device_id:
            stored = self._store.of_device(device_id)
        else:
            stored = self._store.at_address(address)
        if stored is None or not stored.device_id or stored.device_id in self._by_device_id:  # then it is outdated
            raise Discarded("unknown_session")
        return Session.restore(stored)

    def _act(self, session: Session, content_type: int, content: bytes, address: Address, output: Output) -> None:
        if content_type == APPLICATION_DATA:
            session.forget_handshake()
            output.events.append(Received(session, content, address))
        elif content_type == HANDSHAKE:
            output.datagrams.extend((datagram, address) for datagram in session.answer_handshake(content))
        elif content == CLOSE_NOTIFY and content_type == ALERT:
            if session.may_send:
                self._seal(session, CLOSE_NOTIFY, ALERT, output)
            self._drop(session, "close_notify", output)
        elif content[:1] == bytes((FATAL,)) and content_type == ALERT:
            self._drop(session, "alert", output)
        else:
            raise Discarded("unused_content")

    def _move(self, session: Session, address: Address, output: Output) -> None:
        old = session.address
        if old is not None and self._by_address.get(old) is session:
            del self._by_address[old]
        session.address = address
        self._by_address[address] = session
        output.events.append(Moved(session, old, address))

    def _enter(self, session: Session) -> None:
        self._sessions.add(session)
        if session.connection_id:
            self._by_connection_id[session.connection_id] = session
        if session.device_id:
            self._by_device_id[session.device_id] = session

    def _drop(self, session: Session, reason: str, output: Output) -> None:
        self.forget(session)
        output.events.append(Closed(session, reason))

    def _seal(self, session: Session, content: bytes, content_type: int, output: Output) -> None:
        assert session.address is not None  # every session in memory came from somewhere
        output.datagrams.append((session.seal(content, content_type), session.address))

    def _expect(self, session: Session) -> None:
        if session not in self._sessions:
            raise Misuse("this session is closed")
