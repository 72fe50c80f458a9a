"""One authorization code. Stream ``authorization-<code id>``. CUS-3, contract 2.2, RFC 6749 4.1, RFC 7636. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from shared.aggregates import Aggregate
from shared.errors import Refused
from shared.events.oauth import AuthorizationGranted, AuthorizationReplayed, AuthorizationUsed
from shared.ids import digest

LIFE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class GrantCode:
    """Somebody lets a client act for them."""

    code: str
    client_id: str
    account_id: str
    customer_id: str
    redirect_uri: str
    code_challenge: str
    scope: str
    now: datetime


@dataclass(frozen=True, slots=True)
class UseCode:
    """Its client trades it for this token; client, redirect URI and verifier were checked."""

    token_id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class ReplayCode:
    """It was shown once more after it was used: whoever has it is not who should (RFC 6749 4.1.2)."""


@dataclass(frozen=True, slots=True)
class Code:
    """``granted`` is None for a code that was never given out; ``token_id`` is what it was traded for."""

    granted: AuthorizationGranted | None = None
    token_id: str | None = None
    replayed: bool = False


Command = GrantCode | UseCode | ReplayCode
Event = AuthorizationGranted | AuthorizationUsed | AuthorizationReplayed


def decide(state: Code, command: Command) -> list[Event]:
    """What this means now, or a refusal."""
    match command:
        case GrantCode():
            return [] if state.granted is not None else [_granted(command)]
        case UseCode(token_id, now):
            if state.granted is None or state.token_id is not None or state.granted.expires_at <= now:
                raise invalid_code()
            return [AuthorizationUsed(state.granted.code_id, token_id)]
        case ReplayCode():
            if state.granted is None or state.token_id is None or state.replayed:
                return []
            return [AuthorizationReplayed(state.granted.code_id, state.token_id)]
        case _:
            assert_never(command)


def _granted(command: GrantCode) -> AuthorizationGranted:
    return AuthorizationGranted(
        code_id=code_id(command.code),
        code_digest=digest(command.code),
        client_id=command.client_id,
        account_id=command.account_id,
        customer_id=command.customer_id,
        redirect_uri=command.redirect_uri,
        code_challenge=command.code_challenge,
        scope=command.scope,
        expires_at=command.now + LIFE,
    )


def invalid_code() -> Refused:
    """What every code that does not work is answered with."""
    return Refused("invalid_grant", "The authorization code is invalid.")


def evolve(state: Code, event: Event) -> Code:
    """The code after this event."""
    match event:
        case AuthorizationGranted():
            return Code(event)
        case AuthorizationUsed(_, token_id):
            return replace(state, token_id=token_id)
        case AuthorizationReplayed():
            return replace(state, replayed=True)
        case _:
            assert_never(event)


CODES: Aggregate[Code, Command] = Aggregate(Code(), decide, evolve)


def code_id(code: str) -> str:
    """The id of a code: the beginning of its digest."""
    return digest(code)[:24]


def stream_of(code: str) -> str:
    """The stream of this code."""
    return f"authorization-{code_id(code)}"
