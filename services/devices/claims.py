"""One claim code: whose it is, until when, and which device it was used for. Pure.

Stream ``claim-<digest of the code>``. Rule CUS-5: a code belongs to its maker, works once, lapses after 24 hours and
ends with its maker. A customer's is good for devices of one product, or of the products of one company.
Devices show the first 63 characters of the 64 that were given out, so the digest is of those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from shared.aggregates import Aggregate
from shared.errors import Refused
from shared.events.devices import ClaimCodeEnded, ClaimCodeIssued, ClaimCodeUsed
from shared.ids import digest

LIFE_S = 24 * 3_600
CODE_BYTES = 48
"""Random ones of a code; in base64 it has 64 characters."""
SHOWN_CHARACTERS = 63
"""How many of them a device shows."""

Event = ClaimCodeIssued | ClaimCodeUsed | ClaimCodeEnded


@dataclass(frozen=True, slots=True)
class Claimant:
    """Whose a claimed device is. ``customer_id``: as which company's customer they claim; ``product_id``: only a device
    of this product; ``invitee_id``: whose activation code opens its private beta."""

    owner_id: str
    customer_id: str | None = None
    product_id: int | None = None
    invitee_id: str | None = None


@dataclass(frozen=True, slots=True)
class IssueCode:
    """Whoever shows it is the maker's; a code that is chosen (a SIM's number) may be issued again once it is used or
    has lapsed."""

    code_digest: str
    maker: Claimant
    now: datetime


@dataclass(frozen=True, slots=True)
class UseCode:
    """A device shows it, which is a member of this product."""

    code_digest: str
    device_id: str
    product_id: int | None
    now: datetime


@dataclass(frozen=True, slots=True)
class EndCode:
    """Its maker is gone."""

    code_digest: str


Command = IssueCode | UseCode | EndCode


@dataclass(frozen=True, slots=True)
class Claim:
    """What ``decide`` asks for; ``maker`` is None for a code that was never issued."""

    maker: Claimant | None = None
    expires_at: datetime | None = None
    over: bool = False


def decide(state: Claim, command: Command) -> list[Event]:
    """What the command means now."""
    match command:
        case IssueCode(code_digest, maker, now):
            if state.maker is not None and state.maker.owner_id != maker.owner_id and _is_good(state, now):
                raise Refused("code_taken", "somebody else has made this a claim code")
            return [_issued(code_digest, maker, now + timedelta(seconds=LIFE_S))]
        case UseCode(code_digest, device_id, product_id, now):
            if state.maker is None:
                raise Refused("unknown_claim_code", "nobody has made this claim code")
            if not _is_good(state, now):
                raise Refused("claim_code_over", "the claim code was used already, or has lapsed")
            if state.maker.product_id not in (None, product_id):
                raise Refused("other_product", "the claim code is for devices of another product")
            return [ClaimCodeUsed(code_digest, device_id)]
        case EndCode(code_digest):
            return [] if state.maker is None or state.over else [ClaimCodeEnded(code_digest)]
        case _:
            assert_never(command)


def _is_good(state: Claim, now: datetime) -> bool:
    return state.expires_at is not None and now < state.expires_at and not state.over


def _issued(code_digest: str, maker: Claimant, until: datetime) -> ClaimCodeIssued:
    owner_id, customer_id, product_id, invitee_id = (
        maker.owner_id,
        maker.customer_id,
        maker.product_id,
        maker.invitee_id,
    )
    return ClaimCodeIssued(code_digest, owner_id, until, product_id, invitee_id, customer_id)


def evolve(state: Claim, event: Event) -> Claim:
    """What the event makes true."""
    match event:
        case ClaimCodeIssued():
            maker = Claimant(event.account_id, event.customer_id, event.product_id, event.invitee_id)
            return Claim(maker, event.expires_at)
        case ClaimCodeUsed() | ClaimCodeEnded():
            return replace(state, over=True)
        case _:
            assert_never(event)


CLAIM: Aggregate[Claim, Command] = Aggregate(Claim(), decide, evolve)


def code_digest(code: str) -> str:
    """What a code is known by: the digest of as much of it as a device shows."""
    return digest(code[:SHOWN_CHARACTERS])


def stream_of(digest_of_code: str) -> str:
    """The stream of a claim code."""
    return f"claim-{digest_of_code}"
