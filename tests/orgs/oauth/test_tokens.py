from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.orgs.oauth.subjects import Subject
from services.orgs.oauth.tokens import (
    REFRESH_LIFE_S,
    TOKENS,
    IssueToken,
    RevokeToken,
    Token,
    UseRefreshToken,
    decide,
    token_id,
)
from shared.errors import NotFound, Refused
from shared.events.orgs import TokenIssued, TokenRevoked
from shared.ids import digest

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ACCOUNT = "a" * 24
ISSUE = IssueToken("1" * 36 + "beef", "2" * 40, Subject("account", ACCOUNT), "particle", 3600, "", NOW)
REFRESH = UseRefreshToken("2" * 40, "particle", NOW, "e" * 24)


def issued(command: IssueToken = ISSUE) -> TokenIssued:
    (event,) = decide(Token(), command)
    assert isinstance(event, TokenIssued)
    return event


def live() -> Token:
    return TOKENS.evolve(Token(), issued())


def test_a_token_is_kept_as_digests_and_its_last_four_characters() -> None:
    event = issued()
    assert (event.token_digest, event.refresh_digest) == (digest(ISSUE.access_token), digest(ISSUE.refresh_token))
    assert event.hint == "beef"
    assert event.token_id == token_id(ISSUE.access_token) == event.token_digest[:24]


def test_a_token_expires_when_it_was_asked_to_or_never() -> None:
    assert issued().expires_at == NOW + timedelta(hours=1)
    assert (
        issued(IssueToken("1" * 40, "2" * 40, Subject("account", ACCOUNT), "particle", 0, "", NOW)).expires_at is None
    )
    assert issued().refresh_expires_at == NOW + timedelta(days=14)


def test_only_its_account_revokes_a_token_and_only_once() -> None:
    revoked = TokenRevoked(token_id(ISSUE.access_token), ACCOUNT, "revoked")
    assert decide(live(), RevokeToken(ACCOUNT)) == [revoked]
    for state, account in ((live(), "b" * 24), (TOKENS.evolve(live(), revoked), ACCOUNT), (Token(), ACCOUNT)):
        with pytest.raises(NotFound):
            decide(state, RevokeToken(account))


def test_a_refresh_token_works_once() -> None:
    (event,) = decide(live(), REFRESH)
    assert isinstance(event, TokenRevoked)
    assert (event.reason, event.successor_id) == ("refreshed", "e" * 24)
    with pytest.raises(Refused):
        decide(TOKENS.evolve(live(), event), REFRESH)


@pytest.mark.parametrize(
    "command",
    [
        UseRefreshToken("3" * 40, "particle", NOW, "e" * 24),
        UseRefreshToken("2" * 40, "another", NOW, "e" * 24),
        UseRefreshToken("2" * 40, "particle", NOW + timedelta(seconds=REFRESH_LIFE_S), "e" * 24),
    ],
    ids=["another token", "another client", "too late"],
)
def test_a_refresh_token_is_refused_for(command: UseRefreshToken) -> None:
    with pytest.raises(Refused) as refusal:
        decide(live(), command)
    assert refusal.value.code == "invalid_grant"


def test_a_token_that_was_never_issued_cannot_be_refreshed() -> None:
    with pytest.raises(Refused):
        decide(Token(), REFRESH)
