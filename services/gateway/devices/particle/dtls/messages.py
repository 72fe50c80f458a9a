"""Handshake messages of the profile and their bytes. Device protocol, 8.1 and 8.2; RFC 6347, 4.2.2 and 4.3.2.

Decoding checks the form only; whether the wishes of a hello can be met, ``accept`` says. Every decoder raises
``HandshakeRefused`` with a ``decode_error`` for what it cannot read. Longer than 150 lines because every message has
its encoder beside its decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from services.gateway.devices.particle.dtls.records import VERSION
from services.gateway.devices.particle.dtls.refusals import Alert, Discarded, HandshakeRefused

CLIENT_HELLO = 1
SERVER_HELLO = 2
HELLO_VERIFY_REQUEST = 3
CERTIFICATE = 11
SERVER_KEY_EXCHANGE = 12
CERTIFICATE_REQUEST = 13
SERVER_HELLO_DONE = 14
CERTIFICATE_VERIFY = 15
CLIENT_KEY_EXCHANGE = 16
FINISHED = 20

HEADER_BYTES = 12
RANDOM_BYTES = 32
MAX_SESSION_ID_BYTES = 32
OFFERS_REMEMBERED = 64
"""Each of less than ``MAX_MESSAGE_BYTES``."""
MAX_MESSAGE_BYTES = 1_024
"""Of one handshake message's body; the device's longest is its ClientHello of about 120 bytes."""
MAX_FRAGMENTS = 8
"""In one record; the device sends one."""

SUITE = b"\xc0\xae"
RENEGOTIATION_SUITE = b"\x00\xff"
SIGNATURE = b"\x04\x03"
"""SHA-256 with ECDSA."""
GROUPS, POINT_FORMATS, SIGNATURES = 10, 11, 13
CLIENT_CERTIFICATE_TYPE, SERVER_CERTIFICATE_TYPE = 19, 20
CONNECTION_ID = 254
"""The draft's number; RFC 9146 has 54."""
RENEGOTIATION = 0xFF01
SECP256R1 = b"\x00\x17"
RAW_PUBLIC_KEY = 2
NO_ID_WANTED = b"\x00"
"""Body of extension 254 in the ClientHello: the device wants no id in what it receives."""
CERTIFICATE_REQUEST_BODY = b"\x01\x40\x00\x02" + SIGNATURE + b"\x00\x00"

_HEADER = Struct(">BBHHBHBH")
_CURVE = b"\x03" + SECP256R1
_RAW = bytes((RAW_PUBLIC_KEY,))
_PARAMETERS = ((SECP256R1, GROUPS, 2), (SIGNATURE, SIGNATURES, 2), (b"\x00", POINT_FORMATS, 1))
_SESSION_ID_AT = 2 + RANDOM_BYTES


class Fragment(NamedTuple):
    """A part of a handshake message: ``length`` is that of the whole body."""

    kind: int
    length: int
    sequence: int
    offset: int
    body: bytes


class Message(NamedTuple):
    """A whole handshake message."""

    kind: int
    sequence: int
    body: bytes

    def encode(self) -> bytes:
        """Header and body as one fragment, which is also what the transcript covers."""
        size = len(self.body).to_bytes(3, "big")
        return bytes((self.kind,)) + size + self.sequence.to_bytes(2, "big") + bytes(3) + size + self.body


class ClientHello(NamedTuple):
    """As much as the cookie needs: ``covered`` is all of the message but the cookie, ``rest`` what ``Offer`` reads."""

    version: bytes
    random: bytes
    cookie: bytes
    covered: bytes
    rest: bytes


class Offer(NamedTuple):
    """What a ClientHello offers, read only once its address is proven."""

    suites: frozenset[bytes]
    compressions: bytes
    extensions: Mapping[int, bytes]


class ServerHello(NamedTuple):
    """What the device must know of the answer."""

    random: bytes
    suite: bytes
    extensions: Mapping[int, bytes]


class KeyExchange(NamedTuple):
    """ServerKeyExchange: the ephemeral point, the bytes that are signed with both randoms, the signature."""

    point: bytes
    signed: bytes
    signature: bytes


def fragments(payload: bytes) -> list[Fragment]:
    """The fragments in one handshake record. Raises ``Discarded`` if it is no sequence of them."""
    found: list[Fragment] = []
    at, end = 0, len(payload)
    while at < end:
        start = at + HEADER_BYTES
        if start > end or len(found) == MAX_FRAGMENTS:
            raise Discarded("handshake_form")
        kind, high, low, sequence, offset_high, offset_low, size_high, size_low = _HEADER.unpack_from(payload, at)
        length, offset, size = high << 16 | low, offset_high << 16 | offset_low, size_high << 16 | size_low
        at = start + size
        if at > end or offset + size > length or length > MAX_MESSAGE_BYTES:
            raise Discarded("handshake_form")
        found.append(Fragment(kind, length, sequence, offset, payload[start:at]))
    if not found:
        raise Discarded("handshake_form")
    return found


