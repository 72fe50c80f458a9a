from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.orgs.people.account_commands import (
    AskReset,
    AskVerification,
    ChangeEmail,
    ChangePassword,
    ChangeProfile,
    CreateAccount,
    EndTokens,
    FoundOrganization,
    JoinOrganization,
    LeaveOrganization,
    ResetPassword,
    VerifyEmail,
)
from services.orgs.people.accounts import ACCOUNTS, Account, decide
from services.orgs.people.links import MAILED_AGAIN_AFTER, RESET_LIFE, VERIFY_LIFE
from shared.errors import NotFound, Refused
from shared.events.orgs import (
    AccountCreated,
    AccountForgotten,
    EmailChanged,
    EmailVerificationAsked,
    EmailVerified,
    OrganizationFounded,
    OrganizationJoined,
    OrganizationLeft,
    PasswordChanged,
    PasswordResetAsked,
    ProfileChanged,
    TokensEnded,
)

CREATED = AccountCreated("a" * 24, "ada@example.com", "$argon2id$", "Ada", "Lovelace", "")
FOUNDED = OrganizationFounded("a" * 24, "ada@example.com", "b" * 24, "Acme", "acme", "yearly")
FOUND = FoundOrganization("b" * 24, "Acme", "acme", "yearly")


def after(*events: Any) -> Account:
    state = ACCOUNTS.initial
    for event in events:
        state = ACCOUNTS.evolve(state, event)
    return state


def test_an_account_is_created_once() -> None:
    command = CreateAccount("a" * 24, "ada@example.com", "$argon2id$", "Ada", "Lovelace", "")
    assert decide(after(), command) == [CREATED]
    assert decide(after(CREATED), command) == []


def test_an_account_founds_an_organization_with_its_own_address() -> None:  # ORG-1
    assert decide(after(CREATED), FOUND) == [FOUNDED]


def test_founding_the_same_organization_again_changes_nothing() -> None:
    assert decide(after(CREATED, FOUNDED), FOUND) == []


def test_an_account_belongs_to_at_most_one_organization() -> None:  # ACC-4
    with pytest.raises(Refused) as refusal:
        decide(after(CREATED, FOUNDED), FoundOrganization("c" * 24, "Other", "other", "monthly"))
    assert refusal.value.code == "already_in_organization"


def test_nobody_founds_nothing() -> None:
    with pytest.raises(NotFound):
        decide(after(), FOUND)


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
A, B, N, M = "a" * 24, "b" * 24, "1" * 24, "2" * 24
VERIFY = EmailVerificationAsked(A, N, NOW + VERIFY_LIFE)
RESET = PasswordResetAsked(A, N, NOW + RESET_LIFE)


def refusal(state: Account, command: Any) -> str:
    with pytest.raises(Refused) as refused:
        decide(state, command)
    return refused.value.code


def test_a_new_account_is_mailed_a_link_that_proves_its_address() -> None:  # ACC-1
    command = CreateAccount(A, "ada@example.com", "$argon2id$", "Ada", "Lovelace", "", N, NOW)
    assert decide(after(), command) == [CREATED, VERIFY]


def test_a_link_proves_the_address_once_and_in_time() -> None:  # ACC-1
    state = after(CREATED, VERIFY)
    assert decide(state, VerifyEmail(N, NOW)) == [EmailVerified(A)]
    late = NOW + VERIFY_LIFE
    for other in (VerifyEmail(M, NOW), VerifyEmail(N, late)):
        assert refusal(state, other) == "invalid_verification_token"
    assert refusal(after(CREATED, VERIFY, EmailVerified(A)), VerifyEmail(N, NOW)) == "invalid_verification_token"
    newer = EmailVerificationAsked(A, M, NOW + VERIFY_LIFE)
    assert refusal(after(CREATED, VERIFY, newer), VerifyEmail(N, NOW)) == "invalid_verification_token"


def test_links_are_not_mailed_twice_in_a_minute_nor_to_a_proven_address() -> None:
    for asked, state in ((AskVerification, after(CREATED, VERIFY)), (AskReset, after(CREATED, RESET))):
        assert decide(state, asked(M, NOW + MAILED_AGAIN_AFTER - timedelta(seconds=1))) == []
        assert len(decide(state, asked(M, NOW + MAILED_AGAIN_AFTER))) == 1
    assert decide(after(CREATED, VERIFY, EmailVerified(A)), AskVerification(M, NOW + VERIFY_LIFE)) == []


