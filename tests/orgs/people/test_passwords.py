from __future__ import annotations

import pytest
from argon2 import PasswordHasher, extract_parameters

from services.orgs.people.passwords import LONGEST, NOBODYS, SHORTEST, hashed, matches
from shared.errors import Refused


def test_a_password_matches_its_hash_and_no_other_does() -> None:
    kept = hashed("correct horse")
    assert kept.startswith("$argon2id$")
    assert len(kept) <= 512
    assert matches(kept, "correct horse")
    assert not matches(kept, "correct horsf")


def test_nobody_logs_in_without_an_account() -> None:
    assert not matches(None, "xxxxxxxx")
    PasswordHasher().verify(NOBODYS, "xxxxxxxx")


def test_an_unknown_account_costs_the_same_work_as_a_known_one() -> None:
    assert extract_parameters(NOBODYS) == extract_parameters(hashed("correct horse"))


@pytest.mark.parametrize("length", [0, SHORTEST - 1, LONGEST + 1])
def test_passwords_of_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(Refused) as refusal:
        hashed("x" * length)
    assert refusal.value.code == "invalid_password"


def test_a_password_that_could_not_be_kept_matches_nothing() -> None:
    assert not matches(hashed("x" * LONGEST), "x" * (LONGEST + 1))


def test_half_a_character_is_a_character_of_a_password() -> None:
    assert matches(hashed("seven...\ud83d"), "seven...\ud83d")
