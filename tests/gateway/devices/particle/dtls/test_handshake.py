"""A whole handshake between both halves, over networks that lose, repeat, delay and forge."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.particle.dtls import messages, p256
from services.gateway.devices.particle.dtls.client import LATER, NEW, OLD, Firmware
from services.gateway.devices.particle.dtls.events import Established
from services.gateway.devices.particle.dtls.limits import DtlsLimits
from services.gateway.devices.particle.dtls.messages import Message
from services.gateway.devices.particle.dtls.records import ALERT, HANDSHAKE, encode, number_of, parse
from services.gateway.devices.particle.dtls.refusals import Alert, fatal
from services.gateway.devices.particle.dtls.server import MAX_EARLY_RECORDS
from tests.gateway.devices.particle.dtls.wire import (
    DEVICE_KEY,
    HOME,
    LATENCY_S,
    PATIENT,
    SERVER_KEY,
    Network,
    connected,
    intact,
    new_device,
    new_endpoint,
)

each_firmware = pytest.mark.parametrize("firmware", [OLD, NEW, LATER], ids=["2.x", "3.x", "4.x"])
FATES = st.lists(st.sampled_from(["pass", "lose", "double", "late", "very late"]), max_size=24)
DELAYS = {
    "pass": [LATENCY_S],
    "lose": [],
    "double": [LATENCY_S, 2.5 * LATENCY_S],
    "late": [3.5 * LATENCY_S],
    "very late": [40 * LATENCY_S],
}


def kinds(network: Network, to_server: bool) -> list[int]:
    """The handshake messages in clear that one end sent."""
    return [
        fragment.kind
        for direction, datagram in network.sent
        if direction == to_server
        for record in parse(datagram).records
        if record.content_type == HANDSHAKE and not record.epoch
        for fragment in messages.fragments(record.fragment)
    ]


@each_firmware
def test_both_ends_agree_and_the_server_never_sends_a_certificate(firmware: Firmware) -> None:
    network = connected(firmware)
    assert kinds(network, True) == [1, 1, 11, 16, 15]
    assert kinds(network, False) == [3, 2, 12, 13, 14]
    assert network.session.public_key == p256.public_key_of(DEVICE_KEY)
    assert network.device.session is not None
    assert network.device.session.secrets == network.session.secrets
    assert len(network.session.connection_id) == (8 if firmware.connection_id else 0)
    network.say(b"up")
    network.answer(b"down")
    assert (network.received, network.heard) == ([b"up"], [b"down"])
    assert network.endpoint.refusals == {"no_cookie": 1}


@settings(max_examples=60, deadline=None)
@given(fates=FATES, joins=st.booleans(), connection_id=st.booleans())
def test_no_loss_repetition_or_order_of_datagrams_keeps_both_ends_apart(
    fates: list[str], joins: bool, connection_id: bool
) -> None:
    left = iter(fates)
    firmware = Firmware(connection_id=connection_id, joins=joins, flight_repeats=50, flight_longest_s=24.0)
    network = Network(
        new_endpoint(limits=PATIENT), new_device(firmware), fate=lambda datagram, up: DELAYS[next(left, "pass")]
    )
    network.connect()
    network.run(600.0)
    network.fate = intact
    network.say(b"up")
    network.answer(b"down")
    assert (network.received, network.heard) == ([b"up"], [b"down"])
    assert network.device.session is not None
    assert network.session.secrets == network.device.session.secrets


@each_firmware
@pytest.mark.parametrize("lost", range(14))
def test_each_datagram_of_the_handshake_may_be_lost(firmware: Firmware, lost: int) -> None:
    count = 0

    def fate(datagram: bytes, up: bool) -> list[float]:
        nonlocal count
        count += 1
        return [] if count == lost + 1 else [LATENCY_S]

    network = Network(new_endpoint(), new_device(firmware), fate=fate)
    network.connect()
    network.run(9.0)
    network.fate = intact
    network.say(b"up")
    assert network.received == [b"up"]


def test_a_handshake_that_takes_too_long_is_given_up_and_forgotten() -> None:
    def silent_after_the_hello(datagram: bytes, up: bool) -> list[float]:
        return [] if up and parse(datagram).records[0].fragment[:1] == b"\x0b" else [LATENCY_S]

    network = Network(new_endpoint(), new_device(NEW), fate=silent_after_the_hello)
    network.connect()
    network.run(DtlsLimits().handshake_s)
    assert network.endpoint.handshakes == 1
    network.run(DtlsLimits().handshake_s + 1)
    assert network.endpoint.handshakes == 0
    assert network.endpoint.refusals["handshake_too_slow"] == 1
    assert network.endpoint.wake_at() is None


def test_our_flight_is_repeated_on_time_and_no_more_often_than_allowed() -> None:
    limits = DtlsLimits(handshake_s=1_000.0, flight_repeats=3)
    network = Network(
        new_endpoint(limits=limits),
        new_device(Firmware(flight_repeats=0)),
        fate=lambda datagram, up: [LATENCY_S] if up or datagram[13] == 3 else [],
    )
    network.connect()
    network.run(limits.flight_first_s + 3 * LATENCY_S - 0.01)
    assert kinds(network, False).count(messages.SERVER_HELLO) == 1
    network.run(500.0)
    assert kinds(network, False).count(messages.SERVER_HELLO) == 1 + 3


def hello_with_cookie(network: Network) -> bytes:
    """The second ClientHello that the device sent."""
    hellos = [datagram for up, datagram in network.sent if up and parse(datagram).records[0].fragment[:1] == b"\x01"]
    return hellos[1]


def test_a_repeated_hello_gets_the_same_flight_with_new_record_numbers_within_limits() -> None:
    network = Network(
        new_endpoint(), new_device(), fate=lambda datagram, up: [] if datagram[13:14] == b"\x02" else [LATENCY_S]
    )
    network.connect()
    network.run(1.0)
    hello = hello_with_cookie(network)
    first, again = (
        [parse(datagram).records[0] for datagram, _ in network.endpoint.receive(hello, HOME, 1.0).datagrams]
        for _ in range(2)
    )
    assert [record.fragment for record in first] == [record.fragment for record in again]
    assert {record.sequence for record in first}.isdisjoint(record.sequence for record in again)
    for _ in range(DtlsLimits().flight_repeats - 2):
        assert network.endpoint.receive(hello, HOME, 1.0).datagrams
    assert not network.endpoint.receive(hello, HOME, 1.0).datagrams


def test_nothing_is_remembered_of_a_hello_without_its_cookie() -> None:
    endpoint = new_endpoint()
    for number in range(1_000):
        (hello,) = new_device().connect(0.0)
        output = endpoint.receive(hello, ("192.0.2.7", number), 0.0)
        ((answer, _),) = output.datagrams
        assert len(answer) < len(hello)  # nobody is flooded through us
    assert endpoint.handshakes == 0
    assert endpoint.wake_at() is None
    assert endpoint.refusals == {"no_cookie": 1_000}


@pytest.mark.parametrize("address", [("192.0.2.8", HOME[1]), (HOME[0], HOME[1] + 1)])
def test_a_cookie_is_good_for_its_address_only(address: tuple[str, int]) -> None:
    network = connected()
    output = network.endpoint.receive(hello_with_cookie(network), address, 1.0)
    assert [parse(datagram).records[0].fragment[0] for datagram, _ in output.datagrams] == [3]
    assert network.endpoint.refusals["wrong_cookie"] == 1


def test_a_cookie_is_good_for_its_hello_only() -> None:
    network = Network(new_endpoint(), new_device(), fate=lambda datagram, up: [])
    (first,) = network.device.connect(0.0)
    ((asked, _),) = network.endpoint.receive(first, HOME, 0.0).datagrams
    (second,) = network.device.receive(asked, 0.0).datagrams
    for at in (13 + 12 + 2, len(second) - 1):  # its random; what it offers last
        forged = second[:at] + bytes((second[at] ^ 1,)) + second[at + 1 :]
        ((answer, _),) = network.endpoint.receive(forged, HOME, 0.0).datagrams
        assert parse(answer).records[0].fragment[0] == messages.HELLO_VERIFY_REQUEST
    assert network.endpoint.handshakes == 0


def test_a_cookie_outlives_one_change_of_secrets_but_not_two() -> None:
    for waited, good in ((0.0, True), (61.0, True), (125.0, False), (1_000.0, False)):
        network = Network(new_endpoint(), new_device())
        (first,) = network.device.connect(0.0)
        ((asked, _),) = network.endpoint.receive(first, HOME, 59.0).datagrams
        (second,) = network.device.receive(asked, 59.0).datagrams
        network.endpoint.receive(first, HOME, 59.0 + waited / 2)
        network.endpoint.receive(second, HOME, 59.0 + waited)
        assert network.endpoint.handshakes == good


def tamper(kind: int, change: Callable[[bytes], bytes]) -> Callable[[Network], None]:
    """Lets the network change the body of one kind of message of the device (2.x: one record a datagram)."""

    def apply(network: Network) -> None:
        deliver = network.to_server

        def changed(datagrams: list[bytes]) -> None:
            deliver([_changed(datagram, kind, change) for datagram in datagrams])

        network.to_server = changed  # type: ignore[method-assign]

    return apply


def _changed(datagram: bytes, kind: int, change: Callable[[bytes], bytes]) -> bytes:
    record = parse(datagram).records[0]
    if record.content_type != HANDSHAKE or record.epoch or record.fragment[0] != kind:
        return datagram
    (fragment,) = messages.fragments(record.fragment)
    return encode(HANDSHAKE, record.number, Message(kind, fragment.sequence, change(fragment.body)).encode())


def flip(at: int) -> Callable[[bytes], bytes]:
    """Changes one bit of one byte."""
    return lambda body: body[: at % len(body)] + bytes((body[at] ^ 1,)) + body[at % len(body) + 1 :]


OTHER_SIGNATURE = messages.encode_signature(p256.sign(DEVICE_KEY, b"something else"))
NO_POINT = messages.encode_client_key_exchange(b"\x04" + bytes(63) + b"\x01")


@pytest.mark.parametrize(
    ("kind", "change", "refusal", "alert"),
    [
        (messages.CERTIFICATE, lambda body: body[:-1], "undecodable_message", Alert.DECODE_ERROR),
        (messages.CERTIFICATE, lambda body: b"\0\0\0", "not_a_raw_key", Alert.UNSUPPORTED_CERTIFICATE),
        (messages.CERTIFICATE, flip(10), "not_a_raw_key", Alert.UNSUPPORTED_CERTIFICATE),
        (messages.CERTIFICATE, flip(-1), "not_on_the_curve", Alert.BAD_CERTIFICATE),
        (messages.CLIENT_KEY_EXCHANGE, lambda body: NO_POINT, "not_on_the_curve", Alert.ILLEGAL_PARAMETER),
        (messages.CLIENT_KEY_EXCHANGE, lambda body: b"", "undecodable_message", Alert.DECODE_ERROR),
        (messages.CERTIFICATE_VERIFY, lambda body: OTHER_SIGNATURE, "wrong_signature", Alert.DECRYPT_ERROR),
        (messages.CERTIFICATE_VERIFY, lambda body: body + b"\0", "undecodable_message", Alert.DECODE_ERROR),
        (messages.CERTIFICATE_VERIFY, flip(1), "signature_algorithm", Alert.ILLEGAL_PARAMETER),
        (messages.CERTIFICATE_VERIFY, lambda body: body[:2] + b"\0\0", "wrong_signature", Alert.DECRYPT_ERROR),
    ],
)
def test_a_wrong_message_of_the_device_ends_the_handshake_with_the_alert_of_the_rfc(
    kind: int, change: Callable[[bytes], bytes], refusal: str, alert: Alert
) -> None:
    network = Network(new_endpoint(), new_device())
    tamper(kind, change)(network)
    network.connect()
    network.run(2.0)
    assert network.endpoint.refusals[refusal] == 1
    (record,) = [
        record for up, datagram in network.sent if not up for record in parse(datagram).records if record[0] == ALERT
    ]
    assert record.fragment == fatal(alert)
    assert network.endpoint.handshakes == 0
    assert not network.events
    assert network.device.failed == "alert_from_peer"


def test_a_device_without_the_private_key_of_its_public_key_gets_no_session() -> None:
    network = Network(new_endpoint(), new_device(key=ec.generate_private_key(ec.SECP256R1())))
    tamper(messages.CERTIFICATE, lambda body: messages.encode_certificate(p256.public_key_of(DEVICE_KEY)))(network)
    network.connect()
    network.run(2.0)
    assert network.endpoint.refusals["wrong_signature"] == 1
    assert not network.events


def test_a_key_that_is_not_admitted_is_refused_before_anything_is_calculated_with_it() -> None:
    asked: list[bytes] = []

    def admits(public_key: bytes) -> bool:
        asked.append(public_key)
        return False

    network = Network(new_endpoint(admits=admits), new_device())
    network.connect()
    network.run(2.0)
    assert asked == [p256.public_key_of(DEVICE_KEY)]
    assert network.endpoint.refusals["unknown_key"] == 1
    assert not network.events


@each_firmware
def test_a_finished_over_another_transcript_is_refused(firmware: Firmware) -> None:
    network = Network(new_endpoint(), new_device(firmware))
    network.fate = lambda datagram, up: [LATENCY_S]
    handshake_transcript_ends_wrong(network)
    network.connect()
    network.run(2.0)
    assert network.endpoint.refusals["wrong_finished"] == 1
    assert not network.events
    assert network.endpoint.handshakes == 0


def handshake_transcript_ends_wrong(network: Network) -> None:
    """The server's view of the transcript differs, so that the device's Finished is wrong though well protected."""
    deliver = network.endpoint.receive

    def receive(datagram: bytes, address: tuple[str, int], now: float) -> object:
        handshake = network.endpoint._handshakes.get(address)
        records = parse(datagram).records
        if handshake is not None and records[-1].epoch:
            for record in records[:-1]:
                handshake.receive(record)
            handshake._transcript.add(b"something else")
            return _last(datagram)
        return deliver(datagram, address, now)

    def _last(datagram: bytes) -> object:
        start = 0
        for record in parse(datagram).records[:-1]:
            start += 13 + len(record.connection_id) + len(record.fragment)
        return deliver(datagram[start:], network.address, network.now)

    network.endpoint.receive = receive  # type: ignore[assignment,method-assign]


def test_messages_out_of_turn_are_refused() -> None:
    network = Network(
        new_endpoint(), new_device(), fate=lambda datagram, up: [] if datagram[13:14] == b"\x02" else [LATENCY_S]
    )
    network.connect()
    network.run(1.0)
    verify = Message(messages.CERTIFICATE_VERIFY, 2, OTHER_SIGNATURE).encode()
    ((answer, _),) = network.endpoint.receive(encode(HANDSHAKE, number_of(0, 9), verify), HOME, 1.0).datagrams
    assert parse(answer).records[0].fragment == fatal(Alert.UNEXPECTED_MESSAGE)
    assert network.endpoint.refusals["out_of_turn"] == 1


def test_a_finished_in_clear_is_ignored_and_an_alert_of_the_device_ends_its_handshake() -> None:
    network = Network(
        new_endpoint(), new_device(), fate=lambda datagram, up: [] if datagram[13:14] == b"\x02" else [LATENCY_S]
    )
    network.connect()
    network.run(1.0)
    finished = Message(messages.FINISHED, 2, bytes(12)).encode()
    assert not network.endpoint.receive(encode(HANDSHAKE, number_of(0, 9), finished), HOME, 1.0).datagrams
    assert network.endpoint.refusals["unprotected_finished"] == 1
    assert network.endpoint.handshakes == 1
    gone = encode(ALERT, number_of(0, 10), fatal(Alert.UNEXPECTED_MESSAGE))
    assert not network.endpoint.receive(gone, HOME, 1.0).datagrams
    assert network.endpoint.handshakes == 0


@pytest.mark.parametrize(
    ("old", "new", "alert"),
    [
        (b"\xc0\xae\x00\xff", b"\xc0\xad\x00\xff", Alert.HANDSHAKE_FAILURE),  # another suite
        (b"\x00\x02\x00\x17", b"\x00\x02\x00\x18", Alert.HANDSHAKE_FAILURE),  # another curve
        (b"\x04\x03\x03\x03", b"\x05\x03\x03\x03", Alert.HANDSHAKE_FAILURE),  # another signature
        (b"\x00\x13\x00\x02\x01\x02", b"\x00\x13\x00\x02\x01\x00", Alert.UNSUPPORTED_CERTIFICATE),  # X.509
        (b"\x00\x14\x00\x02\x01\x02", b"\x00\x15\x00\x02\x01\x02", Alert.UNSUPPORTED_CERTIFICATE),  # says nothing
        (b"\x01\x00\x00\x24", b"\x01\x01\x00\x24", Alert.ILLEGAL_PARAMETER),  # compression
    ],
)
def test_a_hello_that_offers_nothing_we_have_is_refused_once_its_address_is_proven(
    old: bytes, new: bytes, alert: Alert
) -> None:
    network = Network(new_endpoint(), new_device(), fate=lambda datagram, up: [])
    (hello,) = network.device.connect(0.0)
    assert hello.count(old) == 1
    hello = hello.replace(old, new)
    ((asked, _),) = network.endpoint.receive(hello, HOME, 0.0).datagrams
    cookie = messages.decode_hello_verify_request(asked[25:])
    body = hello[25:60] + bytes((len(cookie),)) + cookie + hello[61:]
    again = encode(HANDSHAKE, number_of(0, 1), Message(messages.CLIENT_HELLO, 1, body).encode())
    ((answer, _),) = network.endpoint.receive(again, HOME, 0.0).datagrams
    assert parse(answer).records[0].fragment == fatal(alert)
    assert network.endpoint.handshakes == 0


def test_a_hello_of_another_version_is_refused_with_protocol_version() -> None:
    hello = messages.decode_client_hello(messages.encode_client_hello(bytes(32), b"", connection_id=False))
    refusal = messages.refusal_of(b"\xfe\xff", messages.decode_offer(hello.rest))
    assert refusal is not None
    assert refusal.alert == Alert.PROTOCOL_VERSION


def test_the_device_refuses_a_server_that_sends_a_certificate() -> None:
    device = new_device()
    device.connect(0.0)
    hello = messages.decode_client_hello(messages.encode_client_hello(bytes(32), b"", connection_id=False))
    offer = messages.decode_offer(hello.rest)
    sent = (
        Message(messages.SERVER_HELLO, 0, messages.encode_server_hello(bytes(32), offer, b"")),
        Message(messages.CERTIFICATE, 1, messages.encode_certificate(p256.public_key_of(SERVER_KEY))),
    )
    answers = [
        device.receive(encode(HANDSHAKE, number_of(0, at), message.encode()), 0.0).datagrams
        for at, message in enumerate(sent)
    ]
    assert [parse(datagram).records[0].fragment for datagram in answers[1]] == [fatal(Alert.UNEXPECTED_MESSAGE)]
    assert device.failed == "out_of_turn"


def test_the_device_refuses_a_server_with_another_key() -> None:
    device = new_device()
    device._server_key = p256.public_key_of(DEVICE_KEY)
    network = Network(new_endpoint(), device)
    network.connect()
    network.run(2.0)
    assert device.failed == "wrong_signature"
    assert not [event for event in network.events if isinstance(event, Established)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), firmware=st.sampled_from([OLD, NEW]))
def test_forged_datagrams_between_the_real_ones_change_nothing_in_epoch_1(seed: int, firmware: Firmware) -> None:
    chance = random.Random(seed)
    network = Network(new_endpoint(), new_device(firmware))

    def fate(datagram: bytes, up: bool) -> list[float]:
        at = chance.randrange(len(datagram))
        forged = datagram[:at] + bytes((datagram[at] ^ 1 << chance.randrange(8),)) + datagram[at + 1 :]
        records = parse(datagram).records
        if all(record.epoch for record in records):  # epoch 0 is not protected: there, a forgery may end the handshake
            if up:
                network.events += network.endpoint.receive(forged, HOME, network.now).events
            else:
                network.heard += network.device.receive(forged, network.now).contents
        return [LATENCY_S]

    network.fate = fate
    network.connect()
    network.run(9.0)
    network.say(b"up")
    network.answer(b"down")
    assert (network.received, network.heard) == ([b"up"], [b"down"])


def with_keys_but_unfinished(firmware: Firmware) -> Network:
    """The device's Finished is lost each time."""
    network = Network(new_endpoint(), new_device(firmware))
    network.fate = lambda datagram, up: [] if up and parse(datagram).records[0].epoch else [LATENCY_S]
    network.connect()
    network.run(1.0)
    return network


