"""Every codec: bytes in, a value or the refusal that it names out. Real inputs are what they begin with."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.simulation.modules import build_module
from services.devices.id_file import MAX_LINE_BYTES, IdReader, Line
from services.firmware.modules import read_module
from services.gateway.devices.mqtt import payloads, provisioning_request, topics
from services.gateway.devices.mqtt.certificates import fingerprint_of
from services.gateway.devices.mqtt.packets import decode, decode_connect
from services.gateway.devices.mqtt.reader import Frame, FrameReader
from services.gateway.devices.mqtt.violations import Rejected, Violation
from services.gateway.devices.particle.device_handshake import seal_hello
from services.gateway.devices.particle.dtls import messages as dtls
from services.gateway.devices.particle.dtls import records
from services.gateway.devices.particle.dtls.refusals import Discarded, HandshakeRefused
from services.gateway.devices.particle.dtls.server import Opening
from services.gateway.devices.particle.frames import FrameWriter
from services.gateway.devices.particle.handshake import open_hello
from services.gateway.devices.particle.violations import BadMessage
from services.gateway.http.bodies import form_fields, json_fields
from services.orgs.products.certificates import read_authority
from shared.bus import wire
from shared.bus.errors import Malformed, to_error
from shared.device_keys import parse_public_key
from shared.errors import FlotillaError, NotFound, Refused
from tests.certificates import START, authority
from tests.fuzz.mutators import Steps
from tests.fuzz.targets import Target
from tests.gateway.devices.conftest import ClientWire
from tests.gateway.devices.particle.decoders import DECODERS
from tests.gateway.devices.particle.dtls.recorded import sessions
from tests.gateway.devices.particle.vectors import DEVICE_KEY, MESSAGES, SERVER_KEY, SESSIONS, VECTORS
from tests.gateway.http.test_uploads import END, part, receive

JSON_BYTES = 64
"""What an empty list or object takes in memory for each byte of its text, at most."""
PACKET_BYTES = 65_536


def _first(decoder: Callable[[bytes], object]) -> Callable[[Steps], object]:
    return lambda steps: decoder(steps[0])


def _simple(
    name: str, decoder: Callable[[bytes], object], seeds: list[bytes], *refuses: type[Exception], per_byte: int = 8
) -> Target:
    return Target(name, _first(decoder), tuple((seed,) for seed in seeds), refuses, held_per_byte=per_byte)


def in_pieces(data: bytes) -> Iterator[bytes]:
    """The same bytes in pieces of 1, 2, 3 … and again."""
    at, size = 0, 1
    while at < len(data):
        yield data[at : at + size]
        at, size = at + size, size % 997 + 1


# -- MQTT ---------------------------------------------------------------------------------------------------------

PROPERTIES = b"\x11\x00\x00\x00\x10\x21\x00\x14\x27\x00\x01\x00\x00\x26\x00\x01a\x00\x01b"
PACKETS = [
    ClientWire.connect(),
    ClientWire.connect(level=3, client_id="a", will=("v1/devices/me/telemetry", b"{}")),
    ClientWire.connect(level=5, password=b"secret", properties=PROPERTIES, will=("v2/t", b"gone")),
    ClientWire.publish("v1/devices/me/telemetry", b'{"temperature":21.5}'),
    ClientWire.publish("v2/t", b'[{"ts":1700000000000,"values":{"a":1}}]', 1, 7),
    ClientWire.publish("", b"x", 1, 9, 5, b"\x23\x00\x01\x01\x01\x02\x00\x00\x00\x09\x26\x00\x01k\x00\x01v"),
    ClientWire.publish("v2/fw/request/1/chunk/0", b"4096", 2, 65_535, 5),
    ClientWire.subscribe("v1/devices/me/attributes", "v1/devices/me/rpc/request/+", "v2/fw/response/+/chunk/+"),
    ClientWire.subscribe("v2/a", "#", level=5),
    ClientWire.packet(0xA2, b"\x00\x01" + ClientWire.text("v2/a")),
    ClientWire.packet(0x40, b"\x00\x07"),
    ClientWire.packet(0x40, b"\x00\x07\x00\x00"),
    ClientWire.packet(0x62, b"\x00\x07"),
    ClientWire.packet(0xC0, b""),
    ClientWire.packet(0xE0, b""),
    ClientWire.packet(0xE0, b"\x04\x05\x11\x00\x00\x00\x00"),
]
TOO_LARGE = ClientWire.publish("v2/t", bytes(70_000))
TELEMETRY = [
    b'{"temperature":21.5,"on":true,"nested":{"a":[1,2,{"b":null}]}}',
    b'[{"ts":1700000000000,"values":{"a":1}},{"b":"c"}]',
    b'{"event":"door/open","data":"front","ttl":60,"private":false}',
    b'{"current_fw_title":"Brewer","current_fw_version":"2","fw_state":"UPDATED"}',
    b'{"ts":-1e15,"values":{"long":18446744073709551616}}',
]
ATTRIBUTES = [
    b'{"functions":["brew","stop"],"variables":{"temp":"double","name":"string"},"serial":"x1"}',
    b'{"clientKeys":"a,b","sharedKeys":["fw_title","c"]}',
    b'{"secretKey":"s3cret","durationMs":60000}',
    b'{"method":"getCurrentTime","params":{}}',
]
PROVISIONING = [
    b'{"provisionDeviceKey":"k","provisionDeviceSecret":"s","deviceName":"d"}',
    b'{"provisionDeviceKey":"k","provisionDeviceSecret":"s","credentialsType":"MQTT_BASIC","username":"u",'
    b'"password":"p","clientId":"c"}',
    b'{"provisionDeviceKey":"k","provisionDeviceSecret":"s","credentialsType":"X509_CERTIFICATE","hash":"ab"}',
]
TOPICS = [
    b"v1/devices/me/telemetry",
    b"v1/devices/me/events/door/open",
    b"v1/devices/me/attributes/request/17",
    b"v2/r/res/j/4294967295",
    b"v2/fw/request/1/chunk/9999999999",
    b"v2/+/response/+/chunk/#",
]


def _frames(pieces: Iterator[bytes]) -> list[Frame | str]:
    reader, found = FrameReader(PACKET_BYTES), list[Frame | str]()
    for piece in pieces:
        for start in range(0, len(piece), PACKET_BYTES):  # as a connection does, which reads no more than there is room
            reader.feed(piece[start : start + PACKET_BYTES])
            try:
                while (frame := reader.take()) is not None:
                    found.append(frame)
            except Violation as violation:
                return [*found, violation.kind]
            assert reader.held_bytes <= PACKET_BYTES
    return found


def packets(data: bytes) -> object:
    """Packets of each level; the pieces in which they come make no difference."""
    frames = _frames(iter([data]))
    assert frames == _frames(in_pieces(data))
    found: list[object] = []
    for frame in frames:
        if isinstance(frame, Frame):
            found += [_packet(frame, level) for level in (3, 4, 5)]
    return found


def _packet(frame: Frame, level: int) -> object:
    try:
        return decode_connect(frame) if frame.first >> 4 == 1 else decode(frame, level)
    except Violation as violation:
        return violation.reason


def described(data: bytes) -> object:
    """Reported attributes, and what the device tells of itself in them."""
    values = payloads.attributes(data)
    return values, payloads.description(values)


def topic(data: bytes) -> object:
    """As a topic, and as a filter."""
    text = data.decode(errors="replace")
    found = [topics.well_formed(text), topics.grantable(text), topics.matches(text, "v2/fw/response/1/chunk/2")]
    return found, topics.parse(text)


MQTT = (
    _simple("mqtt-packets", packets, [*PACKETS, b"".join(PACKETS), TOO_LARGE], per_byte=200),
    _simple(
        "mqtt-telemetry", lambda data: payloads.telemetry(data, 1_024), TELEMETRY, Rejected, per_byte=2 * JSON_BYTES
    ),
    _simple("mqtt-attributes", described, ATTRIBUTES, Rejected, per_byte=JSON_BYTES),
    _simple("mqtt-attribute-names", payloads.attribute_names, ATTRIBUTES, Rejected, per_byte=JSON_BYTES),
    _simple("mqtt-claim", lambda data: payloads.claim(data, 60.0), ATTRIBUTES, Rejected),
    _simple("mqtt-method", payloads.method, ATTRIBUTES, Rejected),
    _simple("mqtt-provisioning-request", provisioning_request.parse, PROVISIONING, Rejected),
    _simple("mqtt-topics", topic, TOPICS, Rejected),
)

# -- Particle -----------------------------------------------------------------------------------------------------

RECORDED = [bytes.fromhex(message["coap"]) for message in MESSAGES]
PAYLOADS = [bytes.fromhex(message["payload"]) for message in MESSAGES if message.get("payload")]
HELLOS = [bytes.fromhex(session["device_hello_plain"]) for session in SESSIONS]
REPLIES = [bytes.fromhex(session["reply"]) for session in SESSIONS]
NONCE = bytes(40)
"""The one of ``DECODERS``, whose frames have a key of zeros, too."""


def _stream(session: dict[str, Any]) -> bytes:
    writer = FrameWriter(bytes(16), bytes(16))
    return b"".join(writer.write(bytes.fromhex(one["coap"])) for one in session["messages"] if one["from"] == "device")


def hello_of_anybody(plain: bytes) -> object:
    """What somebody says who has the server's public key, as everybody may."""
    sealed = SERVER_KEY.public_key().encrypt(plain[:245], PKCS1v15())
    return open_hello(SERVER_KEY, NONCE, sealed)