class _Reader:
    """Takes fields off a body; raises ``HandshakeRefused`` where there is less than announced."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, size: int) -> bytes:
        at, self._at = self._at, self._at + size
        if self._at > len(self._body):
            raise _unreadable()
        return self._body[at : self._at]

    def vector(self, width: int) -> bytes:
        return self.take(int.from_bytes(self.take(width), "big"))

    @property
    def more(self) -> bool:
        return self._at < len(self._body)

    def done(self) -> None:
        if self.more:
            raise _unreadable()


def _unreadable() -> HandshakeRefused:
    return HandshakeRefused("undecodable_message", Alert.DECODE_ERROR)


def decode_client_hello(body: bytes) -> ClientHello:
    """RFC 6347, 4.3.2."""
    size = len(body)
    if size <= _SESSION_ID_AT or body[_SESSION_ID_AT] > MAX_SESSION_ID_BYTES:
        raise _unreadable()
    before = _SESSION_ID_AT + 1 + body[_SESSION_ID_AT]
    if size <= before or size <= (after := before + 1 + body[before]):
        raise _unreadable()
    rest = body[after:]
    return ClientHello(body[:2], body[2:_SESSION_ID_AT], body[before + 1 : after], body[:before] + rest, rest)


def decode_offer(rest: bytes) -> Offer:
    """What follows the cookie in a ClientHello."""
    reader = _Reader(rest)
    suites, compressions = reader.vector(2), reader.vector(1)
    if len(suites) % 2:
        raise _unreadable()
    each = frozenset([suites[at : at + 2] for at in range(0, len(suites), 2)])
    return Offer(each, compressions, _extensions(reader))


def encode_client_hello(random: bytes, cookie: bytes, *, connection_id: bool) -> bytes:
    """The ClientHello of the device, as firmware 0.6.4 sends it, and as 3.3.1 does with ``connection_id``."""
    algorithms = SIGNATURE + (b"\x04\x01" if connection_id else b"") + b"\x03\x03"
    algorithms += b"\x03\x01" if connection_id else b""
    pairs = [
        (SIGNATURES, _vector(algorithms, 2)),
        (GROUPS, _vector(SECP256R1, 2)),
        (POINT_FORMATS, b"\x01\x00"),
        *([(CONNECTION_ID, NO_ID_WANTED)] if connection_id else []),
        (CLIENT_CERTIFICATE_TYPE, bytes((1, RAW_PUBLIC_KEY))),
        (SERVER_CERTIFICATE_TYPE, bytes((1, RAW_PUBLIC_KEY))),
    ]
    suites = _vector(SUITE + RENEGOTIATION_SUITE, 2)
    return VERSION + random + b"\x00" + _vector(cookie, 1) + suites + b"\x01\x00" + _encode_extensions(pairs)


@lru_cache(maxsize=OFFERS_REMEMBERED)
def accept(version: bytes, rest: bytes) -> Offer:
    """The offer of a hello that this profile can serve. Raises ``HandshakeRefused``. Remembered, because the hellos of
    one firmware differ in nothing that is read here."""
    offer = decode_offer(rest)
    refusal = refusal_of(version, offer)
    if refusal is not None:
        raise refusal
    return offer


def refusal_of(version: bytes, offer: Offer) -> HandshakeRefused | None:
    """Why this profile cannot serve a hello, or None."""
    extensions = offer.extensions
    if version != VERSION:
        return HandshakeRefused("version", Alert.PROTOCOL_VERSION)
    if 0 not in offer.compressions:
        return HandshakeRefused("compression", Alert.ILLEGAL_PARAMETER)
    if SUITE not in offer.suites:
        return HandshakeRefused("suite", Alert.HANDSHAKE_FAILURE)
    for wanted, number, width in _PARAMETERS:
        if number in extensions and not _offers(extensions[number], width, wanted):
            return HandshakeRefused("no_common_parameters", Alert.HANDSHAKE_FAILURE)
    for number in (CLIENT_CERTIFICATE_TYPE, SERVER_CERTIFICATE_TYPE):
        if not _offers(extensions.get(number, b"\x00"), 1, _RAW):
            return HandshakeRefused("no_raw_public_keys", Alert.UNSUPPORTED_CERTIFICATE)
    return None


def _offers(extension: bytes, width: int, wanted: bytes) -> bool:
    """Whether the list in the extension has the item; a list must fill its extension."""
    if int.from_bytes(extension[:width], "big") != len(extension) - width:
        raise _unreadable()
    size = len(wanted)
    return wanted in [extension[at : at + size] for at in range(width, len(extension), size)]


def wants_connection_id(offer: Offer) -> bool:
    """Whether extension 254 is there in the one form that devices send."""
    return offer.extensions.get(CONNECTION_ID) == NO_ID_WANTED


def encode_server_hello(random: bytes, offer: Offer, connection_id: bytes) -> bytes:
    """The answer to this hello; with ``connection_id`` unless that is empty."""
    pairs: list[tuple[int, bytes]] = []
    if RENEGOTIATION_SUITE in offer.suites or RENEGOTIATION in offer.extensions:
        pairs.append((RENEGOTIATION, b"\x00"))
    if POINT_FORMATS in offer.extensions:
        pairs.append((POINT_FORMATS, b"\x01\x00"))
    pairs += [(CLIENT_CERTIFICATE_TYPE, _RAW), (SERVER_CERTIFICATE_TYPE, _RAW)]
    if connection_id:
        pairs.append((CONNECTION_ID, _vector(connection_id, 1)))
    return VERSION + random + b"\x00" + SUITE + b"\x00" + _encode_extensions(pairs)


def decode_server_hello(body: bytes) -> ServerHello:
    """Raises ``HandshakeRefused`` also if the version is not DTLS 1.2."""
    reader = _Reader(body)
    version, random, _ = reader.take(2), reader.take(RANDOM_BYTES), reader.vector(1)
    suite, compression = reader.take(2), reader.take(1)
    if version != VERSION:
        raise HandshakeRefused("version", Alert.PROTOCOL_VERSION)
    if compression != b"\x00":
        raise HandshakeRefused("compression", Alert.ILLEGAL_PARAMETER)
    return ServerHello(random, suite, _extensions(reader))


def encode_hello_verify_request(cookie: bytes) -> bytes:
    """Its version is that of DTLS 1.0, whatever is agreed on later."""
    return b"\xfe\xff" + _vector(cookie, 1)


def decode_hello_verify_request(body: bytes) -> bytes:
    """The cookie."""
    reader = _Reader(body)
    reader.take(2)
    cookie = reader.vector(1)
    reader.done()
    return cookie


def key_exchange_parameters(point: bytes) -> bytes:
    """The 69 bytes that the server signs after both randoms."""
    return _CURVE + _vector(point, 1)


def encode_server_key_exchange(parameters: bytes, signature: bytes) -> bytes:
    """ServerKeyExchange."""
    return parameters + encode_signature(signature)


def decode_server_key_exchange(body: bytes) -> KeyExchange:
    """Raises ``HandshakeRefused`` for another curve or kind of signature, too."""
    reader = _Reader(body)
    if reader.take(3) != _CURVE:
        raise HandshakeRefused("curve", Alert.ILLEGAL_PARAMETER)
    point = reader.vector(1)
    signed = len(_CURVE) + 1 + len(point)
    return KeyExchange(point, body[:signed], decode_signature(body[signed:]))


def encode_certificate(public_key: bytes) -> bytes:
    """A raw public key: no list, just the key (RFC 7250)."""
    return _vector(public_key, 3)


def decode_certificate(body: bytes) -> bytes:
    """The raw public key, whatever it is."""
    reader = _Reader(body)
    public_key = reader.vector(3)
    reader.done()
    return public_key


def encode_client_key_exchange(point: bytes) -> bytes:
    """ClientKeyExchange."""
    return _vector(point, 1)


def decode_client_key_exchange(body: bytes) -> bytes:
    """The point, whatever it is."""
    reader = _Reader(body)
    point = reader.vector(1)
    reader.done()
    return point


def encode_signature(signature: bytes) -> bytes:
    """The body of CertificateVerify."""
    return SIGNATURE + _vector(signature, 2)


def decode_signature(body: bytes) -> bytes:
    """The signature; raises ``HandshakeRefused`` for another algorithm."""
    reader = _Reader(body)
    if reader.take(2) != SIGNATURE:
        raise HandshakeRefused("signature_algorithm", Alert.ILLEGAL_PARAMETER)
    signature = reader.vector(2)
    reader.done()
    return signature


def _vector(content: bytes, width: int) -> bytes:
    return len(content).to_bytes(width, "big") + content


def _encode_extensions(pairs: list[tuple[int, bytes]]) -> bytes:
    return _vector(b"".join(number.to_bytes(2, "big") + _vector(body, 2) for number, body in pairs), 2)


def _extensions(reader: _Reader) -> dict[int, bytes]:
    """What is left of a hello: nothing, or a list of extensions, each of them once."""
    found: dict[int, bytes] = {}
    if not reader.more:
        return found
    inner = _Reader(reader.vector(2))
    reader.done()
    while inner.more:
        number = int.from_bytes(inner.take(2), "big")
        if number in found:
            raise _unreadable()
        found[number] = inner.vector(2)
    return found
