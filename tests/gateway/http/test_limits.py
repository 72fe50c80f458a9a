from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.gateway.http import limits
from services.gateway.http.limits import Positions, Rate, Slots, UnknownTokens, network
from shared.errors import Refused
from shared.store.port import Position


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_rate_gives_its_burst_and_then_its_refill() -> None:
    clock = Clock()
    rate = Rate(2, 0.5, clock, what="things")
    rate.take("192.0.2.1")
    rate.take("192.0.2.1")
    with pytest.raises(Refused, match="Too many things"):
        rate.take("192.0.2.1")
    clock.now += timedelta(seconds=1.9)
    with pytest.raises(Refused):
        rate.take("192.0.2.1")
    clock.now += timedelta(seconds=0.2)
    rate.take("192.0.2.1")


def test_refused_attempts_do_not_postpone_the_refill() -> None:
    clock = Clock()
    rate = Rate(1, 1, clock, what="things")
    rate.take("a")
    for _ in range(9):
        clock.now += timedelta(seconds=0.1)
        with pytest.raises(Refused):
            rate.take("a")
    clock.now += timedelta(seconds=0.2)
    rate.take("a")


def test_what_is_given_back_never_exceeds_the_burst() -> None:
    rate = Rate(1, 0, Clock(), what="things")
    rate.give_back("a")
    rate.give_back("a")
    rate.take("a")
    with pytest.raises(Refused):
        rate.take("a")


def test_a_clock_that_is_set_back_gives_nothing_away() -> None:
    clock = Clock()
    rate = Rate(1, 1, clock, what="things")
    rate.take("a")
    clock.now -= timedelta(hours=1)
    with pytest.raises(Refused):
        rate.take("a")


def test_an_ipv6_subscriber_is_one_address_whatever_it_uses_of_its_network() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:1") != network("2001:db8:0:1::1")
    assert network("192.0.2.1") != network("192.0.2.2")
    assert network("unix") == "unix"


def test_memories_are_bounded() -> None:
    most = limits.REMEMBERED
    rate, positions, unknown = Rate(1, 0, Clock(), what="x"), Positions(), UnknownTokens(Clock())
    for number in range(most + 1):
        rate.take(str(number))
        positions.remember(str(number), Position(number))
        unknown.add(str(number))
    rate.take("0")
    assert positions.of("0") is None
    assert positions.of("1") == 1
    assert "0" not in unknown
    assert str(most) in unknown


def test_positions_only_grow() -> None:
    positions = Positions()
    positions.remember("t", Position(5))
    positions.remember("t", Position(3))
    assert positions.of("t") == 5


def test_a_slot_that_is_released_is_free_again() -> None:
    slots = Slots(1)
    slots.acquire("t")
    slots.acquire("other")
    with pytest.raises(Refused):
        slots.acquire("t")
    slots.release("t")
    assert slots.used("t") == 0
    slots.acquire("t")
