from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.waiting import Line


@dataclass(frozen=True)
class Guest:
    network: str
    number: int


def filled(most: int, an_address: int, *networks: str) -> Line[Guest]:
    line: Line[Guest] = Line(most, an_address)
    for number, network in enumerate(networks):
        assert line.join(Guest(network, number)) is None
    return line


def everybody(line: Line[Guest]) -> list[int]:
    """Take all, each of whom proves at once who it is."""
    taken = []
    while line.ready:
        guest = line.take()
        taken.append(guest.number)
        line.leave(guest.network)
    return taken


def test_whoever_came_first_is_taken_first() -> None:
    assert everybody(filled(10, 10, "a", "b", "a", "c")) == [0, 1, 2, 3]


def test_a_flood_from_one_address_keeps_others_waiting_for_no_longer_than_its_places() -> None:
    line = filled(100, 3, *["flood"] * 50, "honest")
    assert [line.take().number for _ in range(4)] == [0, 1, 2, 50]
    assert line.ready == 0
    assert len(line) == 47


def test_those_aside_join_the_line_when_a_place_of_their_address_is_free() -> None:
    line = filled(100, 1, "a", "a", "a")
    assert (line.ready, len(line)) == (1, 3)
    assert line.take().number == 0
    assert line.ready == 0  # the first has not proven who it is
    line.leave("a")
    assert line.take().number == 1


def test_thousands_behind_one_address_are_all_taken_in_the_order_in_which_they_came() -> None:
    assert everybody(filled(5_000, 7, *["nat"] * 3_000)) == list(range(3_000))


def test_a_full_line_sends_away_the_newest_of_the_largest_crowd_aside() -> None:
    line = filled(6, 1, "a", "a", "a", "b", "b", "c")
    assert line.join(Guest("d", 6)) == Guest("a", 2)
    assert len(line) == 6
    assert Guest("d", 6) in list(line)


def test_a_full_line_sends_a_newcomer_away_whose_address_has_no_place() -> None:
    line = filled(3, 1, "a", "a", "b")
    assert line.join(Guest("a", 3)) == Guest("a", 3)
    assert len(line) == 3


def test_whoever_waits_in_line_is_never_sent_away_for_a_newcomer() -> None:
    line = filled(3, 5, "a", "b", "c")
    assert line.join(Guest("d", 3)) == Guest("d", 3)
    assert everybody(line) == [0, 1, 2]


def test_nobody_waits_any_more_when_it_is_cleared_and_places_of_those_inside_stay_taken() -> None:
    line = filled(10, 2, "a", "a", "a", "b")
    line.take()
    assert [guest.number for guest in line.clear()] == [1, 3, 2]
    assert (len(line), line.unproven) == (0, 1)
    line.leave("a")
    assert line.unproven == 0


def test_taking_from_an_empty_line_is_an_error() -> None:
    with pytest.raises(IndexError):
        filled(1, 1).take()


@settings(max_examples=60)
@given(st.lists(st.one_of(st.sampled_from("abc"), st.just("take"), st.just("leave")), max_size=60), st.integers(1, 4))
def test_nobody_is_lost_and_no_address_has_more_than_its_places(steps: list[str], an_address: int) -> None:
    line: Line[Guest] = Line(12, an_address)
    came, gone, inside = 0, 0, Counter[str]()
    for number, step in enumerate(steps):
        if step == "take":
            if line.ready:
                inside[line.take().network] += 1
        elif step == "leave":
            network = next((name for name, held in inside.items() if held), None)
            if network is not None:
                inside[network] -= 1
                gone += 1
                line.leave(network)
        else:
            came += 1
            gone += line.join(Guest(step, number)) is not None
        assert len(line) <= 12
        assert len(line) + inside.total() + gone == came
        assert all(held <= an_address for held in inside.values())
        assert line.unproven == inside.total()
