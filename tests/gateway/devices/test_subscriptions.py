"""Which events reach which devices, and that nobody is kept waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from services.gateway.devices.subscriptions import (
    SLICE,
    WAITING_EVENTS,
    EventSubscriptions,
    Publisher,
    Wanted,
    owner_key,
    reserved,
)
from shared.events.gateway import DevicePublished

ONE, OTHER = "1" * 24, "2" * 24
FROM = Publisher("org", "owner", 1000)


class Device:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def deliver(self, event: DevicePublished) -> None:
        self.heard.append(event.name)


class Hall:
    """Subscriptions whose next turn of the loop comes when the test says so."""

    def __init__(self) -> None:
        self.turns: list[Callable[[], None]] = []
        self.counts: Counter[str] = Counter()
        self.index: EventSubscriptions[Device] = EventSubscriptions(self.turns.append, self.counts)

    def listener(self, *wanted: Wanted) -> Device:
        device = Device()
        self.index.listen(device, frozenset(wanted))
        return device

    def publish(self, name: str, public: bool = False, of: str = ONE, by: Publisher = FROM) -> None:
        self.index.publish(event(name, public, of), by)

    def run(self) -> int:
        turns = 0
        while self.turns:
            self.turns.pop(0)()
            turns += 1
        return turns


def event(name: str, public: bool = False, of: str = ONE) -> DevicePublished:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return DevicePublished(of, 1000, name, None, "text", 60, public, at, None, 1)


@pytest.mark.parametrize(
    ("wanted", "public", "private"),
    [
        (Wanted("org", "org", "fleet"), True, False),
        (Wanted("org", "another", "fleet"), False, False),
        (Wanted("owner", "owner/org", "fleet"), True, True),
        (Wanted("owner", "owner/another", "fleet"), False, False),
        (Wanted("owner", "owner", "fleet"), False, False),
        (Wanted("owner", "another", "fleet"), False, False),
        (Wanted("product", "1000", "fleet"), True, True),
        (Wanted("product", "1001", "fleet"), False, False),
        (Wanted("device", ONE, "fleet"), True, True),
        (Wanted("device", OTHER, "fleet"), False, False),
        (Wanted("org", "org", "fleet", ONE), True, False),
        (Wanted("org", "org", "fleet", OTHER), False, False),
        (Wanted("owner", "owner/org", "", ONE), True, True),
        (Wanted("owner", "owner/org", "fleet/other"), False, False),
        (Wanted("owner", "owner/org", "fleet/alert/more"), False, False),
    ],
)
def test_a_device_hears_what_its_scope_and_prefix_say(wanted: Wanted, public: bool, private: bool) -> None:
    for is_public, hears in [(True, public), (False, private)]:
        hall = Hall()
        device = hall.listener(wanted)
        hall.publish("fleet/alert", is_public)
        hall.run()
        assert device.heard == (["fleet/alert"] if hears else [])


def test_what_an_owner_publishes_over_http_stays_with_the_company_as_whose_customer_it_is_done() -> None:  # CUS-5
    everybodys = Publisher(None, "owner", 0)
    for publisher, hears in ((everybodys, [True, True]), (everybodys._replace(customer_of="org"), [True, False])):
        hall = Hall()
        devices = [
            hall.listener(Wanted("owner", owner_key("owner", None), ""), Wanted("owner", owner_key("owner", org), ""))
            for org in ("org", "another")
        ]
        hall.publish("fleet", by=publisher)
        hall.run()
        assert [device.heard == ["fleet"] for device in devices] == hears


def test_an_event_that_fits_two_subscriptions_comes_once() -> None:
    hall = Hall()
    device = hall.listener(Wanted("owner", "owner/org", "fleet"), Wanted("product", "1000", ""))
    hall.publish("fleet")
    hall.run()
    assert device.heard == ["fleet"]


@pytest.mark.parametrize("name", ["spark/status", "SPARKle", "particle/device/updates/forced", "particle"])
def test_what_is_the_platforms_own_reaches_no_device(name: str) -> None:
    assert reserved(name)
    hall = Hall()
    device = hall.listener(Wanted("owner", "owner/org", ""))
    hall.publish(name)
    hall.run()
    assert device.heard == []


def test_other_names_may_begin_nearly_so() -> None:
    assert not any(map(reserved, ["spar", "particles", "my/spark"]))


def test_what_is_no_longer_wanted_is_not_delivered_though_it_was_on_its_way() -> None:
    hall = Hall()
    device = hall.listener(Wanted("owner", "owner/org", ""))
    hall.publish("one")
    hall.index.listen(device, frozenset())
    hall.run()
    assert device.heard == []
    assert len(hall.index) == 0


def test_an_event_for_very_many_devices_is_delivered_a_slice_a_turn() -> None:
    hall = Hall()
    devices = [hall.listener(Wanted("product", "1000", "x")) for _ in range(SLICE * 2 + 1)]
    hall.publish("x")
    hall.publish("xy")
    assert hall.run() == 5
    assert all(device.heard == ["x", "xy"] for device in devices)


def test_what_there_is_no_room_for_is_dropped_and_counted() -> None:
    hall = Hall()
    device = hall.listener(Wanted("product", "1000", ""))
    for number in range(WAITING_EVENTS + 2):
        hall.publish(f"e{number}")
    hall.run()
    assert len(device.heard) == WAITING_EVENTS
    assert hall.counts["undelivered_events"] == 2


def test_an_event_that_nobody_wants_costs_no_turn() -> None:
    hall = Hall()
    hall.listener(Wanted("product", "1000", "long/prefix"))
    hall.publish("short")
    hall.publish("long/prefix", by=Publisher("org", None, 1001))
    assert hall.turns == []


def test_subscriptions_can_change_as_often_as_they_like() -> None:
    hall = Hall()
    device = hall.listener(Wanted("owner", "a", "x"), Wanted("owner", "a", "y"))
    hall.index.listen(device, frozenset((Wanted("owner", "owner/org", "y"),)))
    hall.publish("x")
    hall.publish("y")
    hall.run()
    assert device.heard == ["y"]
    internal: Any = hall.index
    assert set(internal._readers) == {Wanted("owner", "owner/org", "y")}