def test_data_before_the_finished_is_dropped_and_another_message_in_its_place_refused() -> None:
    network = with_keys_but_unfinished(OLD)
    session = network.device._handshake.session if network.device._handshake else None
    assert session is not None
    assert not network.endpoint.receive(session.seal(b"data"), HOME, 1.0).events
    assert network.endpoint.handshakes == 1
    forged = session.seal(Message(messages.CERTIFICATE_VERIFY, 5, b"").encode(), HANDSHAKE)
    ((answer, _),) = network.endpoint.receive(forged, HOME, 1.0).datagrams
    assert parse(answer).records[0].fragment == fatal(Alert.UNEXPECTED_MESSAGE)
    assert network.endpoint.handshakes == 0


def test_records_before_there_are_keys_are_kept_up_to_a_bound() -> None:
    network = Network(
        new_endpoint(), new_device(), fate=lambda datagram, up: [] if datagram[13:14] == b"\x02" else [LATENCY_S]
    )
    network.connect()
    network.run(1.0)
    for at in range(MAX_EARLY_RECORDS + 1):
        network.endpoint.receive(encode(HANDSHAKE, number_of(1, at), bytes(40)), HOME, 1.0)
    assert network.endpoint.refusals["early_record"] == 1
    assert network.endpoint.handshakes == 1
