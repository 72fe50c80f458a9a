"""The bytes of handshake messages, and messages from fragments in any order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.particle.dtls import messages, p256
from services.gateway.devices.particle.dtls.inbox import AHEAD_MESSAGES, Inbox
from services.gateway.devices.particle.dtls.key_schedule import KeyBlock, Secrets, prf
from services.gateway.devices.particle.dtls.messages import MAX_FRAGMENTS, MAX_MESSAGE_BYTES, Fragment, Message
from services.gateway.devices.particle.dtls.records import HANDSHAKE, encode, number_of, parse
from services.gateway.devices.particle.dtls.refusals import Alert, Discarded, HandshakeRefused
from services.gateway.devices.particle.dtls.server import MAX_HELLO_RECORD, MAX_HELLO_SEQUENCE, Opening
from tests.gateway.devices.particle.dtls.wire import DEVICE_KEY

HELLO = messages.encode_client_hello(bytes(32), b"cookie", connection_id=True)
OFFER = messages.decode_offer(messages.decode_client_hello(HELLO).rest)
DECODERS: list[Callable[[bytes], object]] = [
    lambda body: messages.decode_offer(messages.decode_client_hello(body).rest),
    messages.decode_server_hello,
    messages.decode_hello_verify_request,
    messages.decode_server_key_exchange,
    messages.decode_certificate,
    messages.decode_client_key_exchange,
    messages.decode_signature,
]
BODIES = [
    HELLO,
    messages.encode_server_hello(bytes(32), OFFER, b"12345678"),
    messages.encode_hello_verify_request(b"cookie"),
    messages.encode_server_key_exchange(messages.key_exchange_parameters(p256.point_of(DEVICE_KEY)), b"signature"),
    messages.encode_certificate(p256.public_key_of(DEVICE_KEY)),
    messages.encode_client_key_exchange(p256.point_of(DEVICE_KEY)),
    messages.encode_signature(b"signature"),
]


def cut(message: Message, sizes: list[int]) -> list[Fragment]:
    """The message in fragments of about these sizes."""
    edges = sorted({0, len(message.body), *(min(size, len(message.body)) for size in sizes)})
    return [
        Fragment(message.kind, len(message.body), message.sequence, start, message.body[start:stop])
        for start, stop in pairwise(edges)
    ] or [Fragment(message.kind, 0, message.sequence, 0, b"")]


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.data())
def test_messages_come_whole_and_in_order_whatever_the_order_of_their_fragments(
    bodies: list[bytes], data: st.DataObject
) -> None:
    sent = [Message(11 + at, 3 + at, body) for at, body in enumerate(bodies)]
    pieces = [piece for message in sent for piece in cut(message, data.draw(st.lists(st.integers(1, 50))))]
    inbox, taken = Inbox(3), []
    for piece in data.draw(st.permutations(pieces + pieces)):
        inbox.put(piece)
        while (message := inbox.take()) is not None:
            taken.append(message)
    assert taken == sent
    assert not any(map(inbox.put, pieces))  # all had their turn


def test_what_does_not_fit_what_came_before_is_discarded() -> None:
    inbox = Inbox(1)
    inbox.put(Fragment(11, 10, 1, 0, b"12345"))
    for misfit in (Fragment(12, 10, 1, 5, b"67890"), Fragment(11, 11, 1, 5, b"678901")):
        with pytest.raises(Discarded):
            inbox.put(misfit)
    assert inbox.take() is None
    inbox.put(Fragment(11, 10, 1, 5, b"67890"))
    assert inbox.take() == Message(11, 1, b"1234567890")


def test_messages_too_far_ahead_are_not_kept() -> None:
    inbox = Inbox(1)
    inbox.put(Fragment(11, 0, AHEAD_MESSAGES, 0, b""))
    with pytest.raises(Discarded) as discarded:
        inbox.put(Fragment(11, 0, AHEAD_MESSAGES + 1, 0, b""))
    assert discarded.value.kind == "too_far_ahead"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(11),
        Message(1, 0, b"x").encode()[:-1],
        Message(1, 0, bytes(MAX_MESSAGE_BYTES + 1)).encode(),
        Message(1, 0, b"").encode() * (MAX_FRAGMENTS + 1),
        b"\x01\0\0\x05\0\0\0\0\x04\0\0\x02ab",  # beyond the end of the message
    ],
)
def test_what_is_no_sequence_of_fragments_is_discarded(payload: bytes) -> None:
    with pytest.raises(Discarded) as discarded:
        messages.fragments(payload)
    assert discarded.value.kind == "handshake_form"


def test_the_longest_message_and_the_most_fragments_are_read() -> None:
    assert len(messages.fragments(Message(1, 0, bytes(MAX_MESSAGE_BYTES)).encode())) == 1
    assert len(messages.fragments(Message(1, 0, b"").encode() * MAX_FRAGMENTS)) == MAX_FRAGMENTS


@pytest.mark.parametrize(("decoder", "body"), list(zip(DECODERS, BODIES, strict=True)))
def test_a_body_that_is_cut_or_longer_cannot_be_read(decoder: Callable[[bytes], object], body: bytes) -> None:
    decoder(body)
    extensions_may_be_missing = {len(body) - 2 - int.from_bytes(size, "big") for size in [_extensions_size(body)]}
    for size in range(len(body)):
        if decoder in DECODERS[:2] and size in extensions_may_be_missing:
            continue
        if decoder is messages.decode_hello_verify_request and not size:
            continue
        with pytest.raises(HandshakeRefused) as refusal:
            decoder(body[:size])
        assert refusal.value.alert in (Alert.DECODE_ERROR, Alert.ILLEGAL_PARAMETER)
    with pytest.raises(HandshakeRefused):
        decoder(body + b"\0")


def _extensions_size(body: bytes) -> bytes:
    """The two bytes before the extensions of a hello: those from which the rest of the body follows."""
    for at in range(34, len(body) - 1):
        if at + 2 + int.from_bytes(body[at : at + 2], "big") == len(body):
            return body[at : at + 2]
    return b"\0\0"


@given(st.sampled_from(DECODERS), st.binary(max_size=120))
def test_any_body_is_read_or_refused(decoder: Callable[[bytes], object], body: bytes) -> None:
    with suppress(HandshakeRefused):
        decoder(body)


def test_an_extension_that_comes_twice_cannot_be_read() -> None:
    once = b"\0\x13\0\2\1\2"
    offer = messages.decode_offer(b"\0\2\xc0\xae\1\0" + b"\0\6" + once)
    assert offer.extensions == {messages.CLIENT_CERTIFICATE_TYPE: b"\1\2"}
    with pytest.raises(HandshakeRefused):
        messages.decode_offer(b"\0\2\xc0\xae\1\0" + b"\0\x0c" + once + once)


def test_only_the_form_of_extension_254_that_devices_send_is_answered() -> None:
    assert messages.wants_connection_id(OFFER)
    for body in (b"", b"\x01x", b"\0\0"):
        other = OFFER._replace(extensions={**OFFER.extensions, messages.CONNECTION_ID: body})
        assert not messages.wants_connection_id(other)


def test_the_cookie_covers_all_of_the_hello_but_itself() -> None:
    one = messages.decode_client_hello(messages.encode_client_hello(bytes(32), b"", connection_id=True))
    assert one.covered == messages.decode_client_hello(HELLO).covered
    assert len(one.covered) == len(HELLO) - len(b"cookie") - 1


@pytest.mark.parametrize(
    ("sequence", "record_sequence", "kind"),
    [
        (MAX_HELLO_SEQUENCE + 1, 0, "hello_number"),
        (0, MAX_HELLO_RECORD + 1, "hello_number"),
        (MAX_HELLO_SEQUENCE, MAX_HELLO_RECORD, ""),
    ],
)
def test_a_hello_is_numbered_so_low_that_our_numbers_do_not_end(sequence: int, record_sequence: int, kind: str) -> None:
    encoded = Message(messages.CLIENT_HELLO, sequence, HELLO).encode()
    (record,) = parse(encode(HANDSHAKE, number_of(0, record_sequence), encoded)).records
    (fragment,) = messages.fragments(record.fragment)
    if kind:
        with pytest.raises(Discarded) as discarded:
            Opening.read(record, fragment)
        assert discarded.value.kind == kind
    else:
        assert Opening.read(record, fragment).hello.cookie == b"cookie"


def test_a_hello_in_pieces_or_malformed_is_discarded_without_an_answer() -> None:
    (record,) = parse(encode(HANDSHAKE, number_of(0, 0), b"")).records
    for fragment, kind in (
        (Fragment(1, 50, 0, 0, HELLO[:40]), "cut_hello"),
        (Fragment(1, 40, 0, 0, HELLO[:40]), "undecodable_message"),  # ends in the cookie
    ):
        with pytest.raises(Discarded) as discarded:
            Opening.read(record, fragment)
        assert discarded.value.kind == kind


def test_the_pseudo_random_function_gives_the_published_answer() -> None:
    # the vector for P_SHA256 that the TLS working group published with TLS 1.2
    secret = bytes.fromhex("9bbe436ba940f017b17652849a71db35")
    seed = bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c")
    expected = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a"
    assert prf(secret, b"test label", seed, 100).hex().startswith(expected)


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(Secrets(b"secret", b"", b""))
    assert "secret" not in repr(KeyBlock(b"secret", b"", b"", b""))


def test_suites_of_an_odd_number_of_bytes_and_lists_that_do_not_fill_their_extension_cannot_be_read() -> None:
    with pytest.raises(HandshakeRefused):
        messages.decode_offer(b"\0\3abc\1\0")
    for groups in (b"\0\2\0\x17\0", b"\0\4\0\x17", b""):
        with pytest.raises(HandshakeRefused) as refusal:
            messages.refusal_of(b"\xfe\xfd", OFFER._replace(extensions={**OFFER.extensions, messages.GROUPS: groups}))
        assert refusal.value.alert == Alert.DECODE_ERROR


def test_a_hello_without_extensions_asks_for_certificates_that_we_do_not_have() -> None:
    offer = messages.decode_offer(b"\0\2\xc0\xae\1\0")
    assert not offer.extensions
    refusal = messages.refusal_of(b"\xfe\xfd", offer)
    assert refusal is not None
    assert refusal.alert == Alert.UNSUPPORTED_CERTIFICATE


def test_only_an_uncompressed_point_on_the_curve_is_a_key() -> None:
    point = p256.point_of(DEVICE_KEY)
    assert p256.load_point(point) is not None
    for other in (b"", point[:-1], b"\2" + point[1:33], b"\4" + bytes(64), point + b"\0"):
        assert p256.load_point(other) is None