def test_a_reset_ends_all_tokens_and_proves_the_address_it_was_mailed_to() -> None:  # ACC-1
    ended = TokensEnded(A, 1, "password_reset")
    changed = PasswordChanged(A, "$new$", "reset")
    assert decide(after(CREATED, RESET), ResetPassword(N, "$new$", NOW)) == [changed, ended, EmailVerified(A)]
    proven = after(CREATED, VERIFY, EmailVerified(A), RESET)
    assert decide(proven, ResetPassword(N, "$new$", NOW)) == [changed, ended]
    for state, command in (
        (after(CREATED, RESET, changed), ResetPassword(N, "$new$", NOW)),
        (after(CREATED, RESET), ResetPassword(M, "$new$", NOW)),
        (after(CREATED, RESET), ResetPassword(N, "$new$", NOW + RESET_LIFE)),
        (after(CREATED), ResetPassword(N, "$new$", NOW)),
    ):
        assert refusal(state, command) == "invalid_reset_token"


def test_a_new_address_is_not_proven_and_links_to_the_old_one_are_over() -> None:
    state = after(CREATED, VERIFY, EmailVerified(A), RESET)
    events = decide(state, ChangeEmail("ada@example.org", True, M, NOW))
    assert events == [
        EmailChanged(A, "ada@example.org"),
        EmailVerificationAsked(A, M, NOW + VERIFY_LIFE),
        TokensEnded(A, 1, "email_changed"),
    ]
    changed = after(CREATED, VERIFY, EmailVerified(A), RESET, *events)
    assert (changed.email, changed.verified, changed.reset) == ("ada@example.org", False, None)
    assert refusal(changed, ResetPassword(N, "$new$", NOW)) == "invalid_reset_token"
    assert decide(changed, ChangeEmail("ada@example.org", True, M, NOW)) == []


def test_tokens_end_with_the_password_if_that_is_asked_for() -> None:
    assert decide(after(CREATED), ChangePassword("$new$", False)) == [PasswordChanged(A, "$new$", "changed")]
    state = after(CREATED, TokensEnded(A, 4, "revoked"))
    assert decide(state, ChangePassword("$new$", True))[1:] == [TokensEnded(A, 5, "password_changed")]
    assert decide(state, EndTokens()) == [TokensEnded(A, 5, "revoked")]


def test_a_profile_that_is_said_again_is_no_news() -> None:
    assert decide(after(CREATED), ChangeProfile("Ada", "Lovelace", "")) == []
    assert decide(after(CREATED), ChangeProfile("Ada", "King", "")) == [ProfileChanged(A, "Ada", "King", "")]


def test_an_account_joins_one_organization_and_leaves_it() -> None:  # ACC-4
    joined = OrganizationJoined(A, "ada@example.com", B, N, "support")
    assert decide(after(CREATED, EmailVerified(A)), JoinOrganization(B, N, "support", "ada@example.com")) == [joined]
    for not_shown in (after(CREATED), after(CREATED, EmailVerified(A), EmailChanged(A, "eve@example.com"))):
        assert refusal(not_shown, JoinOrganization(B, N, "support", "ada@example.com")) == "email_not_verified"
    state = after(CREATED, EmailVerified(A), joined)
    assert decide(state, JoinOrganization(B, N, "support", "ada@example.com")) == []
    second = FoundOrganization("c" * 24, "Other", "other", "monthly")
    for other in (
        JoinOrganization(B, M, "support", "ada@example.com"),
        JoinOrganization("c" * 24, M, "support", "ada@example.com"),
        second,
    ):
        assert refusal(state, other) == "already_in_organization"
    for other_membership in (LeaveOrganization("c" * 24, N, "removed"), LeaveOrganization(B, M, "removed")):
        assert decide(state, other_membership) == []
    left = OrganizationLeft(A, B, "removed")
    assert decide(state, LeaveOrganization(B, N, "removed")) == [left]
    forgotten = after(CREATED, EmailVerified(A), joined, AccountForgotten(A))
    assert decide(forgotten, LeaveOrganization(B, N, "removed")) == [left]
    assert decide(
        after(CREATED, EmailVerified(A), joined, left), JoinOrganization("c" * 24, M, "owner", "ada@example.com")
    )


def test_slugs_of_organizations_that_it_founded_stay_its() -> None:
    other = OrganizationFounded(A, "ada@example.com", "c" * 24, "Other", "other", "yearly")
    state = after(CREATED, FOUNDED, OrganizationLeft(A, B, "left"), other)
    assert state.slugs == {"acme", "other"}
    assert state.org_id == "c" * 24


@pytest.mark.parametrize(
    "command",
    [EndTokens(), VerifyEmail(N, NOW), ChangeProfile("", "", ""), JoinOrganization(B, N, "owner", "ada@example.com")],
)
def test_nobody_does_anything_with_an_account_that_is_forgotten_or_never_was(command: Any) -> None:  # EVT-5
    for state in (after(), after(CREATED, VERIFY, AccountForgotten(A))):
        with pytest.raises(NotFound):
            decide(state, command)
