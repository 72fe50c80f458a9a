from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest

from services.gateway.devices.admissions import Admissions
from services.gateway.devices.limits import network_of
from services.gateway.devices.throttle import AdmissionLimits


class Loop:
    """A loop whose time is moved by hand; every turn takes as long as ``turn_s`` says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Loop:
        self.timers.append((self.now + delay_s, call))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def run(self, seconds: float, turn_s: float = 0.0) -> None:
        until = self.now + seconds
        while self.timers and self.timers[0][0] <= until:
            due, call = self.timers.pop(0)
            self.now = max(self.now + turn_s, due)
            call()
        self.now = max(self.now, until)


class Guest:
    def __init__(self, loop: Loop, address: str = "10.0.0.1") -> None:
        self.network = network_of(address)
        self.came_at = loop.now
        self.waited_s: float | None = None
        self.refused = False

    def begin(self, waited_s: float) -> None:
        self.waited_s = waited_s

    def refuse(self) -> None:
        self.refused = True


class Gateway:
    """Admissions, and what is counted."""

    def __init__(self, **limits: Any) -> None:
        self.loop = Loop()
        self.counts: Counter[str] = Counter()
        self.behind_s = 0.0
        self.admissions = Admissions(
            cast(Any, self.loop), self.counts, lambda: self.behind_s, AdmissionLimits(**limits)
        )

    def came(self, address: str = "10.0.0.1") -> Guest:
        guest = Guest(self.loop, address)
        self.admissions.enter(guest)
        return guest

    def crowd(self, size: int, address: str = "10.0.0.1") -> list[Guest]:
        return [self.came(address) for _ in range(size)]


def test_whoever_comes_in_quiet_times_begins_at_once_and_no_timer_runs() -> None:
    gateway = Gateway()
    assert gateway.came().waited_s == 0.0
    assert not gateway.loop.timers


def test_a_crowd_is_let_in_in_the_order_in_which_it_came_and_nobody_is_forgotten() -> None:
    gateway = Gateway(unproven_an_address=5_000)
    guests = gateway.crowd(3_000)
    gateway.loop.run(10.0)
    waits = [guest.waited_s for guest in guests]
    assert None not in waits
    assert waits == sorted(waits, key=lambda waited_s: waited_s or 0.0)
    assert gateway.admissions.status()["let_in"] == 3_000
    assert not gateway.loop.timers


def test_nobody_is_let_in_while_facts_wait_for_the_store_and_everybody_after() -> None:
    gateway = Gateway()
    gateway.behind_s = 1.1
    guests = gateway.crowd(10)
    gateway.loop.run(30.0)
    assert all(guest.waited_s is None and not guest.refused for guest in guests)
    assert gateway.admissions.status()["held"]
    gateway.behind_s = 0.0
    gateway.loop.run(1.0)
    assert all(guest.waited_s is not None for guest in guests)


def test_a_loop_that_is_late_lets_fewer_in_and_in_time_again_more() -> None:
    gateway = Gateway(unproven_an_address=50_000)
    gateway.crowd(20_000)
    gateway.loop.run(3.0, turn_s=0.2)
    slow = gateway.admissions.status()["rate"]
    assert slow < 100
    gateway.loop.run(3.0)
    assert gateway.admissions.status()["rate"] > 10 * slow


def test_an_address_has_only_so_many_that_have_not_proven_who_they_are() -> None:
    gateway = Gateway(unproven_an_address=5)
    silent, honest = gateway.crowd(8, "10.0.0.6"), gateway.came("10.0.0.7")
    gateway.loop.run(5.0)
    assert [guest.waited_s is not None for guest in silent] == [True] * 5 + [False] * 3
    assert honest.waited_s is not None
    gateway.admissions.gone("10.0.0.6", proven=False)
    gateway.admissions.proven("10.0.0.6")
    gateway.loop.run(1.0)
    assert [guest.waited_s is not None for guest in silent] == [True] * 7 + [False]


def test_an_address_has_only_so_many_connections_at_all() -> None:
    gateway = Gateway(connections_an_address=2)
    for _ in range(2):
        gateway.came()
        gateway.admissions.proven("10.0.0.1")
    assert gateway.came().refused
    assert not gateway.came("10.0.0.2").refused
    assert gateway.counts["refused_addresses"] == 1
    gateway.admissions.gone("10.0.0.1", proven=True)
    assert not gateway.came().refused


def test_no_limit_by_address_if_that_is_set() -> None:
    gateway = Gateway(connections_an_address=0, unproven_an_address=100)
    assert not any(guest.refused for guest in gateway.crowd(50))


def test_more_than_may_wait_are_sent_away_and_forgotten() -> None:
    gateway = Gateway(waiting=3)
    gateway.behind_s = 9.0
    guests = gateway.crowd(5)
    assert [guest.refused for guest in guests] == [False] * 3 + [True] * 2
    assert gateway.counts["sent_away"] == 2
    assert gateway.admissions.status()["waiting"] == 3


def test_closing_refuses_who_waits_and_who_comes_and_remembers_nobody() -> None:
    gateway = Gateway()
    gateway.behind_s = 9.0
    waiting = gateway.crowd(3)
    gateway.admissions.close()
    assert all(guest.refused for guest in [*waiting, gateway.came()])
    assert gateway.admissions.status()["addresses"] == 0
    assert not gateway.loop.timers


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv6_line_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network
