"""The file that is to be flashed to one device, between what was asked here and what the directory has heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.flashing import LAG_S, Flashing
from services.gateway.entries import FlashEntry

FIRST, SECOND = (FlashEntry(number * 24, 1000, 9, 40_960, "0" * 64) for number in "12")


def test_what_was_asked_here_counts_until_the_directory_can_have_heard_of_it() -> None:
    flashing = Flashing()
    flashing.ask(FIRST, 100.0)
    flashing.know(None, 100.0 + LAG_S - 0.1)
    assert flashing.wanted == FIRST
    assert flashing.is_untold(100.0 + LAG_S - 0.1)
    flashing.know(None, 100.0 + LAG_S)
    assert flashing.wanted is None


def test_what_was_asked_elsewhere_is_known_from_the_directory() -> None:
    flashing = Flashing()
    flashing.know(FIRST, 100.0)
    assert (flashing.wanted, flashing.is_untold(100.0)) == (FIRST, False)
    assert flashing.is_of(1000, 9)
    assert not flashing.is_of(1001, 9)
    flashing.know(None, 100.0)
    assert flashing.wanted is None


def test_a_file_whose_fate_is_known_is_not_wanted_again_by_what_the_directory_still_says() -> None:
    flashing = Flashing()
    flashing.ask(FIRST, 100.0)
    flashing.end()
    flashing.know(FIRST, 101.0)
    assert flashing.wanted is None
    flashing.know(SECOND, 102.0)
    assert flashing.wanted == SECOND


def test_once_the_directory_has_heard_of_it_the_directory_knows_best() -> None:
    flashing = Flashing()
    flashing.ask(FIRST, 100.0)
    flashing.know(FIRST, 101.0)
    flashing.know(None, 101.1)
    assert flashing.wanted is None


def test_what_was_asked_for_before_is_known_also_when_it_is_over() -> None:
    flashing = Flashing()
    assert not flashing.knows(FIRST.flash_id)
    flashing.ask(FIRST, 100.0)
    assert flashing.knows(FIRST.flash_id)
    flashing.end()
    assert flashing.knows(FIRST.flash_id)
    assert not flashing.knows(SECOND.flash_id)


def test_a_device_that_went_to_another_gateway_takes_its_file_along() -> None:
    flashing = Flashing()
    flashing.ask(FIRST, 100.0)
    flashing.left()
    assert flashing.wanted is None
    flashing.know(FIRST, 101.0)
    assert flashing.wanted == FIRST


@given(st.lists(st.sampled_from(["ask 1", "ask 2", "know 1", "know 2", "know nothing", "end", "left", "wait"])))
def test_what_is_wanted_was_asked_for_and_is_not_over(steps: list[str]) -> None:
    flashing, now = Flashing(), 0.0
    files = {"1": FIRST, "2": SECOND}
    over: FlashEntry | None = None
    for step in steps:
        word, _, what = step.partition(" ")
        match word:
            case "ask":
                flashing.ask(files[what], now)
                over = None if over == files[what] else over  # somebody wants it anew
                assert flashing.wanted == files[what]
            case "know":
                flashing.know(files.get(what), now)
            case "end":
                over = flashing.wanted or over
                flashing.end()
                assert flashing.wanted is None
            case "left":
                flashing.left()
            case _:
                now += LAG_S
        assert flashing.wanted is None or flashing.wanted != over
