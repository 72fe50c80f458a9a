from __future__ import annotations

from dataclasses import dataclass

import pytest

from shared.errors import Unavailable
from shared.people.keys import DESTROYED, REMEMBERED_S, Keys
from tests.keys import MemoryTable

ADA, BOB = "a" * 24, "b" * 24


@dataclass
class Time:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def nobody(_person: str) -> bool:
    return False


def test_somebody_new_gets_a_key_and_keeps_it() -> None:
    keys = Keys(MemoryTable(), nobody)
    assert keys.find(ADA) is None
    made = keys.key_for(ADA)
    assert isinstance(made, bytes)
    assert keys.key_for(ADA) == keys.find(ADA) == made != keys.key_for(BOB)


def test_a_key_that_is_lost_is_never_made_anew() -> None:
    table = MemoryTable()
    keys = Keys(table, lambda person: person == ADA)
    with pytest.raises(Unavailable, match=r"the key of account a+ is missing.*restore the key table"):
        keys.key_for(ADA)
    assert table.people == {}
    assert keys.find(ADA) is None
    assert isinstance(keys.key_for(BOB), bytes)


def test_a_destroyed_key_stays_destroyed() -> None:
    table = MemoryTable()
    keys = Keys(table, nobody)
    keys.key_for(ADA)
    keys.destroy(ADA)
    keys.destroy(ADA)
    assert keys.find(ADA) is keys.key_for(ADA) is DESTROYED
    assert Keys(table, nobody).key_for(ADA) is DESTROYED


def test_somebody_without_a_key_can_be_forgotten_and_gets_none_afterwards() -> None:
    keys = Keys(MemoryTable(), nobody)
    keys.destroy(ADA)
    assert keys.key_for(ADA) is DESTROYED


def test_a_key_is_remembered_for_a_while_and_then_asked_for_again() -> None:
    table, time = MemoryTable(), Time()
    keys = Keys(table, nobody, monotonic=time)
    keys.key_for(ADA)
    asked = table.asked
    time.now_s += REMEMBERED_S - 0.1
    assert isinstance(keys.find(ADA), bytes)
    assert table.asked == asked
    table.destroy(ADA)  # by another process, of which this one saw nothing
    time.now_s += 0.1
    assert keys.find(ADA) is DESTROYED


def test_that_a_key_is_not_there_is_not_remembered() -> None:
    table = MemoryTable()
    keys = Keys(table, nobody)
    assert keys.find(ADA) is None
    made = table.create(ADA)
    assert keys.find(ADA) == made


def test_who_was_seen_to_be_forgotten_has_no_key_from_then_on() -> None:
    table = MemoryTable()
    keys = Keys(table, nobody)
    keys.key_for(ADA)
    keys.forgotten(ADA)
    assert isinstance(table.find(ADA), bytes)
    assert keys.find(ADA) is keys.key_for(ADA) is DESTROYED


def test_what_is_remembered_is_bounded() -> None:
    table = MemoryTable()
    keys = Keys(table, nobody, most=3)
    made = [keys.key_for(f"{number}") for number in range(10)]
    asked = table.asked
    assert [keys.find(f"{number}") for number in (7, 8, 9)] == made[7:]
    assert table.asked == asked
    assert keys.find("0") == made[0]
    assert table.asked == asked + 1
    for number in range(10):
        table.destroy(f"{number}")
        keys.forgotten(f"{number}")
    assert all(keys.find(f"{number}") is DESTROYED for number in range(10))


def test_a_secret_of_the_installation_is_the_same_in_every_process() -> None:
    table = MemoryTable()
    first, second = Keys(table, nobody), Keys(table, nobody)
    assert first.secret("names") == second.secret("names") == first.secret("names")
    assert first.secret("others") != first.secret("names")
