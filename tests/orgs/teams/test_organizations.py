from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from services.orgs.teams.organization_commands import (
    AcceptInvitation,
    ChangeRole,
    CreateOrganization,
    DeclineInvitation,
    InviteMember,
    RemoveMember,
    RenameOrganization,
    WithdrawInvitation,
)
from services.orgs.teams.organizations import INVITATION_LIFE, MAX_PENDING, ORGANIZATIONS, Organization, decide
from shared.errors import NotFound, Refused
from shared.events.orgs import (
    InvitationAccepted,
    InvitationDeclined,
    InvitationWithdrawn,
    MemberInvited,
    MemberJoined,
    MemberRemoved,
    MemberRoleChanged,
    OrganizationCreated,
    OrganizationFounded,
    OrganizationRenamed,
)

COMMAND = CreateOrganization(OrganizationFounded("a" * 24, "ada@example.com", "b" * 24, "Acme", "acme", "yearly"))
CREATED = OrganizationCreated("b" * 24, "Acme", "acme", "yearly", "a" * 24, "ada@example.com")
JOINED = MemberJoined("b" * 24, "a" * 24, "ada@example.com", "administrator")


def test_the_founder_is_the_first_and_only_member() -> None:  # ORG-2
    assert decide(Organization(), COMMAND) == [CREATED, JOINED]


def test_an_organization_is_created_once() -> None:
    state = ORGANIZATIONS.evolve(ORGANIZATIONS.evolve(Organization(), CREATED), JOINED)
    assert state.created == CREATED
    assert decide(state, COMMAND) == []


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORG, ADA, BOB, EVE = "b" * 24, "a" * 24, "c" * 24, "d" * 24
INVITED = MemberInvited(ORG, "1" * 24, BOB, "bob@example.com", "support", ADA, NOW + INVITATION_LIFE)


def after(*events: Any) -> Organization:
    state = Organization()
    for event in (CREATED, JOINED, *events):
        state = ORGANIZATIONS.evolve(state, event)
    return state


def refusal(state: Organization, command: Any) -> str:
    with pytest.raises(Refused) as refused:
        decide(state, command)
    return refused.value.code


def invite(account_id: str = BOB, **changes: Any) -> InviteMember:
    given = {"role": "support", "belongs": False, "by": ADA, "now": NOW} | changes
    return InviteMember("1" * 24, account_id, "bob@example.com", **given)


def member(account_id: str, role: Any = "administrator") -> MemberJoined:
    return MemberJoined(ORG, account_id, "x@example.com", role)


def test_an_account_is_invited_for_a_while() -> None:  # ORG-3
    assert decide(after(), invite()) == [INVITED]


def test_each_reason_not_to_invite_has_its_own_code() -> None:  # ORG-3
    assert refusal(after(), invite(belongs=True)) == "already_in_organization"
    assert refusal(after(member(BOB)), invite()) == "already_in_organization"
    assert refusal(after(INVITED), invite()) == "invitation_pending"
    assert decide(after(INVITED), invite(now=NOW + INVITATION_LIFE))
    assert decide(after(INVITED, InvitationDeclined(ORG, "1" * 24, BOB)), invite())
    many = [
        MemberInvited(ORG, f"{n:024x}", f"{n:024x}", "x@example.com", "support", ADA, NOW + INVITATION_LIFE)
        for n in range(MAX_PENDING)
    ]
    assert refusal(after(*many), invite()) == "too_many_invitations"


def test_the_invited_joins_with_the_role_of_the_invitation() -> None:  # ORG-4, ORG-5
    accept = AcceptInvitation("1" * 24, BOB, "bob@example.com", NOW)
    events = decide(after(INVITED), accept)
    assert events == [
        InvitationAccepted(ORG, "1" * 24, BOB),
        MemberJoined(ORG, BOB, "bob@example.com", "support"),
    ]
    assert decide(after(INVITED, *events), accept) == []


