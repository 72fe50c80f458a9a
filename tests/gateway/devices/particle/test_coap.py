"""CoAP messages: what is written is read as it was, and what is malformed is refused and nothing else happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.particle import coap
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.violations import BAD_EVENT, BAD_FRAME, BadMessage
from shared.errors import Misuse

OPTIONS = st.lists(st.tuples(st.integers(0, 3_000), st.binary(max_size=300)), max_size=5).map(
    lambda options: tuple(sorted(options, key=lambda option: option[0]))
)
MESSAGES = st.builds(
    Message,
    st.integers(0, 3),
    st.integers(0, 255),
    st.integers(0, 65_535),
    st.binary(max_size=8),
    OPTIONS,
    st.none() | st.binary(max_size=300),
)


@given(MESSAGES)
def test_a_message_that_is_encoded_is_decoded_as_it_was(message: Message) -> None:
    assert coap.decode(coap.encode(message)) == message


@given(MESSAGES, st.data())
def test_a_message_that_is_cut_short_is_another_message_or_refused(message: Message, data: st.DataObject) -> None:
    wire = coap.encode(message)
    cut = wire[: data.draw(st.integers(0, len(wire) - 1))]
    try:
        found = coap.decode(cut)
    except BadMessage:
        return
    assert found != message


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ("", "message of 0 bytes"),
        ("400100", "message of 3 bytes"),
        ("00010001", "version 0"),
        ("80010001", "version 2"),
        ("c0010001", "version 3"),
        ("49010001" + "00" * 9, "token of 9 bytes"),
        ("4f010001" + "00" * 15, "token of 15 bytes"),
        ("4201000101", "ends in its token"),
        ("40010001b2", "option 11 of 2 bytes, 0 are left"),
        ("40010001b268", "option 11 of 2 bytes, 1 are left"),
        ("40010001bd", "ends in the head"),
        ("40010001be00", "ends in the head"),
        ("40010001d0", "ends in the head"),
        ("40010001bdff", "option 11 of 268 bytes"),
        ("40010001f1aa", "nibble 15"),
        ("400100011f", "nibble 15"),
        ("40010001e0ffff", "option 65804"),
    ],
)
def test_a_malformed_message_is_refused(wire: str, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason) as refusal:
        coap.decode(bytes.fromhex(wire))
    assert (refusal.value.kind, refusal.value.fatal) == (BAD_FRAME, True)


def test_a_message_above_the_limit_is_neither_read_nor_written() -> None:
    longest = Message(coap.NON, coap.POST, 1, payload=bytes(coap.MAX_MESSAGE_BYTES - 5))
    assert coap.decode(coap.encode(longest)) == longest
    with pytest.raises(BadMessage, match="2049 bytes"):
        coap.decode(coap.encode(longest) + b"\0")
    with pytest.raises(Misuse):
        coap.encode(Message(coap.NON, coap.POST, 1, payload=bytes(coap.MAX_MESSAGE_BYTES - 4)))


def test_more_options_than_the_limit_are_neither_read_nor_written() -> None:
    most = Message(coap.NON, coap.POST, 1, options=((coap.URI_PATH, b"e"),) * coap.MAX_OPTIONS)
    assert coap.decode(coap.encode(most)) == most
    with pytest.raises(BadMessage, match="more than 32 options"):
        coap.decode(coap.encode(most) + b"\x01e")
    with pytest.raises(Misuse):
        coap.encode(Message(coap.NON, coap.POST, 1, options=((coap.URI_PATH, b"e"),) * (coap.MAX_OPTIONS + 1)))


def test_a_marker_with_nothing_behind_it_is_an_empty_payload_as_firmware_means_it() -> None:
    assert coap.decode(bytes.fromhex("50020001ff")).payload == b""
    assert coap.decode(bytes.fromhex("50020001")).payload is None


@pytest.mark.parametrize("options", [((15, b""), (11, b"")), ((65_536, b""),), ((-1, b""),)])
def test_options_out_of_order_or_range_are_a_bug_of_ours(options: coap.Options) -> None:
    with pytest.raises(Misuse):
        coap.encode(Message(coap.CON, coap.GET, 1, options=options))


def test_path_queries_and_single_options_are_found() -> None:
    message = Message(coap.NON, coap.POST, 1, options=((11, b"c"), (11, b"d"), (15, b"1"), (15, b""), (27, b"\x0d")))
    assert coap.path(message) == (b"c", b"d")
    assert coap.queries(message) == (b"1", b"")
    assert (coap.option(message, coap.BLOCK1), coap.option(message, coap.BLOCK2)) == (b"\x0d", None)


@pytest.mark.parametrize(
    ("code", "text", "asks", "answers"),
    [
        (0x00, "0.00", False, False),
        (0x02, "0.02", True, False),
        (0x45, "2.05", False, True),
        (0x84, "4.04", False, True),
    ],
)
def test_codes_are_requests_answers_or_neither(code: int, text: str, asks: bool, answers: bool) -> None:
    message = Message(coap.CON, code, 1)
    assert (coap.code_text(code), coap.is_request(message), coap.is_answer(message)) == (text, asks, answers)


@given(st.integers(0, 2**32 - 1))
def test_numbers_in_options_are_as_short_as_can_be(value: int) -> None:
    assert coap.read_uint(coap.uint(value), BAD_EVENT) == value
    assert not coap.uint(value).startswith(b"\0")


def test_a_number_of_more_than_four_bytes_is_refused_as_the_kind_that_it_belongs_to() -> None:
    with pytest.raises(BadMessage) as refusal:
        coap.read_uint(bytes(5), BAD_EVENT)
    assert refusal.value.kind == BAD_EVENT
    assert not refusal.value.fatal