STREAMS = [_stream(session) for session in SESSIONS]
NUMBERS = [b"\x00\x01", b"\x00\x00\x00\x2a", b"\x00\x00\x00\x00\x00\x00\xf0\x3f", b"text", b"\x12", b"-7"]
PARTICLE_SEEDS = {
    "frames": STREAMS,
    "coap": RECORDED,
    "messages": RECORDED,
    "handshake hello": [seal_hello(SERVER_KEY.public_key(), NONCE, "3a0021000347343138333836")],
    "handshake reply": REPLIES,
    "server key": [VECTORS["keys"]["tcp"]["server_private_key"].encode()],
    "device key": [HELLOS[0][52:]],
    "description": [*[data for data in PAYLOADS if data[:1] == b"{"], b'{"f":["a"],"v":{"b":2},"p":6,"m":[{"s":1}]}'],
}


def _of_particle(name: str, decoder: Callable[[bytes], object]) -> Target:
    seeds = PARTICLE_SEEDS.get(name, [*NUMBERS, *PAYLOADS])
    return _simple(f"particle-{name.replace(' ', '-')}", decoder, seeds, BadMessage, Refused, per_byte=2 * JSON_BYTES)


PARTICLE = (
    *(_of_particle(*entry) for entry in DECODERS.items()),
    _simple("particle-hello-of-anybody", hello_of_anybody, [NONCE + plain[40:] for plain in HELLOS], BadMessage),
)

