from __future__ import annotations

from collections import deque
from collections.abc import Callable

from services.gateway.devices.turns import Turns


class Loop:
    """A loop that is turned by hand."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], None]] = deque()

    def call_soon(self, callback: Callable[[], None], /) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        for _ in range(len(self.soon)):
            self.soon.popleft()()


def test_work_is_done_at_once_while_the_turn_has_room_and_in_order_after() -> None:
    loop, done = Loop(), list[int]()
    turns = Turns(loop, 3)
    at_once = [turns.do(lambda number=number: done.append(number)) for number in range(8)]
    assert at_once == [True] * 3 + [False] * 5
    assert (done, len(turns)) == ([0, 1, 2], 5)
    loop.turn()
    assert done == [0, 1, 2, 3, 4, 5]
    turns.do(lambda: done.append(8))  # behind those who wait
    loop.turn()
    assert done == list(range(9))


def test_a_new_turn_has_room_again_and_an_idle_loop_is_left_alone() -> None:
    loop, done = Loop(), list[int]()
    turns = Turns(loop, 1)
    assert turns.do(lambda: done.append(1))
    loop.turn()
    assert not loop.soon
    assert turns.do(lambda: done.append(2))
    assert done == [1, 2]
