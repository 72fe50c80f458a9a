from __future__ import annotations

import re
from datetime import timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orgs.names import (
    LAST_SUFFIX,
    LONGEST_SLUG,
    RENEWED_AFTER,
    TAKEN_OVER_AFTER,
    Reservation,
    Reserve,
    comparable,
    decide,
    evolve,
    like_an_id,
    slug_of,
    stream_of,
    with_suffixes,
)
from shared.errors import Conflict, Refused
from shared.events.orgs import NameReserved

MINE, OTHERS = "account-1", "account-2"
HELD_BY_OTHERS = Reservation(OTHERS, 1)


def wish(**details: object) -> Reserve:
    return Reserve("org_slug", "acme", MINE, seen=1, **details)  # type: ignore[arg-type]


def test_a_free_name_is_reserved() -> None:
    event = NameReserved("org_slug", "acme", MINE)
    assert decide(Reservation(), Reserve("org_slug", "acme", MINE)) == [event]
    assert evolve(Reservation(), event) == Reservation(MINE, 1)


@pytest.mark.parametrize("age", [timedelta(), TAKEN_OVER_AFTER * 1000])
def test_a_name_that_is_carried_is_taken_however_long(age: timedelta) -> None:
    with pytest.raises(Refused) as refusal:
        decide(HELD_BY_OTHERS, wish(carried=True, age=age))
    assert refusal.value.code == "name_taken"


def test_a_name_whose_holder_never_came_to_be_is_kept_for_a_minute_and_then_free() -> None:
    with pytest.raises(Refused):
        decide(HELD_BY_OTHERS, wish(age=TAKEN_OVER_AFTER - timedelta(milliseconds=1)))
    assert decide(HELD_BY_OTHERS, wish(age=TAKEN_OVER_AFTER)) == [NameReserved("org_slug", "acme", MINE)]


def test_a_holder_does_not_reserve_again_at_once_but_when_the_reservation_grows_old() -> None:
    assert decide(Reservation(MINE, 1), wish(age=timedelta(seconds=1))) == []
    assert decide(Reservation(MINE, 1), wish(age=RENEWED_AFTER)) == [NameReserved("org_slug", "acme", MINE)]
    assert decide(Reservation(MINE, 1), wish(carried=True, age=RENEWED_AFTER)) == []


def test_a_creation_takes_its_reservation_along_to_another_holder_unless_the_old_one_carries_the_name() -> None:
    assert decide(HELD_BY_OTHERS, wish(moved_from=OTHERS)) == [NameReserved("org_slug", "acme", MINE)]
    with pytest.raises(Refused):
        decide(HELD_BY_OTHERS, wish(moved_from=OTHERS, carried=True))


def test_what_was_not_seen_is_looked_at_again() -> None:
    with pytest.raises(Conflict):
        decide(Reservation(OTHERS, 2), wish(carried=True))


@given(st.emails())
def test_an_address_is_one_name_in_any_case(address: str) -> None:
    assert stream_of("email", address.upper()) == stream_of("email", f" {address.lower()} ")


def test_width_and_composition_do_not_make_another_name() -> None:
    assert comparable("Ａｃｍｅ Café") == comparable("ACME CAFE\u0301")
    assert comparable("straße") == comparable("STRASSE")


@given(st.text(max_size=200))
def test_half_characters_have_a_stream_too(name: str) -> None:
    assert re.fullmatch(r"name-email-[0-9a-f]{40}", stream_of("email", name + "\ud800"))


def test_kinds_of_names_do_not_meet() -> None:
    assert stream_of("org_slug", "acme") != stream_of("product_slug", "acme")


@given(st.text(max_size=200), st.sampled_from(["org", "product"]))
def test_every_name_has_a_slug_that_fits_with_every_suffix_and_reads_as_no_id(name: str, fallback: str) -> None:
    for slug in (slug_of(name, fallback), f"{slug_of(name, fallback)}-{LAST_SUFFIX}"):
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
        assert len(slug) <= LONGEST_SLUG
        assert not like_an_id(slug)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Smart Lamp", "smart-lamp"),
        ("  --Röhre №1!? ", "r-hre-1"),
        ("Лампа", "product"),
        ("2000", "product-2000"),
        ("0123456789abcdef01234567", "product-0123456789abcdef01234567"),
    ],
)
def test_slugs_are_made_of_names_as_the_contract_says(name: str, slug: str) -> None:
    assert slug_of(name, "product") == slug


def test_suffixes_count_from_two() -> None:
    assert list(islice(with_suffixes("lamp"), 3)) == ["lamp", "lamp-2", "lamp-3"]
    assert list(with_suffixes("lamp"))[-1] == f"lamp-{LAST_SUFFIX}"
