"""How an import is held back while the fleet view is behind."""

from __future__ import annotations

from services.devices.import_pace import CHUNKS_AHEAD, LONGEST_S, LOOK_S, Pace
from shared.store.port import Position


class View:
    """A view that comes ``speed`` positions further with every look, and a clock that moves by sleeping."""

    def __init__(self, at: int | None, speed: int) -> None:
        self.at = at
        self.speed = speed
        self.slept_s = 0.0

    def seen(self) -> Position | None:
        return None if self.at is None else Position(self.at)

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        if self.at is not None:
            self.at += self.speed

    @property
    def pace(self) -> Pace:
        return Pace(self.seen, sleep=self.sleep, clock=lambda: self.slept_s)


def test_an_import_is_some_chunks_ahead_of_the_view_and_no_more() -> None:
    view = View(0, speed=100)
    pace = view.pace
    for chunk in range(1, 50):
        pace(Position(1_000 * chunk))
        assert view.at is not None
        assert 1_000 * chunk - view.at <= 1_000 * CHUNKS_AHEAD
    assert view.slept_s > 0


def test_nobody_waits_for_a_view_that_follows() -> None:
    view = View(10**9, speed=0)
    pace = view.pace
    for chunk in range(1, 50):
        pace(Position(1_000 * chunk))
    assert view.slept_s == 0


def test_a_view_that_does_not_move_holds_an_import_up_once() -> None:
    view = View(7, speed=0)
    pace = view.pace
    for chunk in range(1, 50):
        pace(Position(1_000 * chunk))
    assert LONGEST_S <= view.slept_s <= LONGEST_S + 2 * LOOK_S


def test_there_may_be_no_view_yet() -> None:
    view = View(None, speed=0)
    pace = view.pace
    for chunk in range(1, 50):
        pace(Position(1_000 * chunk))
    assert view.slept_s == 0
