"""What the device's half refuses of a server, as real devices do."""

from __future__ import annotations

import pytest

from services.gateway.devices.particle.dtls import messages, p256
from services.gateway.devices.particle.dtls.client import NEW, OLD, DeviceClient, Firmware
from services.gateway.devices.particle.dtls.messages import Message
from services.gateway.devices.particle.dtls.records import APPLICATION_DATA, HANDSHAKE, encode, number_of, parse
from services.gateway.devices.particle.dtls.refusals import Alert, fatal
from tests.gateway.devices.particle.dtls.wire import LATENCY_S, SERVER_KEY, Network, new_device, new_endpoint

HELLO = messages.encode_server_hello(
    bytes(32),
    messages.decode_offer(
        messages.decode_client_hello(messages.encode_client_hello(bytes(32), b"", connection_id=True)).rest
    ),
    b"12345678",
)


def told(device: DeviceClient, *bodies: tuple[int, bytes]) -> list[bytes]:
    """What the device sends last for these messages of a server."""
    device.connect(0.0)
    sent: list[bytes] = []
    for at, (kind, body) in enumerate(bodies):
        datagram = encode(HANDSHAKE, number_of(0, at), Message(kind, at, body).encode())
        sent = device.receive(datagram, 0.0).datagrams
    return [parse(datagram).records[0].fragment for datagram in sent]


@pytest.mark.parametrize(
    ("firmware", "old", "new", "failed", "alert"),
    [
        (OLD, b"\xc0\xae", b"\xc0\xad", "suite", Alert.ILLEGAL_PARAMETER),
        (OLD, b"\x00\x13\x00\x01\x02", b"\x00\x13\x00\x01\x00", "no_raw_public_keys", Alert.UNSUPPORTED_CERTIFICATE),
        (OLD, b"\xfe\xfd\x00", b"\xfe\xff\x00", "version", Alert.PROTOCOL_VERSION),
        (OLD, b"\xc0\xae\x00", b"\xc0\xae\x01", "compression", Alert.ILLEGAL_PARAMETER),
        (NEW, b"\x00\xfe\x00\x09\x08", b"\x00\xfe\x00\x09\x07", "no_connection_id", Alert.HANDSHAKE_FAILURE),
        (NEW, b"\x00\xfe\x00\x09\x08", b"\x00\xfd\x00\x09\x08", "no_connection_id", Alert.HANDSHAKE_FAILURE),
    ],
)
def test_a_server_hello_that_promises_something_else_is_refused(
    firmware: Firmware, old: bytes, new: bytes, failed: str, alert: Alert
) -> None:
    device = new_device(firmware)
    assert HELLO.count(old) == 1
    assert told(device, (messages.SERVER_HELLO, HELLO.replace(old, new))) == [fatal(alert)]
    assert device.failed == failed


def test_a_signed_point_that_is_none_is_refused() -> None:
    device = new_device()
    device.connect(0.0)
    parameters = messages.key_exchange_parameters(b"\x04" + bytes(64))
    assert device._handshake is not None
    signature = p256.sign(SERVER_KEY, device._handshake._random + bytes(32) + parameters)
    exchange = messages.encode_server_key_exchange(parameters, signature)
    sent: list[bytes] = []
    for at, (kind, body) in enumerate(((messages.SERVER_HELLO, HELLO), (messages.SERVER_KEY_EXCHANGE, exchange))):
        sent = device.receive(encode(HANDSHAKE, number_of(0, at), Message(kind, at, body).encode()), 0.0).datagrams
    assert [parse(datagram).records[0].fragment for datagram in sent] == [fatal(Alert.ILLEGAL_PARAMETER)]


def test_records_before_their_time_and_a_finished_in_clear_are_ignored() -> None:
    device = new_device()
    assert not told(device, (messages.FINISHED, bytes(12)))
    early = encode(APPLICATION_DATA, number_of(1, 0), bytes(40))
    assert device.receive(early, 0.0) == ([], [])
    assert not device.failed


def test_a_wrong_finished_of_the_server_is_refused() -> None:
    network = Network(new_endpoint(), new_device(), fate=lambda datagram, up: [LATENCY_S])

    def fate(datagram: bytes, up: bool) -> list[float]:
        handshake = network.device._handshake
        if not up and handshake is not None and parse(datagram).records[0].epoch:
            handshake._transcript.add(b"something else")
        return [LATENCY_S]

    network.fate = fate
    network.connect()
    network.run(2.0)
    assert network.device.failed == "wrong_finished"
    assert network.device.session is None
