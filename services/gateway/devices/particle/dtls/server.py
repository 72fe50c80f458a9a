"""The server's half of one handshake, from the ClientHello with a valid cookie on. Device protocol, 8.2.

The device's messages must come in this order; whatever the order of their datagrams, ``Inbox`` gives them so:

===================  ==============================================================  ====================
expected             what is checked, and what it does                               wrong: alert
===================  ==============================================================  ====================
Certificate          a raw key of this curve that ``admits`` lets in                 43, 42, 46
ClientKeyExchange    a point; kept                                                   47
CertificateVerify    signature over all so far; only then the keys are agreed on     51
Finished             in a record of epoch 1; over all so far; answered, session up   51
===================  ==============================================================  ====================

A message out of turn is answered with alert 10, one that cannot be read with 50. ChangeCipherSpec is not waited for:
a record of epoch 1 says the same, and is kept until there are keys. Our flight is sent again when its time has come or
when the ClientHello is repeated; our Finished when the device repeats its own (``Session.answer_handshake``). Records
of epoch 0 have no replay window: nothing verifies them, so that one forged number would shut the device out; repeated
messages are known by their message numbers. Longer than 150 lines: the steps of one machine.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import NamedTuple

from services.gateway.devices.particle.dtls import messages, p256
from services.gateway.devices.particle.dtls.entropy import Source
from services.gateway.devices.particle.dtls.flight import Retransmission
from services.gateway.devices.particle.dtls.inbox import Inbox
from services.gateway.devices.particle.dtls.key_schedule import (
    CLIENT_FINISHED,
    SERVER_FINISHED,
    Transcript,
    agree,
    verify_data,
)
from services.gateway.devices.particle.dtls.limits import DtlsLimits
from services.gateway.devices.particle.dtls.messages import ClientHello, Fragment, Message, Offer
from services.gateway.devices.particle.dtls.records import (
    ALERT,
    CONNECTION_ID_BYTES,
    HANDSHAKE,
    Record,
    encode,
    number_of,
)
from services.gateway.devices.particle.dtls.refusals import FATAL, Alert, Discarded, HandshakeRefused, fatal
from services.gateway.devices.particle.dtls.session import Finale, Session

MAX_EARLY_RECORDS = 4
"""Records of epoch 1 that are kept until there are keys."""

MAX_HELLO_SEQUENCE = 32
"""Message number of a ClientHello; a device's first is 0, the one with the cookie 1."""
MAX_HELLO_RECORD = 1 << 32
"""Record number of a ClientHello; so low that ours never reach the end of numbers."""


class Opening(NamedTuple):
    """A ClientHello, and the number of the record it came in: our records are numbered from there."""

    record_sequence: int
    message: Message
    hello: ClientHello

    @classmethod
    def read(cls, record: Record, fragment: Fragment) -> Opening:
        """Raises ``Discarded`` for a cut hello, as nothing is remembered before the cookie, and for a malformed one,
        as alerts to unproven addresses would serve others."""
        if len(fragment.body) != fragment.length:
            raise Discarded("cut_hello")
        if fragment.sequence > MAX_HELLO_SEQUENCE or record.sequence > MAX_HELLO_RECORD:
            raise Discarded("hello_number")  # ours are counted from them
        try:
            hello = messages.decode_client_hello(fragment.body)
        except HandshakeRefused as refusal:
            raise Discarded(refusal.kind) from None
        return cls(record.sequence, Message(fragment.kind, fragment.sequence, fragment.body), hello)

    def alert(self, alert: Alert) -> bytes:
        """The datagram that says why no handshake begins."""
        return encode(ALERT, number_of(0, self.record_sequence), fatal(alert))


