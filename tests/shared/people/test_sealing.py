from __future__ import annotations

import os
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events.fields import FORGOTTEN, UNOPENED
from shared.people.sealing import KEY_BYTES, NotSealed, OtherKey, is_sealed, seal, unseal

KEY, OTHER = bytes(range(KEY_BYTES)), bytes(KEY_BYTES)
WHERE = "AccountCreated/email/" + "a" * 24


@given(st.text(st.characters(codec="utf-8"), max_size=512), st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
def test_any_text_comes_back_with_its_key(text: str, key: bytes) -> None:
    sealed = seal(key, text, WHERE)
    assert is_sealed(sealed)
    assert unseal(key, sealed, WHERE) == text


def test_the_same_text_is_never_sealed_alike() -> None:
    assert len({seal(KEY, "ada@example.com", WHERE) for _ in range(100)}) == 100


def test_nothing_of_the_text_is_left_in_what_is_sealed() -> None:
    assert "adaada" not in seal(KEY, "ada" * 20, WHERE)


def test_with_another_key_it_is_known_that_the_right_one_is_gone() -> None:
    with pytest.raises(OtherKey):
        unseal(OTHER, seal(KEY, "x", WHERE), WHERE)


def test_a_text_that_was_moved_elsewhere_is_noticed() -> None:
    sealed = seal(KEY, "x", WHERE)
    for elsewhere in ("AccountCreated/email/" + "b" * 24, "AccountCreated/first_name/" + "a" * 24, ""):
        with pytest.raises(NotSealed, match="altered, or belongs elsewhere"):
            unseal(KEY, sealed, elsewhere)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_text_that_was_altered_is_noticed(place: int, change: int) -> None:
    prefix, _, body = seal(KEY, "ada@example.com", WHERE).rpartition(":")
    raw = bytearray(b64decode(body))
    raw[place % len(raw)] ^= change
    with pytest.raises(NotSealed):
        unseal(KEY, f"{prefix}:{b64encode(raw).decode()}", WHERE)


@pytest.mark.parametrize("text", ["", "x", FORGOTTEN, UNOPENED, "sealed:1:", "sealed:2:aa:bb", "ada@example.com"])
def test_plain_text_is_not_taken_for_sealed_text(text: str) -> None:
    with pytest.raises(NotSealed):
        unseal(KEY, text, WHERE)


@given(st.binary(max_size=40))
def test_rubbish_behind_the_right_mark_is_not_taken_for_sealed_text(rubbish: bytes) -> None:
    mark = seal(KEY, "x", WHERE).split(":")[2]
    for body in (b64encode(rubbish).decode(), rubbish.decode("latin-1")):
        with pytest.raises(NotSealed):
            unseal(KEY, f"sealed:1:{mark}:{body}", WHERE)


def test_the_mark_of_a_key_is_not_a_part_of_it() -> None:
    key = os.urandom(KEY_BYTES)
    assert seal(key, "x", WHERE).split(":")[2] not in key.hex()