# -- DTLS ---------------------------------------------------------------------------------------------------------

DATAGRAMS = [step.datagram for session in sessions() for step in session.steps]
PLAIN = [
    record.fragment
    for datagram in DATAGRAMS
    for record in records.parse(datagram).records
    if record.content_type == records.HANDSHAKE and not record.epoch
]
BODIES = [fragment.body for fragments in PLAIN for fragment in dtls.fragments(fragments)]


def opening(data: bytes) -> object:
    """What begins a handshake, whoever sent it."""
    return [
        Opening.read(record, dtls.fragments(record.fragment)[0]).hello
        for record in records.parse(data).records
        if record.content_type == records.HANDSHAKE and record.fragment[:1] == bytes((dtls.CLIENT_HELLO,))
    ]


def offer(data: bytes) -> object:
    """A ClientHello, and what it offers."""
    hello = dtls.decode_client_hello(data)
    return hello, dtls.accept(data[:2], hello.rest)


DTLS_BODIES: dict[str, Callable[[bytes], object]] = {
    "client-hello": offer,
    "server-hello": dtls.decode_server_hello,
    "verify-request": dtls.decode_hello_verify_request,
    "server-key-exchange": dtls.decode_server_key_exchange,
    "client-key-exchange": dtls.decode_client_key_exchange,
    "certificate": dtls.decode_certificate,
    "signature": dtls.decode_signature,
}
DTLS = (
    _simple("dtls-records", records.parse, DATAGRAMS, Discarded, per_byte=64),
    _simple("dtls-fragments", dtls.fragments, PLAIN, Discarded, per_byte=64),
    _simple("dtls-opening", opening, DATAGRAMS, Discarded, HandshakeRefused, per_byte=64),
    *(_simple(f"dtls-{name}", decoder, BODIES, HandshakeRefused, per_byte=64) for name, decoder in DTLS_BODIES.items()),
)

# -- firmware, devices, HTTP, bus, certificates ---------------------------------------------------------------------

