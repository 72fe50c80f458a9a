"""The wheel that all connections wait in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.timers import Wheel


class Item:
    def __init__(self) -> None:
        self.bucket: int | None = None


@given(st.lists(st.floats(0.0, 100.0), max_size=50), st.floats(0.01, 1.0))
def test_items_are_woken_once_never_early_and_at_most_a_tick_late(moments: list[float], tick_s: float) -> None:
    wheel: Wheel[Item] = Wheel(tick_s, 0.0)
    waiting = {Item(): moment for moment in moments}
    for item, moment in waiting.items():
        wheel.schedule(item, moment)
    now, woken = 0.0, 0
    while now < 102.0:
        now += tick_s / 2
        for item in wheel.due(now, 1_000):
            woken += 1
            assert waiting[item] <= now <= waiting[item] + 2.5 * tick_s
    assert woken == len(moments)


def test_an_item_waits_for_one_moment_only() -> None:
    wheel: Wheel[Item] = Wheel(0.1, 0.0)
    item = Item()
    wheel.schedule(item, 5.0)
    wheel.wake_by(item, 9.0)
    wheel.wake_by(item, 2.0)
    assert wheel.due(2.5, 9) == [item]
    assert wheel.due(99.0, 9) == []
    wheel.schedule(item, 100.0)
    wheel.cancel(item)
    assert wheel.due(200.0, 9) == []


def test_no_more_are_woken_at_once_than_asked_for() -> None:
    wheel: Wheel[Item] = Wheel(0.1, 0.0)
    for _ in range(25):
        wheel.schedule(Item(), 1.0)
    assert [len(wheel.due(2.0, 10)) for _ in range(4)] == [10, 10, 5, 0]


def test_the_next_moment_at_which_somebody_is_due_is_known_as_far_as_asked() -> None:
    wheel: Wheel[Item] = Wheel(0.5, 0.0)
    near, far = Item(), Item()
    wheel.schedule(near, 1.2)
    wheel.schedule(far, 9.0)
    assert wheel.next_at(1.0) == 1.0
    assert wheel.next_at(5.0) == 1.5
    assert wheel.due(1.5, 10) == [near]
    assert wheel.next_at(5.0) == 5.0
