"""Both recorded sessions, datagram by datagram: key schedule, records, and our endpoint in the server's place."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest

from services.gateway.devices.particle.dtls import messages, p256
from services.gateway.devices.particle.dtls.endpoint import Endpoint
from services.gateway.devices.particle.dtls.events import Established, Moved, Received, Restored, SaveDue
from services.gateway.devices.particle.dtls.key_schedule import KeyBlock, Secrets, agree, expand
from services.gateway.devices.particle.dtls.messages import Fragment
from services.gateway.devices.particle.dtls.protection import Protection
from services.gateway.devices.particle.dtls.records import HANDSHAKE, parse
from services.gateway.devices.particle.dtls.session import Session
from tests.gateway.devices.particle.dtls.recorded import (
    RecordedCookies,
    RecordedKey,
    RecordedSession,
    RecordedSource,
    device_key,
    private_key,
    server_key,
    sessions,
)
from tests.gateway.devices.particle.dtls.wire import Store

HOME = ("192.0.2.7", 40_000)
AWAY = ("198.51.100.9", 41_000)

each_session = pytest.mark.parametrize("recorded", sessions(), ids=["firmware 0.6.4", "firmware 3.3.1"])


def handshake_messages(recorded: RecordedSession, from_device: bool) -> list[Fragment]:
    """The unencrypted handshake messages of one end."""
    return [
        fragment
        for step in recorded.steps
        if step.from_device == from_device
        for record in parse(step.datagram).records
        if record.content_type == HANDSHAKE and not record.epoch
        for fragment in messages.fragments(record.fragment)
    ]


def body_of(recorded: RecordedSession, from_device: bool, kind: int) -> bytes:
    """The last message of this kind."""
    return [each.body for each in handshake_messages(recorded, from_device) if each.kind == kind][-1]


def cookie_of(recorded: RecordedSession) -> bytes:
    return messages.decode_hello_verify_request(body_of(recorded, False, messages.HELLO_VERIFY_REQUEST))


def secrets_of(recorded: RecordedSession) -> Secrets:
    randoms = recorded.bytes_of("client_random"), recorded.bytes_of("server_random")
    return Secrets(recorded.bytes_of("master_secret"), *randoms)


def exchange_of(recorded: RecordedSession) -> messages.KeyExchange:
    return messages.decode_server_key_exchange(body_of(recorded, False, messages.SERVER_KEY_EXCHANGE))


def endpoint_for(recorded: RecordedSession) -> Endpoint:
    """Our endpoint, with the chance of the recording."""
    return Endpoint(
        cast(p256.PrivateKey, RecordedKey(exchange_of(recorded).signature)),
        RecordedSource(recorded),
        0.0,
        cookies=RecordedCookies(cookie_of(recorded)),
    )


@each_session
def test_the_keys_follow_from_the_recorded_handshake(recorded: RecordedSession) -> None:
    ephemeral = private_key(recorded.fields["server_ephemeral_key_pem"])
    point = messages.decode_client_key_exchange(body_of(recorded, True, messages.CLIENT_KEY_EXCHANGE))
    peer = p256.load_point(point)
    assert peer is not None
    randoms = recorded.bytes_of("client_random"), recorded.bytes_of("server_random")
    secrets = agree(p256.shared_secret(ephemeral, peer), *randoms)
    assert secrets == secrets_of(recorded)
    names = ("client_write_key", "server_write_key", "client_write_iv", "server_write_iv")
    assert expand(secrets) == KeyBlock(*map(recorded.bytes_of, names))


@each_session
def test_every_application_record_of_both_ends_opens_and_seals_to_the_same_bytes(recorded: RecordedSession) -> None:
    keys = expand(secrets_of(recorded))
    connection_id = recorded.bytes_of("connection_id_given_to_device")
    opened = 0
    for step in recorded.steps:
        if step.coap is None:
            continue
        protection = Protection(*((keys.client_key, keys.client_iv) if step.from_device else keys[1::2]))
        device_id, (record,) = parse(step.datagram)
        assert protection.open(record) == (23, step.coap)
        if step.from_device and connection_id:
            again = protection.seal_with_id(23, record.number, step.coap, connection_id)
        else:
            again = protection.seal(23, record.number, step.coap)
        if device_id:
            assert step.datagram[1:] == again[1:] + device_id + b"\x0c"
        else:
            assert step.datagram == again
        opened += 1
    assert opened > 20


@each_session
def test_our_endpoint_in_the_servers_place_says_the_recorded_bytes_and_hears_the_recorded_data(
    recorded: RecordedSession,
) -> None:
    endpoint = endpoint_for(recorded)
    device_id = recorded.bytes_of("device_id")
    session: Session | None = None
    ours: list[bytes] = []
    events: list[object] = []
    address = HOME
    for at, step in enumerate(recorded.steps):
        if at == recorded.moved_at:
            address = AWAY
        if step.from_device:
            output = endpoint.receive(step.datagram, address, float(at))
            assert {to for _, to in output.datagrams} <= {address}
            ours += [datagram for datagram, _ in output.datagrams]
            events = list(output.events)
            for event in events:
                if isinstance(event, Established):
                    session = event.session
                    assert not endpoint.bind(session, device_id).events
            if step.coap is not None:
                assert session is not None
                moved = [Moved(session, HOME, AWAY)] if at == recorded.moved_at else []
                assert events == [*moved, Received(session, step.coap, address)]
        else:
            if step.coap is not None:
                assert session is not None
                ours += [datagram for datagram, _ in endpoint.send(session, step.coap).datagrams]
            assert ours.pop(0) == step.datagram
    assert not ours
    assert session is not None
    assert session.secrets == secrets_of(recorded)
    assert session.public_key == recorded.bytes_of("device_spki") == p256.public_key_of(device_key())
    assert not endpoint.refusals - Counter(no_cookie=1)


@each_session
def test_every_recorded_datagram_of_the_device_is_dropped_when_it_comes_again(recorded: RecordedSession) -> None:
    endpoint = endpoint_for(recorded)
    for step in recorded.steps:
        if step.from_device:
            endpoint.receive(step.datagram, HOME, 1.0)
    for step in recorded.steps:
        if step.coap is not None and step.from_device:
            output = endpoint.receive(step.datagram, AWAY, 2.0)
            assert not output.events
            assert not output.datagrams


@each_session
def test_a_recorded_session_continues_after_a_restart_of_the_gateway(recorded: RecordedSession) -> None:
    endpoint = endpoint_for(recorded)
    session: Session | None = None
    for step in recorded.steps[: recorded.moved_at]:
        if step.from_device:
            for event in endpoint.receive(step.datagram, HOME, 1.0).events:
                if isinstance(event, Established):
                    session = event.session
                    endpoint.bind(session, recorded.bytes_of("device_id"))
    assert session is not None
    store = Store(session.export())
    restarted = Endpoint(server_key(), RecordedSource(recorded), 0.0, store=store)
    heard: list[object] = []
    for step in recorded.steps[recorded.moved_at :]:
        if step.from_device:
            heard += restarted.receive(step.datagram, AWAY, 2.0).events
    contents = [event.content for event in heard if isinstance(event, Received)]
    assert contents == [step.coap for step in recorded.steps[recorded.moved_at :] if step.from_device]
    assert [type(event) for event in heard[:4]] == [Restored, Moved, SaveDue, Received]


@each_session
def test_the_recorded_server_signature_verifies(recorded: RecordedSession) -> None:
    exchange = exchange_of(recorded)
    signed = recorded.bytes_of("client_random") + recorded.bytes_of("server_random") + exchange.signed
    key = p256.load(p256.public_key_of(server_key()))
    assert key is not None
    assert p256.is_signed(key, exchange.signature, signed)
    assert not p256.is_signed(key, exchange.signature, signed + b"\0")


@each_session
def test_the_devices_half_says_the_recorded_hello(recorded: RecordedSession) -> None:
    (first, second) = [each.body for each in handshake_messages(recorded, True)[:2]]
    connection_id = bool(recorded.bytes_of("connection_id_given_to_device"))
    random = recorded.bytes_of("client_random")
    assert messages.encode_client_hello(random, b"", connection_id=connection_id) == first
    assert messages.encode_client_hello(random, cookie_of(recorded), connection_id=connection_id) == second
