"""The device's half of the profile, for tests and for the simulator: what firmware 0.6.4 and 3.3.1 do. Sans-I/O.

``DeviceClient`` is a device's UDP socket without the socket. ``move`` and the marks of continued sessions: 8.5. A
server that sends a Certificate is refused as real devices do (8.2). Longer than 150 lines: it is a whole protocol half.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from services.gateway.devices.particle.dtls import messages, p256
from services.gateway.devices.particle.dtls.entropy import Source
from services.gateway.devices.particle.dtls.flight import NEVER, Retransmission
from services.gateway.devices.particle.dtls.inbox import Inbox
from services.gateway.devices.particle.dtls.key_schedule import (
    CLIENT_FINISHED,
    SERVER_FINISHED,
    Transcript,
    agree,
    verify_data,
)
from services.gateway.devices.particle.dtls.messages import Message
from services.gateway.devices.particle.dtls.records import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    CONNECTION_ID_BYTES,
    HANDSHAKE,
    Record,
    encode,
    mark_moved,
    mark_reconnected,
    number_of,
    parse,
)
from services.gateway.devices.particle.dtls.refusals import FATAL, WARNING, Alert, Discarded, HandshakeRefused, fatal
from services.gateway.devices.particle.dtls.session import Session, StoredSession


@dataclass(frozen=True, slots=True)
class Firmware:
    """What differs between generations (8.1, 8.4, 8.5); ``joins`` puts a flight into one datagram."""

    connection_id: bool = False
    joins: bool = False
    marks_reconnect: bool = False
    flight_first_s: float = 3.0
    flight_longest_s: float = 6.0
    flight_repeats: int = 4


OLD = Firmware()
"""0.6.4, and so up to 2.x."""
NEW = Firmware(connection_id=True, joins=True, flight_longest_s=24.0)
"""3.3.1."""
LATER = Firmware(connection_id=True, joins=True, marks_reconnect=True, flight_longest_s=24.0)
"""4.x."""


class DeviceHandshake:
    """One handshake; ``done`` when ``session`` may be used. Raises ``HandshakeRefused`` and ``Discarded``."""

    def __init__(self, key: p256.PrivateKey, server_key: bytes, source: Source, firmware: Firmware, now: float) -> None:
        self.done = False
        self.session: Session | None = None
        self._key = key
        self._server_key = server_key
        self._source = source
        self._firmware = firmware
        self._random = source.random(messages.RANDOM_BYTES)
        self._server_random = b""
        self._server_point: p256.PublicKey | None = None
        self._connection_id = b""
        self._expected = messages.SERVER_HELLO
        self._inbox = Inbox(0)
        self._record_sequence = 0
        self._message_sequence = 0
        self._answered = -1
        self._hello(b"", now)

    def _hello(self, cookie: bytes, now: float) -> None:
        body = messages.encode_client_hello(self._random, cookie, connection_id=self._firmware.connection_id)
        self._transcript = Transcript()
        self._flight: list[tuple[int, bytes]] = []
        self._say(messages.CLIENT_HELLO, body)
        self._wait(now)

    def _say(self, kind: int, body: bytes) -> None:
        message = Message(kind, self._message_sequence, body).encode()
        self._message_sequence += 1
        self._transcript.add(message)
        self._flight.append((HANDSHAKE, message))

    def _wait(self, now: float) -> None:
        firmware = self._firmware
        self._retransmission = Retransmission(
            now,
            first_s=firmware.flight_first_s,
            longest_s=firmware.flight_longest_s,
            most=firmware.flight_repeats,
        )

    def send(self) -> list[bytes]:
        """The datagrams of the last flight, with new record numbers each time."""
        records: list[bytes] = []
        protected = False
        for content_type, content in self._flight:
            if protected and self.session is not None:
                records.append(self.session.seal(content, content_type))
            else:
                records.append(self._plain(content_type, content))
            protected = content_type == CHANGE_CIPHER_SPEC
        return [b"".join(records)] if self._firmware.joins else records

    def _plain(self, content_type: int, content: bytes) -> bytes:
        number = number_of(0, self._record_sequence)
        self._record_sequence += 1
        return encode(content_type, number, content)

    def alert(self, alert: Alert) -> bytes:
        """The datagram that tells the server why it is over."""
        return self._plain(ALERT, fatal(alert))

    def tick(self, now: float) -> list[bytes]:
        """The last flight again if nothing came in time."""
        return self.send() if not self.done and self._retransmission.on_time(now) else []

    @property
    def wake_at(self) -> float:
        """When ``tick`` is due."""
        return NEVER if self.done else self._retransmission.wake_at

    def receive(self, record: Record, now: float) -> list[bytes]:
        """One record of the server; the datagrams that it makes necessary."""
        content_type, content = record.content_type, record.fragment
        if record.epoch:
            if self.session is None:
                raise Discarded("early_record")
            content_type, content = self.session.open(record)
        if content_type == ALERT and content[:1] == bytes((FATAL,)):
            raise HandshakeRefused("alert_from_peer", None)
        if content_type != HANDSHAKE:
            return []
        repeated = False
        for fragment in messages.fragments(content):
            if (fragment.kind == messages.FINISHED) != bool(record.epoch):
                raise Discarded("unprotected_finished")
            repeated |= not self._inbox.put(fragment) and fragment.sequence == self._answered
        if repeated and self._retransmission.again(now):
            return self.send()
        return self._advance(now)

    def _advance(self, now: float) -> list[bytes]:
        sent: list[bytes] = []
        while (message := self._inbox.take()) is not None:
            if message.kind == messages.HELLO_VERIFY_REQUEST and self._expected == messages.SERVER_HELLO:
                self._hello(messages.decode_hello_verify_request(message.body), now)
                sent = self.send()
                continue
            if message.kind != self._expected:
                raise HandshakeRefused("out_of_turn", Alert.UNEXPECTED_MESSAGE)
            if message.kind == messages.FINISHED:
                self._finished_came(message)
                return []
            self._transcript.add(message.encode())
            _STEPS[message.kind](self, message)
            if message.kind == messages.SERVER_HELLO_DONE:
                self._answered = message.sequence
                self._wait(now)
                sent = self.send()
        return sent

    def _server_hello_came(self, message: Message) -> None:
        hello = messages.decode_server_hello(message.body)
        if hello.suite != messages.SUITE:
            raise HandshakeRefused("suite", Alert.ILLEGAL_PARAMETER)
        raw = bytes((messages.RAW_PUBLIC_KEY,))
        for number in (messages.CLIENT_CERTIFICATE_TYPE, messages.SERVER_CERTIFICATE_TYPE):
            if hello.extensions.get(number) != raw:
                raise HandshakeRefused("no_raw_public_keys", Alert.UNSUPPORTED_CERTIFICATE)
        given = hello.extensions.get(messages.CONNECTION_ID, b"")
        if self._firmware.connection_id:
            if len(given) != 1 + CONNECTION_ID_BYTES or given[0] != CONNECTION_ID_BYTES:
                raise HandshakeRefused("no_connection_id", Alert.HANDSHAKE_FAILURE)
            self._connection_id = given[1:]
        self._server_random = hello.random
        self._expected = messages.SERVER_KEY_EXCHANGE

    def _key_exchange_came(self, message: Message) -> None:
        exchange = messages.decode_server_key_exchange(message.body)
        key = p256.load(self._server_key)
        signed = self._random + self._server_random + exchange.signed
        if key is None or not p256.is_signed(key, exchange.signature, signed):
            raise HandshakeRefused("wrong_signature", Alert.DECRYPT_ERROR)
        self._server_point = p256.load_point(exchange.point)
        if self._server_point is None:
            raise HandshakeRefused("not_on_the_curve", Alert.ILLEGAL_PARAMETER)
        self._expected = messages.CERTIFICATE_REQUEST

    def _certificate_request_came(self, message: Message) -> None:
        self._expected = messages.SERVER_HELLO_DONE

    def _server_hello_done_came(self, message: Message) -> None:
        assert self._server_point is not None
        ephemeral = self._source.ephemeral_key()
        self._flight = []
        self._say(messages.CERTIFICATE, messages.encode_certificate(p256.public_key_of(self._key)))
        point = p256.point_of(ephemeral)
        self._say(messages.CLIENT_KEY_EXCHANGE, messages.encode_client_key_exchange(point))
        signature = p256.sign_digest(self._key, self._transcript.digest())
        self._say(messages.CERTIFICATE_VERIFY, messages.encode_signature(signature))
        self._flight.append((CHANGE_CIPHER_SPEC, b"\x01"))
        secrets = agree(p256.shared_secret(ephemeral, self._server_point), self._random, self._server_random)
        self.session = Session(
            secrets,
            connection_id=self._connection_id,
            public_key=p256.public_key_of(self._key),
            is_device=True,
        )
        self._say(messages.FINISHED, verify_data(secrets, CLIENT_FINISHED, self._transcript.digest()))
        self._expected = messages.FINISHED

    def _finished_came(self, message: Message) -> None:
        assert self.session is not None
        expected = verify_data(self.session.secrets, SERVER_FINISHED, self._transcript.digest())
        if not hmac.compare_digest(message.body, expected):
            raise HandshakeRefused("wrong_finished", Alert.DECRYPT_ERROR)
        self.done = True


_STEPS: dict[int, Callable[[DeviceHandshake, Message], None]] = {
    messages.SERVER_HELLO: DeviceHandshake._server_hello_came,
    messages.SERVER_KEY_EXCHANGE: DeviceHandshake._key_exchange_came,
    messages.CERTIFICATE_REQUEST: DeviceHandshake._certificate_request_came,
    messages.SERVER_HELLO_DONE: DeviceHandshake._server_hello_done_came,
}


class Heard(NamedTuple):
    """Datagrams to send, and application data that came."""

    datagrams: list[bytes]
    contents: list[bytes]


class DeviceClient:
    """One device. ``connect``, then ``receive`` and ``tick`` until ``session`` is there; ``failed`` says why it never
    will be. The session stays when a new ``connect`` begins, until that succeeded."""

    def __init__(
        self,
        key: p256.PrivateKey,
        server_key: bytes,
        source: Source,
        *,
        device_id: bytes,
        firmware: Firmware = OLD,
    ) -> None:
        self.session: Session | None = None
        self.failed = ""
        self._key = key
        self._server_key = server_key
        self._source = source
        self._device_id = device_id
        self._firmware = firmware
        self._handshake: DeviceHandshake | None = None
        self._marking = False

    def connect(self, now: float) -> list[bytes]:
        """Begins a handshake."""
        self.failed = ""
        self._handshake = DeviceHandshake(self._key, self._server_key, self._source, self._firmware, now)
        return self._handshake.send()

    def move(self) -> None:
        """The next datagrams come from another address: they are marked until something is received (8.5)."""
        self._marking = True

    def restore(self, stored: StoredSession) -> None:
        """Continues a stored session, after a sleep."""
        self.session = Session.restore(stored, is_device=True)
        self.session.export()
        self._marking = True

    def seal(self, content: bytes) -> bytes:
        """The datagram with this application data."""
        assert self.session is not None
        datagram = self.session.seal(content)
        if not self._marking:
            return datagram
        if self._firmware.connection_id:
            return mark_reconnected(datagram) if self._firmware.marks_reconnect else datagram
        return mark_moved(datagram, self._device_id)

    def close(self) -> bytes:
        """The datagram that ends the session."""
        assert self.session is not None
        session, self.session = self.session, None
        return session.seal(bytes((WARNING, Alert.CLOSE_NOTIFY)), ALERT)

    def tick(self, now: float) -> list[bytes]:
        """What is due."""
        return [] if self._handshake is None else self._handshake.tick(now)

    def wake_at(self) -> float:
        """When ``tick`` is due; infinite when nothing is."""
        return NEVER if self._handshake is None else self._handshake.wake_at

    def receive(self, datagram: bytes, now: float) -> Heard:
        """What one datagram does."""
        heard = Heard([], [])
        try:
            records = parse(datagram).records
        except Discarded:
            return heard
        for record in records:
            try:
                self._record(record, now, heard)
            except Discarded:
                continue  # it is not for us, or it is a repetition
        return heard

    def _record(self, record: Record, now: float, heard: Heard) -> None:
        if self._handshake is not None:
            try:
                self._of_handshake(self._handshake, record, now, heard)
            except Discarded:
                self._of_session(record, heard)
        else:
            self._of_session(record, heard)

    def _of_handshake(self, handshake: DeviceHandshake, record: Record, now: float, heard: Heard) -> None:
        try:
            heard.datagrams.extend(handshake.receive(record, now))
        except HandshakeRefused as refusal:
            self._handshake = None
            self.failed = refusal.kind
            if refusal.alert is not None:
                heard.datagrams.append(handshake.alert(refusal.alert))
            return
        if handshake.done:
            self.session, self._handshake, self._marking = handshake.session, None, False

    def _of_session(self, record: Record, heard: Heard) -> None:
        if self.session is None or not record.epoch:
            raise Discarded("no_session")
        content_type, content = self.session.open(record)
        self._marking = False
        if content_type == APPLICATION_DATA:
            heard.contents.append(content)
        elif content_type == ALERT:
            self.session = None
            self.failed = "closed_by_server"