class ServerHandshake:
    """One handshake with one address; ``done`` when ``session`` may be used.

    ``admits`` is asked before anything is calculated with the device's key. Raises ``HandshakeRefused``, then it is
    over and ``alert`` makes the datagram that says so, and ``Discarded``, then nothing happened.
    """

    __slots__ = (
        "_admits",
        "_certificate",
        "_early",
        "_ephemeral",
        "_expected",
        "_flight",
        "_inbox",
        "_peer_point",
        "_public_key",
        "_retransmission",
        "_send_sequence",
        "_server_random",
        "_session",
        "_transcript",
        "connection_id",
        "deadline",
        "done",
        "opening",
    )

    def __init__(
        self,
        opening: Opening,
        key: p256.PrivateKey,
        source: Source,
        now: float,
        *,
        limits: DtlsLimits | None = None,
        admits: Callable[[bytes], bool] = lambda public_key: True,
    ) -> None:
        limits = limits or DtlsLimits()
        offer = messages.accept(opening.hello.version, opening.hello.rest)
        self.opening = opening
        self.connection_id = source.random(CONNECTION_ID_BYTES) if messages.wants_connection_id(offer) else b""
        self.deadline = now + limits.handshake_s
        self.done = False
        self._admits = admits
        self._server_random = source.random(messages.RANDOM_BYTES)
        self._ephemeral = source.ephemeral_key()
        self._expected = messages.CERTIFICATE
        self._inbox = Inbox(opening.message.sequence + 1)
        self._early: list[Record] = []
        self._session: Session | None = None
        self._certificate: p256.PublicKey | None = None
        self._peer_point: p256.PublicKey | None = None
        self._public_key = b""
        self._send_sequence = opening.record_sequence
        self._transcript = Transcript()
        self._transcript.add(opening.message.encode())
        self._flight = self._first_flight(key, offer)
        self._retransmission = Retransmission(
            now, first_s=limits.flight_first_s, longest_s=limits.flight_longest_s, most=limits.flight_repeats
        )

    @property
    def session(self) -> Session:
        """The session, once ``done``."""
        assert self.done
        assert self._session is not None
        return self._session

    @property
    def has_keys(self) -> bool:
        """Whether records of epoch 1 can be opened."""
        return self._session is not None

    def _first_flight(self, key: p256.PrivateKey, offer: Offer) -> list[bytes]:
        hello = self.opening.hello
        parameters = messages.key_exchange_parameters(p256.point_of(self._ephemeral))
        signature = p256.sign(key, hello.random + self._server_random + parameters)
        bodies = (
            (messages.SERVER_HELLO, messages.encode_server_hello(self._server_random, offer, self.connection_id)),
            (messages.SERVER_KEY_EXCHANGE, messages.encode_server_key_exchange(parameters, signature)),
            (messages.CERTIFICATE_REQUEST, messages.CERTIFICATE_REQUEST_BODY),
            (messages.SERVER_HELLO_DONE, b""),
        )
        first = self.opening.message.sequence
        flight = [Message(kind, first + at, body).encode() for at, (kind, body) in enumerate(bodies)]
        for message in flight:
            self._transcript.add(message)
        return flight

    def send(self) -> list[bytes]:
        """The datagrams of our first flight, one record each as devices were seen to accept them."""
        return [self._record(HANDSHAKE, message) for message in self._flight]

    def _record(self, content_type: int, fragment: bytes) -> bytes:
        number = number_of(0, self._send_sequence)
        self._send_sequence += 1
        return encode(content_type, number, fragment)

    def alert(self, alert: Alert) -> bytes:
        """The datagram that tells the peer why it is over."""
        return self._record(ALERT, fatal(alert))

    def repeat(self, now: float) -> list[bytes]:
        """The peer sent its ClientHello again: our flight again, within limits."""
        return self.send() if self._retransmission.again(now) else []

    def tick(self, now: float) -> list[bytes]:
        """Our flight again if nothing came in time. Whether the handshake is too old, ``deadline`` says."""
        return self.send() if not self.done and self._retransmission.on_time(now) else []

    def wake_at(self) -> float:
        """When ``tick`` or ``deadline`` is due."""
        return min(self.deadline, self._retransmission.wake_at)

    def receive(self, record: Record) -> list[bytes]:
        """One record of the peer; the datagrams that it makes necessary."""
        if record.epoch:
            return self._receive_protected(record)
        if record.content_type == HANDSHAKE:
            for fragment in messages.fragments(record.fragment):
                if fragment.kind == messages.FINISHED:
                    raise Discarded("unprotected_finished")
                self._inbox.put(fragment)
            return self._advance()
        if record.content_type == ALERT and record.fragment[:1] == bytes((FATAL,)):
            raise HandshakeRefused("alert_from_peer", None)
        return []

    def _receive_protected(self, record: Record) -> list[bytes]:
        if self._session is None:
            if len(self._early) == MAX_EARLY_RECORDS:
                raise Discarded("early_record")
            self._early.append(record)
            return []
        content_type, content = self._session.open(record)
        if content_type != HANDSHAKE:
            raise Discarded("data_before_finished")
        for fragment in messages.fragments(content):
            if fragment.kind != messages.FINISHED:
                raise HandshakeRefused("out_of_turn", Alert.UNEXPECTED_MESSAGE)
            self._inbox.put(fragment)
        return self._advance()

    def _advance(self) -> list[bytes]:
        while not self.done and (message := self._inbox.take()) is not None:
            if message.kind != self._expected:
                raise HandshakeRefused("out_of_turn", Alert.UNEXPECTED_MESSAGE)
            if message.kind == messages.FINISHED:
                return self._finished(message)
            _STEPS[message.kind](self, message)
            self._transcript.add(message.encode())
            if message.kind == messages.CERTIFICATE_VERIFY:
                return self._open_early()
        return []

    def _open_early(self) -> list[bytes]:
        """What came before its time; what of it is not this session's is dropped as it would have been later."""
        early, self._early = self._early, []
        sent: list[bytes] = []
        for record in early:
            if not self.done:
                try:
                    sent += self._receive_protected(record)
                except Discarded:
                    continue
        return sent

    def _certificate_came(self, message: Message) -> None:
        self._retransmission.stop()  # the peer has our flight
        public_key = messages.decode_certificate(message.body)
        if not p256.is_raw_key(public_key):
            raise HandshakeRefused("not_a_raw_key", Alert.UNSUPPORTED_CERTIFICATE)
        if not self._admits(public_key):
            raise HandshakeRefused("unknown_key", Alert.CERTIFICATE_UNKNOWN)
        self._certificate = p256.load(public_key)
        if self._certificate is None:
            raise HandshakeRefused("not_on_the_curve", Alert.BAD_CERTIFICATE)
        self._public_key = public_key
        self._expected = messages.CLIENT_KEY_EXCHANGE

    def _key_exchange_came(self, message: Message) -> None:
        self._peer_point = p256.load_point(messages.decode_client_key_exchange(message.body))
        if self._peer_point is None:
            raise HandshakeRefused("not_on_the_curve", Alert.ILLEGAL_PARAMETER)
        self._expected = messages.CERTIFICATE_VERIFY

    def _certificate_verify_came(self, message: Message) -> None:
        assert self._certificate is not None
        assert self._peer_point is not None
        signature = messages.decode_signature(message.body)
        if not p256.is_digest_signed(self._certificate, signature, self._transcript.digest()):
            raise HandshakeRefused("wrong_signature", Alert.DECRYPT_ERROR)
        premaster = p256.shared_secret(self._ephemeral, self._peer_point)
        secrets = agree(premaster, self.opening.hello.random, self._server_random)
        self._session = Session(secrets, connection_id=self.connection_id, public_key=self._public_key)
        self._expected = messages.FINISHED

    def _finished(self, message: Message) -> list[bytes]:
        assert self._session is not None
        secrets = self._session.secrets
        if not hmac.compare_digest(message.body, verify_data(secrets, CLIENT_FINISHED, self._transcript.digest())):
            raise HandshakeRefused("wrong_finished", Alert.DECRYPT_ERROR)
        self._transcript.add(message.encode())
        ours = verify_data(secrets, SERVER_FINISHED, self._transcript.digest())
        sequence = self.opening.message.sequence + len(self._flight)
        self.done = True
        finale = Finale(message.encode(), Message(messages.FINISHED, sequence, ours).encode())
        return self._session.finish(finale, self._send_sequence)


_STEPS: dict[int, Callable[[ServerHandshake, Message], None]] = {
    messages.CERTIFICATE: ServerHandshake._certificate_came,
    messages.CLIENT_KEY_EXCHANGE: ServerHandshake._key_exchange_came,
    messages.CERTIFICATE_VERIFY: ServerHandshake._certificate_verify_came,
}
