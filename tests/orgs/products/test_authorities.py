from __future__ import annotations

import pytest

from services.orgs.products.authorities import (
    AUTHORITIES,
    MAX_AUTHORITIES,
    AddAuthority,
    Authorities,
    Event,
    RemoveAuthority,
    decide,
    org_of,
    stream_of,
)
from shared.errors import NotFound, Refused
from shared.events.orgs import DeviceAuthorityAdded, DeviceAuthorityRemoved

ORG = "b" * 24


def addition(number: int = 0) -> AddAuthority:
    return AddAuthority(ORG, f"{number:024x}", "pem", f"{number:064x}", names_devices=True)


def added(number: int = 0) -> DeviceAuthorityAdded:
    return DeviceAuthorityAdded(ORG, f"{number:024x}", "pem", f"{number:064x}", names_devices=True)


def after(*events: Event) -> Authorities:
    state = AUTHORITIES.initial
    for event in events:
        state = AUTHORITIES.evolve(state, event)
    return state


def test_an_authority_is_added_with_all_that_was_said_of_it() -> None:  # MQC-6
    assert decide(after(), addition()) == [added()]


def test_the_same_certificate_is_not_added_twice() -> None:
    again = AddAuthority(ORG, "f" * 24, "pem", f"{0:064x}", names_devices=False)
    with pytest.raises(Refused) as refusal:
        decide(after(added()), again)
    assert refusal.value.code == "authority_exists"


def test_an_organization_has_ten_authorities_at_most() -> None:
    full = after(*map(added, range(MAX_AUTHORITIES)))
    with pytest.raises(Refused) as refusal:
        decide(full, addition(MAX_AUTHORITIES))
    assert (MAX_AUTHORITIES, refusal.value.code) == (10, "too_many_authorities")
    fewer = AUTHORITIES.evolve(full, DeviceAuthorityRemoved(ORG, added(3).authority_id))
    assert decide(fewer, addition(MAX_AUTHORITIES)) == [added(MAX_AUTHORITIES)]


def test_an_authority_is_removed_once_and_may_come_back() -> None:
    removal = RemoveAuthority(ORG, added().authority_id)
    removed = DeviceAuthorityRemoved(ORG, added().authority_id)
    assert decide(after(added()), removal) == [removed]
    gone = after(added(), removed)
    with pytest.raises(NotFound):
        decide(gone, removal)
    assert decide(gone, addition()) == [added()]


def test_a_stream_names_its_organization() -> None:
    assert org_of(stream_of(ORG)) == ORG
