from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.auth.permissions import (
    ANONYMOUS,
    NOTHING,
    OF_NOTHING,
    ONLY_CUSTOMERS,
    PERMISSIONS,
    RANKS,
    Caller,
    Thing,
    judge,
    refusal,
    rule_of,
)
from shared.errors import Misuse

OURS, OTHER = "a" * 24, "b" * 24
ADA, BOB = "1" * 24, "2" * 24
PRODUCT = Thing(OURS, 1000)
TEAM_RULES = [name for name, rule in PERMISSIONS.items() if rule.to in RANKS]
ROLES: list[Any] = ["readonly", "support", "developer", "administrator", "owner"]

orgs = st.sampled_from([None, OURS, OTHER])
products = st.sampled_from([None, 1000, 1001])
people = st.sampled_from([None, ADA, BOB])
callers = st.one_of(
    st.just(ANONYMOUS),
    st.builds(Caller, kind=st.just("account"), account_id=st.sampled_from([ADA, BOB]), org_id=orgs).flatmap(
        lambda caller: st.sampled_from([replace(caller, role=role) for role in (ROLES if caller.org_id else [None])])
    ),
    st.builds(
        Caller, kind=st.just("customer"), account_id=st.sampled_from([ADA, BOB]), org_id=orgs, product_id=products
    ),
    st.builds(
        Caller, kind=st.just("client"), org_id=orgs, product_id=products, scope=st.sampled_from(["", ONLY_CUSTOMERS])
    ),
)
things = st.builds(Thing, org_id=orgs, product_id=products, claimed_by=people)
permissions = st.sampled_from(sorted(PERMISSIONS))


def member(role: Any, org_id: str = OURS) -> Caller:
    return Caller("account", ADA, org_id, role)


@given(permissions, callers, things)
def test_an_inactive_subscription_closes_to_the_team_what_it_may_and_nothing_to_anybody_else(
    permission: str, caller: Caller, thing: Thing
) -> None:  # BIL-7
    paid, inactive = judge(permission, caller, thing), judge(permission, caller, replace(thing, inactive=True))
    assert inactive == paid or (paid, inactive) == ("yes", "closed")
    if inactive == "closed":
        assert caller.kind in ("account", "client")
        assert not (rule_of(permission).keeper and caller.account_id and caller.account_id == thing.claimed_by)
        assert not permission.startswith("billing.")


@pytest.mark.parametrize("permission", TEAM_RULES)
def test_a_role_may_what_the_roles_below_it_may_and_full_access_is_the_default(permission: str) -> None:  # ORG-5
    outcomes = [judge(permission, member(role), PRODUCT) for role in ROLES]
    least = ROLES.index(rule_of(permission).to)
    assert outcomes == ["forbidden"] * least + ["yes"] * (len(ROLES) - least)


@pytest.mark.parametrize("permission", TEAM_RULES)
def test_who_is_not_of_the_team_sees_nothing(permission: str) -> None:
    for caller in (ANONYMOUS, Caller("account", BOB), member("administrator", OTHER), Caller("client", org_id=OTHER)):
        assert judge(permission, caller, PRODUCT) == "hidden"
    assert judge(permission, member("administrator"), NOTHING) == "hidden"


@pytest.mark.parametrize("permission", TEAM_RULES)
def test_a_client_may_in_its_product_what_is_not_for_people_alone(permission: str) -> None:
    expected = "forbidden" if rule_of(permission).people else "yes"
    for limited_to in (None, 1000):
        client = Caller("client", org_id=OURS, product_id=limited_to, client_id="c-1234")
        assert judge(permission, client, PRODUCT) == expected
        assert judge(permission, client, Thing(OURS)) == "forbidden"
    assert judge(permission, Caller("client", org_id=OURS, product_id=1001), PRODUCT) == "hidden"


@pytest.mark.parametrize("permission", [name for name in TEAM_RULES if not rule_of(name).keeper])
def test_a_customer_may_not_even_read_what_is_the_teams(permission: str) -> None:  # ORG-6
    assert judge(permission, Caller("customer", BOB, OURS, product_id=1000), PRODUCT) == "forbidden"
    assert judge(permission, Caller("customer", BOB, OURS, product_id=1001), PRODUCT) == "hidden"


