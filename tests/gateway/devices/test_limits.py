"""Buckets, and addresses that guess tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.limits import Bucket, LoginGuard


@given(st.lists(st.floats(0.0, 2.0), min_size=1, max_size=200))
def test_a_bucket_gives_no_more_than_its_burst_and_rate(pauses: list[float]) -> None:
    bucket, now, taken = Bucket(5.0, 10.0, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        if bucket.empty_until(now) is None:
            bucket.take(now)
            taken += 1
    assert taken <= 10 + 5 * now + 1e-6


def test_a_bucket_says_when_it_is_no_longer_empty() -> None:
    bucket = Bucket(2.0, 1.0, 0.0)
    assert bucket.empty_until(0.0) is None
    bucket.take(0.0)
    assert bucket.empty_until(0.0) == 0.5
    assert bucket.empty_until(0.5) is None
    bucket.take(0.0)  # overdrawn
    assert bucket.empty_until(0.0) == 1.0


def test_an_address_goes_unheard_for_a_while_after_too_many_refused_log_ins() -> None:
    guard = LoginGuard(3, 60.0)
    for second in range(4):
        assert not guard.unheard("192.0.2.1", float(second))
        guard.refused("192.0.2.1", float(second))
    assert guard.unheard("192.0.2.1", 10.0)
    assert not guard.unheard("192.0.2.2", 10.0)
    assert not guard.unheard("192.0.2.1", 63.1)


def test_all_addresses_of_one_line_are_one_to_the_guard() -> None:
    guard = LoginGuard(3, 60.0)
    for second in range(4):
        guard.refused(f"2001:db8::{second}", float(second))
    assert guard.unheard("2001:db8::ffff", 10.0)
    assert not guard.unheard("2001:db8:0:1::", 10.0)


def test_refused_log_ins_over_a_long_time_are_no_guessing() -> None:
    guard = LoginGuard(3, 60.0)
    for minute in range(100):
        guard.refused("192.0.2.1", minute * 61.0)
    assert not guard.unheard("192.0.2.1", 6_100.0)


def test_the_guard_remembers_a_bounded_number_of_addresses() -> None:
    guard = LoginGuard(0, 60.0)
    for number in range(guard.ADDRESSES + 10):
        guard.refused(str(number), 0.0)
    assert not guard.unheard("0", 1.0)
    assert guard.unheard(str(guard.ADDRESSES + 9), 1.0)
