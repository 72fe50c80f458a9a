"""What devices say, message by message, and what the server may send them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.particle import coap, device_messages, device_reading, server_messages
from services.gateway.devices.particle.blocks import Block, block_of
from services.gateway.devices.particle.coap import CON, GET, NON, POST, PUT, Message
from services.gateway.devices.particle.events import Event, Subscription
from services.gateway.devices.particle.goodbye import Goodbye
from services.gateway.devices.particle.hello import Hello, HelloSystem, hello_payload, read_hello
from services.gateway.devices.particle.messages import (
    Acknowledged,
    Answer,
    DescribePost,
    MissingChunks,
    Ping,
    Rejected,
    TimeRequest,
    Unknown,
    UpdateDone,
    read,
)
from services.gateway.devices.particle.update_messages import UpdateBegin
from services.gateway.devices.particle.violations import (
    BAD_DESCRIBE,
    BAD_EVENT,
    BAD_HELLO,
    BAD_REQUEST,
    BAD_SUBSCRIPTION,
    BadMessage,
)
from shared.errors import Misuse

DEVICE_ID = "3a0021000347343138333836"
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=16)


def sent(message: Message) -> Message:
    """The message as it comes out at the other side."""
    return coap.decode(coap.encode(message))


def wire(message: Message) -> str:
    return coap.encode(message).hex()


def refused(message: Message) -> BadMessage:
    with pytest.raises(BadMessage) as refusal:
        read(message)
    return refusal.value


SYSTEMS = st.builds(
    HelloSystem, st.integers(0, 65_535), st.integers(0, 65_535), st.integers(0, 2**32 - 1), st.integers(0, 65_535)
)
NUMBER = st.integers(0, 65_535)


@given(
    st.builds(Hello, NUMBER, NUMBER, NUMBER, NUMBER, st.none() | st.sampled_from(["", DEVICE_ID]))
    | st.builds(Hello, NUMBER, NUMBER, NUMBER, NUMBER, st.sampled_from(["", DEVICE_ID]), SYSTEMS)
)
def test_a_hello_is_read_as_it_was_said(said: Hello) -> None:
    assert read(sent(device_messages.hello(1, said))) == said


def test_what_follows_a_hello_is_ignored() -> None:
    said = Hello(1, 2, 3, 6, "", HelloSystem(3_302, 960, 1, 512))
    assert read_hello(hello_payload(said) + b"more") == said
    assert read_hello(hello_payload(Hello(1, 2, 3, 10, DEVICE_ID)) + b"\x03\x00") == Hello(1, 2, 3, 10, DEVICE_ID)
    assert read_hello(hello_payload(Hello(1, 2, 3, 10)) + b"\x00") == Hello(1, 2, 3, 10)


@pytest.mark.parametrize(
    "payload", [None, b"", bytes(7), bytes(8) + b"\x00\x0c" + bytes(11), bytes(8) + b"\x00\x05hello"]
)
def test_a_hello_that_is_too_short_or_has_an_odd_device_id_ends_the_session(payload: bytes | None) -> None:
    refusal = refused(Message(NON, POST, 1, b"", ((coap.URI_PATH, b"h"),), payload))
    assert (refusal.kind, refusal.fatal) == (BAD_HELLO, True)


EVENTS = st.builds(Event, NAMES, st.none() | st.binary(max_size=100), st.integers(0, 16_777_215), st.booleans())


@given(EVENTS, st.booleans())
def test_an_event_of_a_device_is_read_as_it_was_published(event: Event, confirmable: bool) -> None:
    message = sent(device_messages.event(7, event, confirmable))
    assert read(message) == event
    assert message.type == (CON if confirmable else NON)


@given(EVENTS)
def test_an_event_reaches_a_device_except_that_empty_data_is_none(event: Event) -> None:
    received = device_reading.read(sent(server_messages.event(7, event)))
    assert received == Event(event.name, event.data or None, event.ttl_s, event.public)


def test_no_data_and_empty_data_of_a_device_are_told_apart() -> None:
    assert wire(device_messages.event(1, Event("a"))) == "50020001b1450161"
    assert wire(device_messages.event(1, Event("a", b""))) == "50020001b1450161ff"
    assert [read(sent(device_messages.event(1, Event("a", data)))) for data in (None, b"")] == [
        Event("a", None),
        Event("a", b""),
    ]


def test_segments_of_the_name_of_an_event_are_joined() -> None:
    options = ((coap.URI_PATH, b"e"), (coap.URI_PATH, b"temp"), (coap.URI_PATH, b"out"))
    assert read(Message(NON, POST, 1, b"", options)) == Event("temp/out", public=True)


def test_options_that_newer_firmware_adds_to_an_event_are_ignored() -> None:
    options = ((coap.URI_PATH, b"E"), (coap.URI_PATH, b"a"), (12, b"\x2a"), (65_001, b"?"))
    assert read(Message(NON, POST, 1, b"", options, b"x")) == Event("a", b"x")


@pytest.mark.parametrize(
    ("name", "age", "data"),
    [
        (b"", None, None),
        (b"n" * 65, None, None),
        (b"\xff", None, None),
        (b"a\0b", None, None),
        (b"a", bytes((1, 0, 0, 0)), None),
        (b"a", bytes(5), None),
        (b"a", None, bytes(1_025)),
    ],
)
def test_an_event_outside_the_limits_is_refused_and_the_session_stays(
    name: bytes, age: bytes | None, data: bytes | None
) -> None:
    path = ((coap.URI_PATH, b"e"), (coap.URI_PATH, name))
    refusal = refused(Message(CON, POST, 1, b"", path if age is None else (*path, (coap.MAX_AGE, age)), data))
    assert (refusal.kind, refusal.fatal) == (BAD_EVENT, False)


def test_an_event_at_the_limits_is_read() -> None:
    event = Event("n" * 64, bytes(1_024), 16_777_215, public=True)
    assert read(sent(device_messages.event(1, event))) == event


@given(
    st.builds(Subscription, NAMES, st.booleans(), st.none() | st.just(DEVICE_ID))
    | st.just(Subscription("", mine=True))
    | st.just(Subscription("", device_id=DEVICE_ID))
)
def test_a_subscription_is_read_as_it_was_asked_for(wanted: Subscription) -> None:
    assert read(sent(device_messages.subscription(1, wanted))) == wanted


@pytest.mark.parametrize(
    ("prefix", "payload"), [(b"", None), (b"p" * 65, None), (b"\xff", None), (b"a", b"x" * 24), (b"a", b"3a00")]
)
def test_a_subscription_to_everything_or_to_nonsense_is_refused(prefix: bytes, payload: bytes | None) -> None:
    refusal = refused(Message(CON, GET, 1, b"", ((coap.URI_PATH, b"e"), (coap.URI_PATH, prefix)), payload))
    assert (refusal.kind, refusal.fatal) == (BAD_SUBSCRIPTION, False)


@pytest.mark.parametrize("block", [None, Block(0, True, 5), Block(4_095, False, 6)])
def test_a_posted_description_is_read_with_its_block(block: Block | None) -> None:
    message = sent(device_messages.describe_post(1, 2, b"{}", b"\x07", block))
    assert read(message) == DescribePost(2, block, b"{}")


def test_a_block_of_a_description_that_was_asked_for_has_its_tag_and_number() -> None:
    said = read(sent(device_messages.describe_block(1, b"t", b"tag", Block(1, True, 5), bytes(512))))
    assert isinstance(said, Answer)
    assert coap.option(said.message, coap.ETAG) == b"tag"
    assert block_of(said.message, coap.BLOCK2) == Block(1, True, 5)


@pytest.mark.parametrize("query", [None, b"", b"\x00", b"\x08", b"\x01\x01"])
def test_a_posted_description_of_no_known_part_is_refused(query: bytes | None) -> None:
    options = ((coap.URI_PATH, b"d"),) if query is None else ((coap.URI_PATH, b"d"), (coap.URI_QUERY, query))
    assert refused(Message(CON, POST, 1, b"", options, b"{}")).kind == BAD_DESCRIBE


def test_short_messages_are_read() -> None:
    assert read(sent(device_messages.ping(5))) == Ping()
    assert read(sent(device_messages.acknowledgement(5))) == Acknowledged(5)
    assert read(sent(server_messages.rejection(5))) == Rejected(5)
    assert read(sent(device_messages.time_request(5, b"t"))) == TimeRequest(b"t")
    assert read(sent(device_messages.missing_chunks(5, (1, 300)))) == MissingChunks((1, 300))
    assert read(sent(device_messages.update_done(5))) == UpdateDone(None)
    assert read(sent(device_messages.goodbye(5, Goodbye(2), confirmable=True))) == Goodbye(2)


def test_answers_are_told_from_requests_and_know_how_they_came() -> None:
    result = read(sent(device_messages.function_result(5, b"t", -12, confirmable=True)))
    assert isinstance(result, Answer)
    assert (result.token, result.code, result.payload) == (b"t", coap.CHANGED, b"\xff\xff\xff\xf4")
    assert (result.piggybacked, result.id, result.good) == (False, 5, True)
    refusal = read(sent(device_messages.acknowledgement(6, coap.BAD_REQUEST, b"t")))
    assert isinstance(refusal, Answer)
    assert (refusal.piggybacked, refusal.good) == (True, False)


@pytest.mark.parametrize(
    "message",
    [
        Message(CON, POST, 1, b"", ((coap.URI_PATH, b"z"),)),
        Message(CON, GET, 1, b"", ((coap.URI_PATH, b"h"),)),
        Message(CON, POST, 1, b"", ((coap.URI_PATH, b"hello"),)),
        Message(CON, POST, 1, b"", ((coap.URI_PATH, b""),)),
        Message(CON, POST, 1),
        Message(CON, 0x1F, 1, b"", ((coap.URI_PATH, b"e"),)),
        Message(CON, 0x20, 1),
        Message(CON, 0xE1, 1),
        Message(NON, coap.EMPTY, 1),
        Message(coap.ACK, POST, 1, b"", ((coap.URI_PATH, b"h"),), bytes(8)),
        Message(coap.RST, POST, 1, b"", ((coap.URI_PATH, b"h"),), bytes(8)),
    ],
)
def test_what_nobody_knows_is_unknown(message: Message) -> None:
    assert read(sent(message)) == Unknown(message.code, coap.path(message))


def test_requests_to_devices_have_one_byte_of_token_and_their_kind_at_the_sixth_byte() -> None:
    begin = UpdateBegin(1_300)
    for message in (
        server_messages.describe_request(1, 0xAB),
        server_messages.describe_request(1, 0xAB, 3),
        server_messages.function_call(1, 0xAB, "f" * 64, b"x"),
        server_messages.variable_request(1, 0xAB, "name"),
        server_messages.signal(1, 0xAB, True),
        server_messages.key_change(1, 0xAB),
        server_messages.update_begin(1, 0xAB, begin),
        server_messages.chunk(1, 0xAB, b"data"),
        server_messages.chunk(1, 0xAB, b"data", 65_535),
        server_messages.update_done(1, 0xAB),
    ):
        assert message.token == b"\xab"
        assert coap.encode(message)[5] == 0xB1
        assert coap.encode(message)[6:7] == message.options[0][1]


def test_hello_ping_and_events_to_devices_have_no_token() -> None:
    assert wire(server_messages.hello(0x100)) == "50020100b168"
    assert wire(server_messages.ping(0x100)) == "40000100"
    assert wire(server_messages.event(1, Event("a/b", b"x", 61, True))) == "50020001b16503612f623300003dff78"
    assert wire(server_messages.event(1, Event("a"), confirmable=True)) == "40020001b1450161"


def test_a_call_without_an_argument_has_an_empty_one() -> None:
    assert wire(server_messages.function_call(1, 2, "echo")) == "4102000102b166046563686f40"


@pytest.mark.parametrize(("size", "head"), [(12, "0c"), (13, "0d00"), (64, "0d33")])
def test_names_up_to_twelve_bytes_fit_the_nibble_that_old_firmware_reads(size: int, head: str) -> None:
    assert wire(server_messages.variable_request(1, 2, "v" * size)) == "4101000102b176" + head + "76" * size


@given(st.integers(0, 255), NAMES, st.binary(max_size=100))
@settings(max_examples=30)
def test_a_device_reads_the_call_and_the_question_that_were_sent(token: int, name: str, argument: bytes) -> None:
    called = device_reading.read(sent(server_messages.function_call(1, token, name, argument)))
    assert called == device_reading.FunctionCall(bytes((token,)), name, argument)
    asked = device_reading.read(sent(server_messages.variable_request(1, token, name)))
    assert asked == device_reading.VariableRequest(bytes((token,)), name)


def test_a_device_reads_the_other_requests_of_the_server() -> None:
    token = b"\x02"
    assert device_reading.read(sent(server_messages.hello(1))) == device_reading.ServerHello()
    assert device_reading.read(sent(server_messages.signal(1, 2, on=False))) == device_reading.Signal(token, on=False)
    for discard in (False, True):
        message = sent(server_messages.key_change(1, 2, discard))
        assert device_reading.read(message) == device_reading.KeyChange(token, discard)
    asked = device_reading.read(sent(server_messages.describe_request(1, 2, 2, Block(3, False, 5))))
    assert asked == device_reading.DescribeRequest(token, 2, Block(3, False, 5))
    assert device_reading.read(Message(CON, POST, 1)) == Unknown(POST, ())


def test_a_device_refuses_a_call_without_a_name_and_a_time_that_is_none() -> None:
    with pytest.raises(BadMessage) as refusal:
        device_reading.read(Message(CON, POST, 1, b"t", ((coap.URI_PATH, b"f"),)))
    assert refusal.value.kind == BAD_REQUEST
    answer = read(device_messages.acknowledgement(1, coap.CONTENT, b"t", b"123"))
    assert isinstance(answer, Answer)
    with pytest.raises(BadMessage):
        device_reading.read_time(answer)


def test_the_time_is_where_the_device_looks_for_it() -> None:
    message = server_messages.time(0x27F9, b"\x01", 1_456_833_600)
    assert wire(message) == "614527f901ff56d58440"
    with pytest.raises(Misuse):
        server_messages.time(1, b"", 0)
    with pytest.raises(Misuse):
        server_messages.time(1, b"t", 2**32)


def test_a_request_is_acknowledged_empty_or_refused_with_a_code() -> None:
    assert wire(server_messages.acknowledgement(0x1234)) == "60001234"
    assert wire(server_messages.acknowledgement(0x1234, coap.NOT_FOUND, b"t")) == "6184123474"


def test_what_no_device_could_take_is_a_bug_of_ours() -> None:
    for send in (
        lambda: server_messages.function_call(1, 2, ""),
        lambda: server_messages.variable_request(1, 2, "v" * 65),
        lambda: server_messages.event(1, Event("")),
        lambda: server_messages.event(1, Event("n" * 65)),
        lambda: server_messages.event(1, Event("n", ttl_s=16_777_216)),
        lambda: server_messages.describe_request(1, 2, 8),
        lambda: server_messages.describe_request(1, 2, None, Block(1, False, 5)),
        lambda: server_messages.chunk(1, 2, b""),
    ):
        with pytest.raises(Misuse):
            send()


def test_the_update_done_of_a_device_and_of_the_server_differ_by_the_token() -> None:
    assert wire(device_messages.update_done(1)) == "50030001b175"
    assert device_reading.read(Message(CON, PUT, 1, b"t", ((coap.URI_PATH, b"u"),))) == device_reading.Finished(b"t")
