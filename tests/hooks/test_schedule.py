"""When it is tried again, in which order, and where to."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.hooks.addresses import may_reach, networks
from services.hooks.attempts import Place, rewound
from services.hooks.heard import Heard
from services.hooks.pages import Page
from services.hooks.schedule import DISABLED_AFTER, GIVEN_UP_AFTER, LEAST_FAILURES, is_failing, is_lost, pause, verdict
from shared.errors import Refused

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def test_what_a_status_means() -> None:
    found = {status: verdict(status) for status in (None, 200, 204, 301, 400, 404, 408, 410, 425, 429, 500, 503)}
    assert found == {
        None: "again",
        200: "delivered",
        204: "delivered",
        301: "refused",
        400: "refused",
        404: "refused",
        408: "again",
        410: "gone",
        425: "again",
        429: "again",
        500: "again",
        503: "again",
    }


def test_pauses_double_to_an_hour_and_differ_by_a_fifth() -> None:
    middle = [pause(failures, 0.5).total_seconds() for failures in (1, 2, 3, 12, 13, 100)]
    assert middle == [1, 2, 4, 2048, 3600, 3600]
    assert (pause(1, 0.0).total_seconds(), pause(1, 1.0).total_seconds()) == (0.8, 1.2)


def test_a_receiver_may_ask_for_more_time_but_not_for_ever() -> None:
    assert pause(1, 0.5, timedelta(minutes=5)) == timedelta(minutes=5)
    assert pause(13, 0.5, timedelta(seconds=1)) == timedelta(hours=1)
    assert pause(1, 0.5, timedelta(days=365)) == timedelta(days=1)


def test_an_event_is_given_up_after_a_day_or_when_others_got_through() -> None:
    few, many = LEAST_FAILURES - 1, LEAST_FAILURES
    assert not is_lost(few, NOW, NOW + GIVEN_UP_AFTER, NOW)
    assert is_lost(many, NOW, NOW + GIVEN_UP_AFTER, None)
    assert not is_lost(many, NOW, NOW, NOW - timedelta(1))
    assert is_lost(many, NOW, NOW, NOW + timedelta(seconds=1))


def test_a_webhook_is_disabled_after_three_days_without_success() -> None:
    assert is_failing(LEAST_FAILURES, NOW, NOW + DISABLED_AFTER)
    assert not is_failing(LEAST_FAILURES - 1, NOW, NOW + DISABLED_AFTER)
    assert not is_failing(LEAST_FAILURES, NOW, NOW + DISABLED_AFTER - timedelta(seconds=1))
    assert not is_failing(LEAST_FAILURES, None, NOW)


SPECIAL = """127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255
    ::1 :: fe80::1 fe80::1%eth0 fc00::1 ff02::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 2002:7f00:1::"""


@pytest.mark.parametrize("address", SPECIAL.split())
def test_special_addresses_are_reached_only_where_that_is_allowed(address: str) -> None:
    assert not may_reach(address, ())
    assert not may_reach(address, networks("192.0.2.0/24"))


def test_everybodys_addresses_are_reached_and_so_is_what_is_allowed() -> None:
    assert all(may_reach(one, ()) for one in ("8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"))
    allowed = networks("127.0.0.0/8, 10.1.2.3,fd00::/8")
    assert all(may_reach(one, allowed) for one in ("127.0.0.1", "10.1.2.3", "fd00::1", "::ffff:127.0.0.1"))
    assert not may_reach("10.1.2.4", allowed)
    with pytest.raises(Refused):
        networks("nowhere")


def event(number: int, device: str) -> Heard:
    return Heard(str(number), number, "e", None, "", "", device, 1000, None, False)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.randoms(use_true_random=False), st.data())
def test_a_page_keeps_each_devices_order_and_moves_over_what_is_done(
    devices: list[str], chance: random.Random, data: st.DataObject
) -> None:
    events = [event(number, device) for number, device in enumerate(devices)]
    failing = data.draw(st.sets(st.sampled_from(events).map(lambda one: one.id), max_size=3)) if events else set()
    page, under_way, tried = Page(events), list[Heard](), list[Heard]()
    while True:
        while len(under_way) < 2 and (taken := page.take()) is not None:
            assert taken.coreid not in {one.coreid for one in under_way}
            under_way.append(taken)
        if not under_way:
            break
        one = under_way.pop(chance.randrange(len(under_way)))
        tried.append(one)
        if one.id not in failing:
            page.finish(one)
    for device in "abc":
        mine = [one.position for one in tried if one.coreid == device]
        assert mine == sorted(mine)
    undone = [one.position for one in events if one not in tried or one.id in failing]
    assert page.is_done == (not undone)
    first_left = min(undone, default=len(events))
    assert page.moved() == (None if first_left == 0 else first_left - 1)
    assert page.left_done == {one.id for one in tried if one.id not in failing and one.position > first_left}
    again = Page(events[first_left:], page.left_done)
    assert sum(1 for _ in iter(again.take, None)) == len({events[number].coreid for number in undone})


def test_what_is_held_keeps_its_device_waiting_and_no_other() -> None:
    page = Page([event(0, "a"), event(1, "a"), event(2, "b")], held={"0"})
    taken = page.take()
    assert taken is not None
    assert taken.id == "2"
    assert page.take() is None


def test_a_rewinding_moves_places_that_have_not_heard_of_it() -> None:
    old, new = Place(7, NOW, 1), Place(9, NOW, 2)
    later = NOW + timedelta(hours=1)
    assert rewound({"a": old, "b": new, "gone": old}, ["a", "b", "c"], later, 2) == {
        "a": Place(None, later, 2),
        "b": new,
        "c": Place(None, later, 2),
    }
