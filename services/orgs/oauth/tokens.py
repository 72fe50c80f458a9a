"""One access token with its refresh token. Stream ``token-<id>``. Rule ACC-2.

The id is the beginning of the access token's digest, so that whoever shows a token also says where its stream is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeGuard

from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.orgs import TokenIssued, TokenRevoked
from shared.ids import digest

DEFAULT_LIFE_S = 7_776_000
"""90 days (contract 2.1)."""
LONGEST_LIFE_S = 3_153_600_000
"""A hundred years; who wants longer asks for 0, never."""
REFRESH_LIFE_S = 1_209_600
"""14 days (contract 2.1)."""
REPLAYED_AFTER = timedelta(seconds=10)
"""Who shows a refresh token again so soon has sent it twice, or lost the answer; later there are two who have it."""
TOKEN_BYTES = 20
"""Of randomness; shown as 40 hex digits."""

_SECRET = re.compile(r"[0-9a-f]{40}")


class Holder(Protocol):
    """For whom a token acts, see ``TokenIssued``."""

    @property
    def kind(self) -> Literal["account", "customer", "client"]: ...

    @property
    def account_id(self) -> str | None: ...

    @property
    def customer_id(self) -> str | None: ...

    @property
    def product_id(self) -> int | None: ...

    @property
    def org_id(self) -> str | None: ...

    @property
    def generation(self) -> int: ...


@dataclass(frozen=True, slots=True)
class IssueToken:
    """Make these two secrets work; ``life_s`` 0 means for ever."""

    access_token: str
    refresh_token: str
    subject: Holder
    client: str
    life_s: int
    scope: str
    now: datetime


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """Let neither work any more; None: whosever it is."""

    account_id: str | None
    reason: Literal["revoked", "password_changed", "forgotten", "replayed"] = "revoked"


@dataclass(frozen=True, slots=True)
class UseRefreshToken:
    """Give both up for a new pair: a refresh token works once, for its own client, within its time."""

    refresh_token: str
    client: str
    now: datetime
    successor_id: str


Command = IssueToken | RevokeToken | UseRefreshToken
Event = TokenIssued | TokenRevoked


@dataclass(frozen=True, slots=True)
class Token:
    """``issued`` is None for a token that does not exist. ``successor_id``: what it was traded for."""

    issued: TokenIssued | None = None
    revoked: bool = False
    successor_id: str | None = None


def decide(state: Token, command: Command) -> list[Event]:
    """What this means now, or a refusal."""
    match command:
        case IssueToken():
            return [] if state.issued else [_issued(command)]
        case RevokeToken(account_id, reason):
            issued = state.issued
            if issued is None or state.revoked or account_id not in (None, issued.account_id):
                raise NotFound("Token not found.")
            return [TokenRevoked(issued.token_id, issued.account_id, reason)]
        case UseRefreshToken():
            held = _refreshable(state, command)
            return [TokenRevoked(held.token_id, held.account_id, "refreshed", command.successor_id)]


def _issued(command: IssueToken) -> TokenIssued:
    life = timedelta(seconds=command.life_s)
    return TokenIssued(
        token_id=token_id(command.access_token),
        account_id=command.subject.account_id,
        client=command.client,
        token_digest=digest(command.access_token),
        refresh_digest=digest(command.refresh_token),
        hint=command.access_token[-4:],
        expires_at=command.now + life if command.life_s else None,
        refresh_expires_at=command.now + timedelta(seconds=REFRESH_LIFE_S),
        subject=command.subject.kind,
        customer_id=command.subject.customer_id,
        product_id=command.subject.product_id,
        org_id=command.subject.org_id if command.subject.kind != "account" else None,
        generation=command.subject.generation,
        scope=command.scope,
    )


def _refreshable(state: Token, command: UseRefreshToken) -> TokenIssued:
    issued = state.issued
    if (
        issued is None
        or state.revoked
        or issued.refresh_digest != digest(command.refresh_token)
        or issued.client != command.client
        or issued.refresh_expires_at <= command.now
    ):
        raise invalid_refresh_token()
    return issued


def is_replayed(state: Token, command: UseRefreshToken) -> bool:
    """Whether this refresh token was traded before, and its client shows it again."""
    issued = state.issued
    return (
        issued is not None
        and state.successor_id is not None
        and issued.refresh_digest == digest(command.refresh_token)
        and issued.client == command.client
    )


def invalid_refresh_token() -> Refused:
    """What every refresh token that does not work is answered with."""
    return Refused("invalid_grant", "The refresh token is invalid.")


def evolve(state: Token, event: Event) -> Token:
    """The token after this event."""
    match event:
        case TokenIssued():
            return Token(event)
        case TokenRevoked(successor_id=successor_id):
            return replace(state, revoked=True, successor_id=successor_id)


TOKENS: Aggregate[Token, Command] = Aggregate(Token(), decide, evolve)


def well_formed(secret: object) -> TypeGuard[str]:
    """Whether this could be an access or refresh token at all."""
    return isinstance(secret, str) and _SECRET.fullmatch(secret) is not None


def token_id(access_token: str) -> str:
    """The id of an access token."""
    return digest(access_token)[:24]


def stream_of(token: str) -> str:
    """The stream of the token with this id."""
    return f"token-{token}"