def test_an_invitation_is_answered_once_by_whom_it_is_for_and_in_time() -> None:  # ORG-4
    declined = InvitationDeclined(ORG, "1" * 24, BOB)
    assert decide(after(INVITED), DeclineInvitation("1" * 24, BOB, NOW)) == [declined]
    assert refusal(after(INVITED, declined), AcceptInvitation("1" * 24, BOB, "x", NOW)) == "already_answered"
    assert refusal(after(INVITED, declined), DeclineInvitation("1" * 24, BOB, NOW)) == "already_answered"
    joined = (InvitationAccepted(ORG, "2" * 24, BOB), MemberJoined(ORG, BOB, "bob@example.com", "support"))
    again = after(INVITED, declined, *joined)  # with a second invitation
    assert refusal(again, AcceptInvitation("1" * 24, BOB, "x", NOW)) == "already_answered"
    withdrawn = InvitationWithdrawn(ORG, "1" * 24, BOB)
    for state, command in (
        (after(INVITED), AcceptInvitation("1" * 24, EVE, "x", NOW)),
        (after(INVITED), AcceptInvitation("2" * 24, BOB, "x", NOW)),
        (after(INVITED), AcceptInvitation("1" * 24, BOB, "x", NOW + INVITATION_LIFE)),
        (after(INVITED, withdrawn), AcceptInvitation("1" * 24, BOB, "x", NOW)),
        (after(INVITED, declined), DeclineInvitation("1" * 24, EVE, NOW)),
    ):
        with pytest.raises(NotFound):
            decide(state, command)


def test_an_invitation_is_withdrawn_while_it_is_open() -> None:  # ORG-4
    withdrawn = InvitationWithdrawn(ORG, "1" * 24, BOB)
    assert decide(after(INVITED), WithdrawInvitation(BOB, NOW)) == [withdrawn]
    assert decide(after(INVITED, withdrawn), WithdrawInvitation(BOB, NOW)) == []
    assert decide(after(INVITED), WithdrawInvitation(BOB, NOW + INVITATION_LIFE)) == []


def test_members_are_removed_but_never_the_last_one() -> None:  # ORG-5
    assert decide(after(member(BOB)), RemoveMember(BOB, "removed", ADA)) == [MemberRemoved(ORG, BOB, "removed")]
    for reason in ("left", "removed", "account_deleted"):
        assert refusal(after(), RemoveMember(ADA, reason, ADA)) == "last_member"
    with pytest.raises(NotFound):
        decide(after(), RemoveMember(BOB, "removed", ADA))


def test_somebody_keeps_full_access() -> None:  # ORG-5
    state = after(member(BOB, "developer"))
    assert refusal(state, RemoveMember(ADA, "left", ADA)) == "last_administrator"
    assert refusal(state, ChangeRole(ADA, "support", ADA)) == "last_administrator"
    assert decide(state, ChangeRole(ADA, "owner", ADA))
    assert decide(after(member(BOB, "owner")), ChangeRole(ADA, "support", ADA))


def test_a_role_is_changed_and_saying_it_again_is_no_news() -> None:  # ORG-5
    state = after(member(BOB))
    assert decide(state, ChangeRole(BOB, "readonly", ADA)) == [MemberRoleChanged(ORG, BOB, "readonly")]
    assert decide(state, ChangeRole(BOB, "administrator", ADA)) == []
    with pytest.raises(NotFound):
        decide(state, ChangeRole(EVE, "readonly", ADA))


def test_while_there_are_owners_only_they_decide_about_owners() -> None:  # ORG-5
    owned = after(member(BOB, "owner"), member(EVE))
    for command in (
        ChangeRole(BOB, "readonly", ADA),
        ChangeRole(ADA, "owner", ADA),
        RemoveMember(BOB, "removed", ADA),
        invite("e" * 24, role="owner"),
    ):
        assert refusal(owned, command) == "permission_denied"
    assert decide(owned, ChangeRole(ADA, "owner", BOB))
    assert decide(owned, RemoveMember(BOB, "left", BOB))
    assert decide(owned, RemoveMember(BOB, "account_deleted", None))
    assert decide(after(member(BOB)), ChangeRole(BOB, "owner", ADA))


def test_an_organization_is_renamed() -> None:
    assert decide(after(), RenameOrganization("Apex")) == [OrganizationRenamed(ORG, "Apex")]
    assert decide(after(OrganizationRenamed(ORG, "Apex")), RenameOrganization("Apex")) == []


def test_nothing_is_done_with_what_does_not_exist() -> None:
    with pytest.raises(NotFound):
        decide(Organization(), invite())
