"""The message layer of UDP: nothing is lost for long, nothing is heard twice, nothing grows."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.particle import coap, device_messages, server_messages
from services.gateway.devices.particle.events import Event
from services.gateway.devices.particle.exchange import (
    ACK_S,
    MOST_REMEMBERED,
    MOST_UNACKNOWLEDGED,
    REMEMBERED_S,
    REPETITIONS,
    Exchange,
)

PING = coap.encode(server_messages.ping(7))
PINGED = coap.encode(device_messages.acknowledgement(7))
EVENT = coap.encode(device_messages.event(9, Event("e", b"1"), confirmable=True))
ACKNOWLEDGED = coap.encode(server_messages.acknowledgement(9))


def test_what_is_not_acknowledged_is_sent_three_times_more_at_doubling_distance() -> None:
    exchange, now, moments = Exchange(), 100.0, list[float]()
    assert exchange.send(PING, 0.5, now)
    while (at := exchange.wake_at()) is not None:
        assert exchange.tick(at - 0.01) == []
        if exchange.tick(at):
            moments.append(at - now)
    first = ACK_S * 1.25
    assert moments == [first, first * 3, first * 7]
    assert len(moments) == REPETITIONS
    assert exchange.lost


def test_the_first_wait_is_between_four_and_six_seconds() -> None:
    for spread, wait_s in [(0.0, 4.0), (1.0, 6.0)]:
        exchange = Exchange()
        exchange.send(PING, spread, 0.0)
        assert exchange.wake_at() == wait_s


def test_an_acknowledgement_or_a_rejection_ends_it() -> None:
    for answer in (PINGED, coap.encode(server_messages.rejection(7))):
        exchange = Exchange()
        exchange.send(PING, 0.0, 0.0)
        assert exchange.receive(answer, 1.0).fresh
        assert exchange.wake_at() is None
        assert not exchange.lost


def test_what_is_not_confirmable_and_what_others_repeat_is_sent_once() -> None:
    exchange = Exchange()
    assert exchange.send(coap.encode(server_messages.hello(1)), 0.0, 0.0)
    assert exchange.send(PING, 0.0, 0.0, once=True)
    assert exchange.wake_at() is None


def test_a_message_that_comes_twice_is_heard_once_and_answered_with_the_same_bytes() -> None:
    exchange = Exchange()
    assert exchange.receive(EVENT, 0.0).fresh
    assert exchange.receive(EVENT, 1.0) == (False, ())  # its event is not stored yet
    exchange.send(ACKNOWLEDGED, 0.0, 2.0)
    assert exchange.receive(EVENT, 3.0) == (False, (ACKNOWLEDGED,))
    assert exchange.receive(EVENT, REMEMBERED_S - 0.1) == (False, (ACKNOWLEDGED,))
    assert exchange.receive(EVENT, REMEMBERED_S).fresh


def test_a_repeated_message_that_wants_no_acknowledgement_is_answered_by_nothing() -> None:
    exchange = Exchange()
    event = coap.encode(device_messages.event(9, Event("e"), confirmable=False))
    assert exchange.receive(event, 0.0).fresh
    assert exchange.receive(event, 1.0) == (False, ())


def test_what_waits_for_its_acknowledgement_is_bounded() -> None:
    exchange = Exchange()
    sent = [exchange.send(coap.encode(server_messages.ping(number)), 0.0, 0.0) for number in range(100)]
    assert sent.count(True) == MOST_UNACKNOWLEDGED


def test_what_is_remembered_is_bounded() -> None:
    exchange = Exchange()
    for number in range(MOST_REMEMBERED + 1):
        assert exchange.receive(coap.encode(device_messages.ping(number)), 0.0).fresh
    assert exchange.receive(coap.encode(device_messages.ping(0)), 0.0).fresh
    assert not exchange.receive(coap.encode(device_messages.ping(MOST_REMEMBERED)), 0.0).fresh


@settings(max_examples=100)
@given(st.lists(st.tuples(st.binary(max_size=8), st.floats(0.0, 30.0)), max_size=30))
def test_nothing_that_comes_makes_it_fail(datagrams: list[tuple[bytes, float]]) -> None:
    exchange, now = Exchange(), 0.0
    exchange.send(PING, 0.0, now)
    for data, pause in datagrams:
        now += pause
        exchange.receive(data, now)
        exchange.tick(now)


def test_what_was_answered_before_a_restart_is_answered_the_same_behind_it() -> None:
    before = Exchange()
    before.receive(EVENT, 1.0)
    before.send(ACKNOWLEDGED, 0.0, 1.0)
    before.receive(coap.encode(device_messages.ping(10)), 1.0)  # not answered yet
    behind = Exchange()
    behind.restore(before.answered(2.0), 500.0)
    assert behind.receive(EVENT, 500.0 + REMEMBERED_S - 1) == (False, (ACKNOWLEDGED,))
    assert behind.receive(coap.encode(device_messages.ping(10)), 501.0).fresh
    assert behind.receive(EVENT, 500.0 + REMEMBERED_S).fresh


def test_what_is_not_remembered_any_more_is_not_kept() -> None:
    exchange = Exchange()
    exchange.receive(EVENT, 1.0)
    exchange.send(ACKNOWLEDGED, 0.0, 1.0)
    assert exchange.answered(1.0 + REMEMBERED_S) == ()
