"""What an owner is asked for: devices that somebody else would like to have, and what they said to it. Pure.

Stream ``transfers-<owner id>``. Contract 8, CUS-5. A request lapses after 7 days. Whoever asks again is told the same
id, and the owner mailed again after a day at the earliest; one that was declined is not made again until it would have
lapsed. Of requests that have not lapsed, declined ones too, there are so many at most, for one device and in all, so
that no owner is flooded with mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from services.orgs.people.links import Link
from shared.aggregates import Aggregate
from shared.errors import Refused
from shared.events.transfers import TransferAccepted, TransferAsked, TransferDeclined

LIFE = timedelta(days=7)
MAILED_AGAIN_AFTER = timedelta(days=1)
MOST_OF_DEVICE = 5
MOST_OF_OWNER = 20

Event = TransferAsked | TransferAccepted | TransferDeclined


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants which device, and whose it is by which of its claims."""

    device_id: str
    product_id: int
    owner_id: str
    claim: int
    claimant_id: str
    customer_id: str | None = None
    invitee_id: str | None = None
    device_name: str = ""

    def is_repeated_by(self, other: Wish) -> bool:
        """Whether the same claimant wants the same device from the same claim of it."""
        return (self.device_id, self.claim, self.claimant_id, self.customer_id) == (
            other.device_id,
            other.claim,
            other.claimant_id,
            other.customer_id,
        )


@dataclass(frozen=True, slots=True)
class AskTransfer:
    """Ask the owner; ``transfer_id`` and ``nonce`` are of a request that is new."""

    wish: Wish
    transfer_id: str
    nonce: str
    now: datetime


@dataclass(frozen=True, slots=True)
class AcceptTransfer:
    """Hand the device over; the link with this nonce was followed."""

    transfer_id: str
    nonce: str
    now: datetime


@dataclass(frozen=True, slots=True)
class DeclineTransfer:
    """Keep it; the link with this nonce was followed."""

    transfer_id: str
    nonce: str
    now: datetime


Command = AskTransfer | AcceptTransfer | DeclineTransfer


@dataclass(frozen=True, slots=True)
class Request:
    """A wish that the owner was asked for, with the link that was mailed."""

    wish: Wish
    link: Link
    asked_at: datetime
    declined: bool = False

    def is_open(self, now: datetime) -> bool:
        """Whether it may be answered."""
        return not self.declined and now < self.link.expires_at


@dataclass(frozen=True, slots=True)
class Transfers:
    """Requests by id: those that are open, were declined, or have lapsed since the last one was made."""

    requests: Mapping[str, Request] = field(default_factory=dict)


def decide(state: Transfers, command: Command) -> list[Event]:
    """What the command means now, or a refusal."""
    match command:
        case AskTransfer():
            return _ask(state, command)
        case AcceptTransfer(transfer_id, nonce, now):
            wish = _opened(state, transfer_id, nonce, now)
            return [
                TransferAccepted(
                    transfer_id=transfer_id,
                    device_id=wish.device_id,
                    product_id=wish.product_id,
                    owner_id=wish.owner_id,
                    claim=wish.claim,
                    claimant_id=wish.claimant_id,
                    customer_id=wish.customer_id,
                    invitee_id=wish.invitee_id,
                )
            ]
        case DeclineTransfer(transfer_id, nonce, now):
            wish = _opened(state, transfer_id, nonce, now)
            whose = (wish.owner_id, wish.claimant_id, wish.customer_id)
            return [TransferDeclined(transfer_id, wish.device_id, wish.product_id, *whose)]
        case _:
            assert_never(command)


def _ask(state: Transfers, command: AskTransfer) -> list[Event]:
    wish, now = command.wish, command.now
    before = request_of(state, wish, now)
    if before is None:
        _must_have_room(state, wish, now)
        return [_asked(command, command.transfer_id)]
    transfer_id, request = before
    if request.declined:
        until = f"{request.link.expires_at:%d %B %Y}"
        raise Refused("transfer_declined", f"The owner has declined; you may ask again after {until}.")
    return [] if now < request.asked_at + MAILED_AGAIN_AFTER else [_asked(command, transfer_id)]


def _must_have_room(state: Transfers, wish: Wish, now: datetime) -> None:
    asked = [one.wish.device_id for one in _recent(state, wish, now).values()]
    if asked.count(wish.device_id) >= MOST_OF_DEVICE or len(asked) >= MOST_OF_OWNER:
        raise Refused(
            "too_many_transfers",
            f"In 7 days an owner is asked {MOST_OF_DEVICE} times for one device, and {MOST_OF_OWNER} times in all, and"
            " this one was; try again in a few days.",
        )


def _asked(command: AskTransfer, transfer_id: str) -> TransferAsked:
    wish = command.wish
    return TransferAsked(
        transfer_id=transfer_id,
        device_id=wish.device_id,
        product_id=wish.product_id,
        owner_id=wish.owner_id,
        claim=wish.claim,
        claimant_id=wish.claimant_id,
        customer_id=wish.customer_id,
        invitee_id=wish.invitee_id,
        device_name=wish.device_name,
        nonce=command.nonce,
        asked_at=command.now,
        expires_at=command.now + LIFE,
    )


def _recent(state: Transfers, wish: Wish, now: datetime) -> dict[str, Request]:
    """Requests that have not lapsed; those made for an earlier claim of this device are over."""
    return {
        transfer_id: one
        for transfer_id, one in state.requests.items()
        if now < one.link.expires_at and (one.wish.device_id, one.wish.claim < wish.claim) != (wish.device_id, True)
    }


def _opened(state: Transfers, transfer_id: str, nonce: str, now: datetime) -> Wish:
    request = state.requests.get(transfer_id)
    if request is None or request.declined or not request.link.opens(nonce, now):
        raise link_over()
    return request.wish


def link_over() -> Refused:
    """What every link that does not work is answered with."""
    return Refused("invalid_transfer_token", "The link was used already, or has lapsed, or the device is not yours.")


def request_of(state: Transfers, wish: Wish, now: datetime) -> tuple[str, Request] | None:
    """The request that stands for this wish, open or declined, with its id."""
    standing = _recent(state, wish, now).items()
    return next(((transfer_id, one) for transfer_id, one in standing if one.wish.is_repeated_by(wish)), None)


def evolve(state: Transfers, event: Event) -> Transfers:
    """What the event makes true."""
    match event:
        case TransferAsked():
            wish = _wish(event)
            asked = Request(wish, Link(event.nonce, event.expires_at), event.asked_at)
            return Transfers({**_recent(state, wish, event.asked_at), event.transfer_id: asked})
        case TransferAccepted(device_id=device_id):
            kept = {key: one for key, one in state.requests.items() if one.wish.device_id != device_id}
            return Transfers(kept)
        case TransferDeclined(transfer_id=transfer_id):
            declined = replace(state.requests[transfer_id], declined=True)
            return Transfers({**state.requests, transfer_id: declined})
        case _:
            assert_never(event)


def _wish(event: TransferAsked) -> Wish:
    return Wish(
        device_id=event.device_id,
        product_id=event.product_id,
        owner_id=event.owner_id,
        claim=event.claim,
        claimant_id=event.claimant_id,
        customer_id=event.customer_id,
        invitee_id=event.invitee_id,
        device_name=event.device_name,
    )


TRANSFERS: Aggregate[Transfers, Command] = Aggregate(Transfers(), decide, evolve)


def stream_of(owner_id: str) -> str:
    """The stream of what this owner is asked for."""
    return f"transfers-{owner_id}"
