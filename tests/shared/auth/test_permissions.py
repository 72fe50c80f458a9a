from __future__ import annotations

import pytest

from shared.auth.permissions import ANONYMOUS, PERMISSIONS, Caller, allowed, role_for
from shared.errors import Misuse

OUTSIDER = Caller(account_id="a" * 24)
STRANGER = Caller(account_id="b" * 24, org_id="other")
MEMBER = Caller(account_id="c" * 24, org_id="ours")


@pytest.mark.parametrize("permission", sorted(PERMISSIONS))
def test_each_role_may_what_the_table_says(permission: str) -> None:
    may = [allowed(permission, caller, "ours") for caller in (ANONYMOUS, OUTSIDER, STRANGER, MEMBER)]
    assert (
        may
        == {
            "anonymous": [True, True, True, True],
            "user": [False, True, True, True],
            "member": [False, False, False, True],
        }[role_for(permission)]
    )


def test_nobody_is_a_member_of_what_does_not_exist() -> None:
    assert not any(allowed("products.read", caller, None) for caller in (ANONYMOUS, OUTSIDER, STRANGER, MEMBER))


def test_a_caller_without_account_is_no_member_even_if_an_organization_is_named() -> None:
    assert not allowed("products.read", Caller(account_id=None, org_id="ours"), "ours")


def test_a_permission_outside_the_table_is_a_bug() -> None:
    with pytest.raises(Misuse, match="in no table"):
        allowed("fleets.dance", MEMBER, "ours")
