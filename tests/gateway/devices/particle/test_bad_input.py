"""What each kind of bad input costs a Particle device (protocol sections 3 to 5, 10 and 13.1): the connection, an ACK
with 4.00 or 4.04, or nothing. What happens before there is a session is in ``test_listener.py``."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.devices.particle import coap, device_messages
from services.gateway.devices.particle.coap import ACK, CON, GET, NON, POST, PUT, RST, Message
from services.gateway.devices.particle.events import Subscription
from services.gateway.devices.particle.hello import Hello
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.gateway import DeviceMisbehaved
from tests.gateway.devices.particle.desk import PRODUCT, Desk

DELETE = 4
WHOSE = b"0123456789abcdef01234567"


def asks(
    code: int, *path: bytes, options: coap.Options = (), payload: bytes | None = None, token: bytes = b""
) -> Message:
    """A confirmable request."""
    segments = tuple((coap.URI_PATH, segment) for segment in path)
    return Message(CON, code, 9, token, (*segments, *options), payload)


def noted(desk: Desk) -> list[DeviceMisbehaved]:
    """What is told to operators; it keeps its contract."""
    found = [fact for fact in desk.facts if isinstance(fact, DeviceMisbehaved)]
    for fact in found:
        CONTRACTS.encode(fact, 0, Context.new("device:x", "gateway:a"))
    return found


# -- what ends the connection: synchronisation is lost, or it is not who it said it was -------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x40\x02\x00",
        b"\x00\x02\x00\x01",
        b"\x80\x02\x00\x01",
        b"\xc0\x02\x00\x01",
        b"\x49\x02\x00\x01" + bytes(9),
        b"\x4f\x02\x00\x01" + bytes(15),
        b"\x44\x02\x00\x01abc",
        b"\x40\x02\x00\x01\xb5door",
        b"\x40\x02\x00\x01\xbd",
        b"\x40\x02\x00\x01\xbe\x01",
        b"\x40\x02\x00\x01\xbe\x00\x10abc",
        b"\x40\x02\x00\x01\xd1",
        b"\x40\x02\x00\x01\xe1\x00",
        b"\x40\x02\x00\x01\xf1a",
        b"\x40\x02\x00\x01\xbfa",
        b"\x40\x02\x00\x01\xee\xff\xff\xff\xff",
        b"\x40\x02\x00\x01" + b"\xb1e" + b"\x01a" * 32,
        b"\x40\x02\x00\x01\xb1e\xff" + bytes(2_042),
        b"\x16\xfe\xfd" + bytes(60),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=[
        "nothing",
        "shorter than a head",
        "version 0",
        "version 2",
        "version 3",
        "token of 9 bytes",
        "token of 15 bytes",
        "ends in the token",
        "option longer than the message",
        "no extension of the length",
        "half an extension of the length",
        "option of a length beyond the end",
        "no extension of the number",
        "half an extension of the number",
        "number 15 is reserved",
        "length 15 is reserved",
        "both at their largest",
        "33 options",
        "2049 bytes",
        "DTLS in a frame",
        "HTTP in a frame",
    ],
)
def test_what_is_no_coap_ends_the_connection_without_an_answer(desk: Desk, data: bytes) -> None:
    desk.connect()
    assert desk.bytes(data) == []
    assert desk.closed is not None
    assert (desk.closed.packet, desk.closed.ending) == (b"", "misbehaved")
    assert [fact.kind for fact in noted(desk)] == ["bad_frame"]
    assert desk.around.counts["bad_frame"] == 1


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (None, "bad_hello"),
        (bytes(7), "bad_hello"),
        (bytes(8) + b"\x00\x0c" + bytes(11), "bad_hello"),
        (bytes(8) + b"\x00\x05" + bytes(5), "bad_hello"),
        (bytes(8) + b"\xff\xff" + bytes(40), "bad_hello"),
        (bytes(8) + b"\x00\x0c" + bytes(12), "wrong_device"),
    ],
    ids=["nothing", "short", "id cut off", "id of 5 bytes", "id of 65535 bytes", "another device"],
)
def test_a_bad_hello_ends_the_connection(desk: Desk, payload: bytes | None, kind: str) -> None:
    desk.connect()
    assert desk.say(asks(POST, b"h", payload=payload)) == []
    assert desk.closed is not None
    assert desk.closed.ending == "misbehaved"
    assert [fact.kind for fact in noted(desk)] == [kind]


# -- what is refused with 4.00, and the session stays -----------------------------------------------------------------

REFUSED: dict[str, tuple[str, Message]] = {
    "event without a name": ("bad_event", asks(POST, b"e")),
    "event with an empty name": ("bad_event", asks(POST, b"E", b"")),
    "event with a name of 65 bytes": ("bad_event", asks(POST, b"e", b"n" * 65)),
    "event with a name that is long in pieces": ("bad_event", asks(POST, b"e", *[b"piece"] * 11)),
    "event with a name that is not UTF-8": ("bad_event", asks(POST, b"e", b"\xff\xfe")),
    "event with a NUL in its name": ("bad_event", asks(POST, b"e", b"door\x00")),
    "event with 1025 bytes of data": ("bad_event", asks(POST, b"e", b"door", payload=bytes(1_025))),
    "event that lives too long": ("bad_event", asks(POST, b"e", b"door", options=((coap.MAX_AGE, b"\x01\0\0\0"),))),
    "event with a ttl of 5 bytes": ("bad_event", asks(POST, b"e", b"door", options=((coap.MAX_AGE, bytes(5)),))),
    "subscription to everything": ("bad_subscription", asks(GET, b"e")),
    "subscription with a long prefix": ("bad_subscription", asks(GET, b"e", b"p" * 65)),
    "subscription that is not UTF-8": ("bad_subscription", asks(GET, b"e", b"\xc3")),
    "subscription to no device": ("bad_subscription", asks(GET, b"e", b"door", payload=WHOSE[:-1])),
    "subscription to no hex": ("bad_subscription", asks(GET, b"e", b"door", payload=WHOSE[:-1] + b"x")),
    "description without flags": ("bad_describe", asks(POST, b"d", payload=b"{}")),
    "description with flags of two bytes": ("bad_describe", asks(POST, b"d", options=((coap.URI_QUERY, b"\0\1"),))),
    "description with unknown flags": ("bad_describe", asks(POST, b"d", options=((coap.URI_QUERY, b"\x08"),))),
    "description that is not JSON": ("bad_describe", device_messages.describe_post(9, 2, b'{"f":[')),
    "description that is a list": ("bad_describe", device_messages.describe_post(9, 2, b"[]")),
    "description that is nested deeply": ("bad_describe", device_messages.describe_post(9, 2, b"[" * 1_500)),
    "description with a block of 5 bytes": (
        "bad_describe",
        asks(POST, b"d", options=((coap.URI_QUERY, b"\x02"), (coap.BLOCK1, bytes(5)))),
    ),
    "time without a token": ("bad_request", asks(GET, b"t")),
    "time with a token of two bytes": ("bad_request", asks(GET, b"t", token=b"ab")),
    "goodbye that is cut off": ("bad_goodbye", asks(POST, b"x", payload=b"\x80")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_bad_message_is_refused_with_4_00_and_told_to_operators(desk: Desk, name: str) -> None:
    kind, message = REFUSED[name]
    desk.connect()
    [answer] = desk.say(message)
    assert (answer.type, answer.code, answer.id, answer.payload) == (ACK, coap.BAD_REQUEST, message.id, None)
    assert desk.closed is None
    assert [fact.kind for fact in noted(desk)] == [kind]
    assert desk.published == []


@pytest.mark.parametrize("name", [name for name, (kind, _) in REFUSED.items() if kind != "bad_request"])
def test_the_same_is_only_noted_if_it_waits_for_no_answer(desk: Desk, name: str) -> None:
    kind, message = REFUSED[name]
    desk.connect()
    assert desk.say(Message(NON, message.code, message.id, message.token, message.options, message.payload)) == []
    assert desk.closed is None
    assert [fact.kind for fact in noted(desk)] == [kind]


def test_a_ninth_subscription_is_refused_with_4_00_and_the_eight_stay(desk: Desk) -> None:
    desk.connect()
    for number in range(8):
        [accepted] = desk.say(device_messages.subscription(desk.id, Subscription(f"door{number}")))
        assert (accepted.type, accepted.code) == (ACK, coap.EMPTY)
    [refused] = desk.say(device_messages.subscription(desk.id, Subscription("more")))
    assert (refused.type, refused.code) == (ACK, coap.BAD_REQUEST)
    assert desk.closed is None
    assert desk.wanted is not None
    assert {one.prefix for one in desk.wanted} == {f"door{number}" for number in range(8)}


def test_who_says_nothing_but_bad_messages_is_sent_away(desk: Desk) -> None:
    desk.connect()
    for _ in range(desk.limits.bad_messages_a_minute):
        desk.say(REFUSED["event without a name"][1])
    assert desk.closed is None
    desk.say(REFUSED["time without a token"][1])
    assert desk.closed is not None
    assert desk.closed.ending == "misbehaved"


# -- what nobody knows: 4.04 ------------------------------------------------------------------------------------------

UNKNOWN: dict[str, Message] = {
    "unknown kind": asks(POST, b"L"),
    "kind of many letters": asks(POST, b"hello"),
    "empty kind": asks(POST, b""),
    "no path": asks(POST),
    "known kind, other method": asks(DELETE, b"e", b"door"),
    "hello that is asked for": asks(GET, b"h", token=b"\x01"),
    "call of a function": asks(POST, b"f", b"brew", token=b"\x01"),
    "variable": asks(GET, b"v", b"temp", token=b"\x01"),
    "signal": asks(PUT, b"s", token=b"\x01"),
    "another key": asks(PUT, b"k", token=b"\x01"),
    "method that there is not": asks(31, b"e"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_the_server_does_not_know_is_answered_with_4_04_or_not_at_all(desk: Desk, name: str) -> None:
    message = UNKNOWN[name]
    desk.connect()
    [answer] = desk.say(message)
    assert (answer.type, answer.code, answer.id) == (ACK, coap.NOT_FOUND, message.id)
    assert desk.say(Message(NON, message.code, message.id, message.token, message.options)) == []
    assert desk.closed is None
    assert noted(desk) == []
    assert desk.around.counts["unknown_requests"] == 2


# -- what is passed over ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "answers"),
    [
        (Message(ACK, coap.CONTENT, 9, b"\x63", (), b"1"), []),
        (Message(ACK, coap.CONTENT, 9, b"", (), b"1"), []),
        (Message(ACK, coap.NOT_FOUND, 9, b"\x63\x64", (), None), []),
        (Message(NON, coap.CHANGED, 9, b"\x63", (), bytes(4)), []),
        (Message(CON, coap.CHANGED, 9, b"\x63", (), bytes(4)), [(ACK, coap.EMPTY, 9)]),
        (Message(ACK, coap.EMPTY, 40_000), []),
        (Message(RST, coap.EMPTY, 40_000), []),
        (Message(NON, coap.EMPTY, 9), []),
        (Message(ACK, POST, 9, b"", ((coap.URI_PATH, b"e"), (coap.URI_PATH, b"door"))), []),
        (Message(RST, POST, 9, b"", ((coap.URI_PATH, b"h"),)), []),
    ],
    ids=[
        "unknown token",
        "no token",
        "token of two bytes",
        "unasked result",
        "unasked result that waits",
        "ACK of nothing",
        "RST of nothing",
        "NON of nothing",
        "request in an ACK",
        "request in a RST",
    ],
)
def test_answers_to_what_was_never_asked_change_nothing(
    desk: Desk, message: Message, answers: list[tuple[int, int, int]]
) -> None:
    desk.connect().describe()
    before = (len(desk.facts), len(desk.published), len(desk.answers))
    assert [(one.type, one.code, one.id) for one in desk.say(message)] == answers
    assert desk.closed is None
    assert (len(desk.facts), len(desk.published), len(desk.answers)) == before


def test_message_ids_need_not_count_up(desk: Desk) -> None:  # 4.2: a server must not enforce it
    desk.connect()
    for number in (65_535, 7, 7, 0):
        [answer] = desk.say(device_messages.ping(number))
        assert (answer.type, answer.id) == (ACK, number)
    assert desk.closed is None


def test_options_and_bytes_behind_what_is_known_are_read_over(desk: Desk) -> None:
    desk.connect(message=asks(POST, b"h", payload=bytes(8) + b"\0\0" + bytes(90)), hello=Hello(PRODUCT, 1, 0, 6))
    odd: Any = ((coap.MAX_AGE, b"\x05"), (60, b"odd"), (65_000, b""))
    [answer] = desk.say(asks(POST, b"e", b"door", options=odd, payload=b"open"))
    assert (answer.type, answer.code) == (ACK, coap.EMPTY)
    assert [(event.name, event.ttl_s) for event in desk.published] == [("door", 5)]
