"""How many images are transferred at once, and how fast."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.transfers import BURST_S, IDLE_S, STRETCH_BYTES, Rate, TransferLimits, Transfers
from shared.settings import Settings


class Hall:
    """Transfers, and whose turn came."""

    def __init__(self, **limits: int) -> None:
        self.turns: list[str] = []
        self.transfers = Transfers(TransferLimits(**limits), self.turns.append)

    def enter(self, *devices: str, now: float = 0.0) -> list[bool]:
        return [self.transfers.enter(device, now) for device in devices]


def test_so_many_begin_at_once_and_the_others_wait_in_their_order() -> None:
    hall = Hall(at_once=2)
    assert hall.enter("a", "b", "c", "d", "c") == [True, True, False, False, False]
    assert hall.transfers.status() == {"running": 2, "waiting": 2}
    assert hall.enter("e") == [False]
    hall.transfers.done("a", 1.0)
    assert hall.turns == ["c"]
    assert hall.enter("c", "d") == [True, False]
    hall.transfers.done("b", 2.0)
    hall.transfers.leave("c", 2.0)
    assert hall.turns == ["c", "d", "e"]


def test_whoever_is_set_up_waits_behind_nobody_else() -> None:  # PRD-5
    hall = Hall(at_once=1)
    hall.enter("a", "b", "c")
    first = [hall.transfers.enter(device, 1.0, first=True) for device in ("new", "c", "newer", "new")]
    assert first == [False, False, False, False]
    assert hall.transfers.status() == {"running": 1, "waiting": 4}
    for running in ("a", "new", "c"):
        hall.transfers.done(running, 2.0)
    assert hall.turns == ["new", "c", "newer"]
    hall.transfers.leave("newer", 3.0)
    assert hall.turns == ["new", "c", "newer", "b"]


def test_whoever_is_set_up_and_leaves_gets_no_turn() -> None:  # PRD-5
    hall = Hall(at_once=1)
    hall.enter("a", "b")
    hall.transfers.enter("new", 1.0, first=True)
    hall.transfers.leave("new", 1.0)
    hall.transfers.done("a", 2.0)
    assert hall.turns == ["b"]


def test_a_device_that_left_gets_no_turn() -> None:
    hall = Hall(at_once=1)
    hall.enter("a", "b", "c")
    hall.transfers.leave("b", 1.0)
    hall.transfers.leave("a", 1.0)
    assert hall.turns == ["c"]


def test_a_turn_that_is_not_used_for_a_minute_goes_to_the_next() -> None:
    hall = Hall(at_once=2)
    hall.enter("idle", "busy", "next")
    hall.transfers.active("busy", 59.0)
    hall.transfers.sweep(IDLE_S - 0.1)
    assert hall.turns == []
    hall.transfers.sweep(IDLE_S)
    assert hall.turns == ["next"]


def test_a_device_that_begins_by_itself_is_not_held_up_but_counts() -> None:
    hall = Hall(at_once=1)
    hall.enter("a", "b", "c")
    hall.transfers.active("b", 1.0)
    assert hall.transfers.status() == {"running": 2, "waiting": 1}
    hall.transfers.done("a", 2.0)
    assert hall.turns == []
    hall.transfers.done("b", 3.0)
    assert hall.turns == ["c"]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["enter", "done", "leave"])), max_size=60))
def test_nobody_who_waits_is_starved_and_never_are_there_too_many(steps: list[tuple[int, str]]) -> None:
    hall = Hall(at_once=3)
    asked: list[str] = []
    begun: list[str] = []
    for number, (device, step) in enumerate(steps):
        name = str(device)
        if step == "enter":
            if name not in asked:
                asked.append(name)
            if hall.transfers.enter(name, 0.0) and name not in begun:
                begun.append(name)
        else:
            getattr(hall.transfers, step)(name, 0.0)
            if step == "leave" or name in begun:
                asked = [other for other in asked if other != name]
                begun = [other for other in begun if other != name]
        begun += hall.turns
        hall.turns.clear()
        assert len(begun) <= 3, number
        assert begun == [name for name in asked if name in begun] == asked[: len(begun)], number
        assert len(begun) == min(3, len(asked)), number


@given(st.lists(st.tuples(st.integers(1, 20_000), st.floats(0, 3)), min_size=1, max_size=40))
def test_a_rate_is_kept_whatever_is_asked_for_and_when(pieces: list[tuple[int, float]]) -> None:
    rate, now, sent = Rate(10_000, 0.0), 0.0, []
    for size, pause in pieces:
        now += pause
        at = rate.reserve(size, now)
        assert at >= now
        sent.append((at, size))
    assert [at for at, _ in sent] == sorted(at for at, _ in sent)
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            between = sum(size for _, size in sent[first:last])
            assert between <= 10_000 * (sent[last][0] - sent[first][0] + BURST_S) + 1


def test_bytes_wait_for_the_rate_of_the_gateway_and_for_that_of_the_device() -> None:
    transfers = Transfers(TransferLimits(bytes_per_s=20_000, device_bytes_per_s=10_000))
    moments = [transfers.reserve(device, 10_000, 100.0) for device in ("a", "a", "b", "a", "c")]
    assert moments == [100.0, 100.0, 100.0, 101.0, 101.0]
    assert Transfers().reserve("a", 10**9, 5.0) == 5.0


def test_what_waits_for_its_bytes_is_not_idle() -> None:
    hall = Hall(at_once=1, device_bytes_per_s=100)
    hall.enter("a", "b")
    assert hall.transfers.reserve("a", 10_000, 0.0) == 0.0
    assert hall.transfers.reserve("a", 10_000, 0.0) == 99.0
    hall.transfers.sweep(100.0)
    assert hall.turns == []


def test_a_small_rate_for_all_makes_turns_few_so_that_nobody_waits_long_in_the_middle() -> None:
    assert TransferLimits().turns == 500
    assert TransferLimits(bytes_per_s=1).turns == 1
    assert TransferLimits(bytes_per_s=10 * STRETCH_BYTES).turns == 100
    assert TransferLimits(at_once=7, bytes_per_s=10**9).turns == 7


def test_the_settings_are_these_limits() -> None:
    loaded = Settings.load({"FLOTILLA_UPDATE_TRANSFERS": "9"})
    assert (loaded.update_transfers, loaded.update_bytes_per_s, loaded.update_device_bytes_per_s) == (9, 0, 0)
    assert [field.default for field in fields(TransferLimits)] == [
        Settings().update_transfers,
        Settings().update_bytes_per_s,
        Settings().update_device_bytes_per_s,
    ]