MODULES = [build_module(1_000, 7, bytes(range(64))), build_module(94, 1, b"code" * 200)]
ID_FILE = b"\xef\xbb\xbf0123456789abcdef01234567\r\n\n 0123456789ABCDEF01234568 \nnot an id\n" + b"x" * 300 + b"\nlast"
ID_FILE_WITH_KEYS = b"".join(
    b"0123456789abcdef01234567" + between + base64.b64encode(HELLOS[0][52:]) + b"\n"
    for between in (b",", b" ; ", b"\t")
)


def ids(data: bytes) -> list[Line]:
    """The lines of a file of device IDs; the pieces in which it comes make no difference."""

    def lines(pieces: Iterator[bytes]) -> Iterator[Line]:
        reader = IdReader()
        for piece in pieces:
            yield from reader.feed(piece)
            assert reader.kept_bytes <= MAX_LINE_BYTES + 1
        yield from reader.finish()

    found = list(lines(iter([data])))
    assert found == list(lines(in_pieces(data)))
    return found


def upload(steps: Steps) -> object:
    """A multipart body in the pieces in which it comes."""
    return receive(list(steps))


def module(data: bytes) -> object:
    """A module whose CRC-32 is right, whatever else is not."""
    body = data[:-4]
    return read_module(body + zlib.crc32(body).to_bytes(4, "big"))


PUBLIC_KEY = DEVICE_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _request(data: bytes) -> object:
    return wire.decode_request(wire.Message(data, "", ""))


def _reply(data: bytes) -> Any:
    return wire.decode_reply(wire.Message(data, "", ""))


REQUESTS = [
    wire.encode_request([1, "two", None], {"three": {"four": [5.0]}}),
    b'{"args":[{"__type__":"datetime","__value__":"2026-01-01T00:00:00+00:00"}],"kwargs":{}}',
    b'{"args":[{"__type__":"uuid","__value__":{"hex":"00000000000000000000000000000001","version":1}}],"kwargs":{}}',
    b'{"args":[{"__type__":"decimal","__value__":"1.5"},{"__type__":"bytes","__value__":"YQ=="}],"kwargs":{}}',
    b'{"args":[{"__type__":"date","__value__":"2026-01-01"},{"__type__":"base64","__value__":"YQ=="}],"kwargs":{}}',
]
REPLIED = [
    wire.encode_reply({"result": [1]}, None)[0],
    wire.encode({"result": None, "error": to_error(Refused("code", "reason", "{}"))}),
    wire.encode({"result": None, "error": to_error(NotFound("no such device"))}),
    wire.encode({"result": None, "error": to_error(ValueError("ours"))}),
]
CERTIFICATES = [authority().encode(), authority(is_authority=None).encode()]
FORM = b"name=a&list[]=1&list[]=2&object[key]=v&%C3%A9=%20"

OTHERS = (
    _simple("firmware-module", read_module, MODULES, Refused),
    _simple("firmware-module-with-its-crc", module, MODULES, Refused),
    _simple("device-id-file", ids, [ID_FILE, ID_FILE_WITH_KEYS, b"0123456789abcdef01234567\n" * 40], per_byte=400),
    _simple(
        "device-public-key", parse_public_key, [PUBLIC_KEY, HELLOS[0][52:], base64.encodebytes(HELLOS[0][52:])], Refused
    ),
    _simple("http-json", json_fields, [*TELEMETRY[2:], *PROVISIONING, REQUESTS[0]], Refused, per_byte=JSON_BYTES),
    _simple("http-form", form_fields, [FORM, b"a=1&a=2&b[0][1][2]=3"], Refused, per_byte=400),
    Target(
        "http-multipart",
        upload,
        (
            (part("product", b"1000") + part("file", MODULES[0], "a.bin") + END,),
            (part("a[]", b"1"), part("a[]", b"2"), part("binary", b"\r\n--x"), part("b", b"3") + END),
        ),
        (Refused,),
        held_per_byte=64,
    ),
    _simple("bus-request", _request, REQUESTS, Malformed, per_byte=2 * JSON_BYTES),
    _simple("bus-reply", _reply, REPLIED, Malformed, FlotillaError, per_byte=2 * JSON_BYTES),
    _simple("authority", lambda data: read_authority(data.decode(errors="replace"), START), CERTIFICATES, Refused),
    _simple("fingerprint", lambda data: fingerprint_of(data.decode(errors="replace")), [*CERTIFICATES, b"AB:" * 32]),
)

CODECS: tuple[Target, ...] = (*MQTT, *PARTICLE, *DTLS, *OTHERS)