@pytest.mark.parametrize("permission", [name for name, rule in PERMISSIONS.items() if rule.keeper])
def test_whoever_has_claimed_a_device_may_use_it_and_nobody_elses(permission: str) -> None:  # CUS-5
    device = Thing(OURS, 1000, claimed_by=ADA)
    for keeper in (Caller("account", ADA), Caller("account", ADA, OTHER, "readonly")):
        assert judge(permission, keeper, device) == "yes"
    theirs = "yes" if rule_of(permission).customers else "forbidden"
    assert judge(permission, Caller("customer", ADA, OURS, product_id=1000), device) == theirs
    assert judge(permission, Caller("customer", ADA, OURS), device) == theirs
    for other in (
        Caller("account", BOB),
        Caller("customer", BOB, OURS, product_id=1000),
        Caller("customer", ADA, OURS, product_id=1001),
        Caller("customer", ADA, OTHER),
    ):
        assert judge(permission, other, device) == "hidden"
    assert judge(permission, Caller("account", ADA), replace(device, claimed_by=None)) == "hidden"


@given(permissions, callers, things)
def test_only_a_customer_of_the_product_or_a_client_of_it_or_its_team_learns_that_a_thing_exists(
    permission: str, caller: Caller, thing: Thing
) -> None:
    rule = rule_of(permission)
    if rule.to in ("anonymous", *OF_NOTHING):
        return
    if judge(permission, caller, thing) != "hidden":
        is_keeper = rule.keeper and caller.account_id is not None and caller.account_id == thing.claimed_by
        assert is_keeper or (thing.org_id is not None and caller.org_id == thing.org_id)


@given(permissions, things, orgs)
def test_a_larger_role_never_sees_or_does_less(permission: str, thing: Thing, org_id: str | None) -> None:
    more = {"hidden": 0, "forbidden": 1, "yes": 2}
    outcomes = [more[judge(permission, member(role, org_id or OTHER), thing)] for role in ROLES]
    assert outcomes == sorted(outcomes)


@given(permissions, callers, things)
def test_nobody_is_told_of_what_they_may_not_see(permission: str, caller: Caller, thing: Thing) -> None:
    """Whoever is of another organization, or of none, gets nothing between yes and what does not exist."""
    if rule_of(permission).to in RANKS and caller.org_id != thing.org_id:
        assert judge(permission, caller, thing) != "forbidden"


@given(permissions, callers, things)
def test_a_client_that_only_creates_customers_does_nothing_else(permission: str, caller: Caller, thing: Thing) -> None:
    narrow = replace(caller, scope=ONLY_CUSTOMERS)
    if caller.kind != "anonymous" and permission != "customers.create" and rule_of(permission).to != "anonymous":
        assert judge(permission, narrow, thing) != "yes"


@given(permissions, things)
def test_whoever_is_nobody_may_what_is_open_to_all(permission: str, thing: Thing) -> None:
    assert judge(permission, ANONYMOUS, thing) == ("yes" if rule_of(permission).to == "anonymous" else "hidden")


@pytest.mark.parametrize(
    ("permission", "may"),
    [
        ("tokens.read_own", {"account", "customer", "client"}),  # contract 2.3
        ("tokens.revoke_own", {"account", "customer", "client"}),
        ("tokens.revoke_all", {"account", "customer"}),
        ("tokens.read", {"account"}),
    ],
)
def test_who_holds_a_token_may_look_at_it_and_give_it_up(permission: str, may: set[str]) -> None:
    kinds: tuple[Any, ...] = ("anonymous", "account", "customer", "client")
    assert {kind for kind in kinds if judge(permission, Caller(kind, org_id=OURS)) == "yes"} == may


def test_a_refusal_names_what_it_takes() -> None:
    assert refusal("firmware.release") == "This takes the role developer in the team."
    assert refusal("orgs.configure") == "This takes the role administrator in the team, and a person."
    assert refusal("orgs.create") == "This is for accounts only."


def test_a_permission_outside_the_table_is_a_bug() -> None:
    with pytest.raises(Misuse, match="in no table"):
        judge("fleets.dance", member("owner"))
