from __future__ import annotations

import pytest

from shared.errors import Unavailable
from shared.events.fields import FORGOTTEN
from shared.people.addresses import MAX_ADDRESS, Addresses
from shared.people.keys import Gone, Keys
from tests.keys import MemoryTable

ADA, BOB = "account:" + "1" * 24, "customer:" + "2" * 24
ADDRESS = "2001:db8::17"


def person(actor: str) -> str:
    return actor.partition(":")[2]


def addresses(table: MemoryTable) -> Addresses:
    return Addresses(Keys(table, lambda person: True))


@pytest.fixture
def table() -> MemoryTable:
    table = MemoryTable()
    for actor in (ADA, BOB):
        table.create(person(actor))
    return table


@pytest.mark.parametrize("actor", [ADA, BOB])
def test_whoever_has_the_key_reads_where_somebody_was(table: MemoryTable, actor: str) -> None:
    kept = addresses(table).sealed(actor, ADDRESS)
    assert kept is not None
    assert ADDRESS not in kept
    assert addresses(table).opened(actor, kept) == ADDRESS


def test_it_reads_as_forgotten_once_the_person_is(table: MemoryTable) -> None:  # EVT-5
    kept = addresses(table).sealed(ADA, ADDRESS)
    table.destroy(person(ADA))
    assert addresses(table).opened(ADA, kept) == FORGOTTEN
    assert addresses(table).sealed(ADA, ADDRESS) is None


def test_it_is_nobody_elses(table: MemoryTable) -> None:
    kept = addresses(table).sealed(ADA, ADDRESS)
    table.people[person(BOB)] = table.people[person(ADA)]
    assert addresses(table).opened(BOB, kept) == FORGOTTEN


def test_no_key_is_made_for_an_address() -> None:
    table = MemoryTable()
    assert addresses(table).sealed(ADA, ADDRESS) is None
    assert table.people == {}


def test_a_programs_is_nobodys(table: MemoryTable) -> None:
    kept = addresses(table).sealed("client:lamp-1234", ADDRESS)
    assert kept == ADDRESS
    assert addresses(table).opened("client:lamp-1234", kept) == ADDRESS


@pytest.mark.parametrize("actor", ["anonymous", "system:orgs", "device:" + "d" * 24])
def test_of_whoever_is_unknown_it_is_not_kept(table: MemoryTable, actor: str) -> None:
    assert addresses(table).sealed(actor, ADDRESS) is None


@pytest.mark.parametrize("actor", [ADA, "client:lamp-1234"])
def test_no_address_is_no_address_and_a_long_one_is_cut(table: MemoryTable, actor: str) -> None:
    kept = addresses(table)
    assert kept.sealed(actor, "") is None
    assert kept.opened(actor, kept.sealed(actor, "x" * 1_000)) == "x" * MAX_ADDRESS
    assert kept.opened(actor, None) is None


def test_a_command_does_not_wait_for_keys_that_are_away() -> None:
    class Away(MemoryTable):
        def find(self, person: str) -> bytes | Gone | None:
            raise Unavailable("no key table")

    assert addresses(Away()).sealed(ADA, ADDRESS) is None
