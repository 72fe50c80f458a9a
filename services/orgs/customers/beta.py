"""The private beta of one product: who has which activation code. Stream ``beta-<product id>``. PRD-4. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from shared.aggregates import Aggregate
from shared.errors import Refused
from shared.events.customers import ActivationCodeUsed, BetaInvited, InviteeForgotten

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without 0 and O, 1 and I."""
CODE_LENGTH = 4
MOST_CODES = len(ALPHABET) ** CODE_LENGTH // 10
"""So many codes a product may have: of all that there are nine in ten stay wrong."""
WRONG = "The activation code is not yours, or was used already."


@dataclass(frozen=True, slots=True)
class Invite:
    """Let these people in; ``draws`` are random codes to choose from. Whoever is invited keeps the code."""

    product_id: int
    people: Mapping[str, str]
    """Address by the id of the invitee."""
    draws: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UseCode:
    """A device was claimed with this invitee's code."""

    product_id: int
    invitee_id: str
    owner_id: str
    device_id: str


@dataclass(frozen=True, slots=True)
class ForgetInvitee:
    """Let the code work no more, and whose it was be unknown."""

    product_id: int
    invitee_id: str


@dataclass(frozen=True, slots=True)
class Beta:
    """Codes by invitee, and the device for which each was used."""

    codes: Mapping[str, str] = field(default_factory=dict)
    used: Mapping[str, str] = field(default_factory=dict)
    taken: frozenset[str] = frozenset()


Command = Invite | UseCode | ForgetInvitee
Event = BetaInvited | ActivationCodeUsed | InviteeForgotten


def decide(state: Beta, command: Command) -> list[Event]:
    """What this means now; nothing for what is true already."""
    match command:
        case Invite():
            return list(_invited(state, command))
        case UseCode(product_id, invitee_id, owner_id, device_id):
            if invitee_id not in state.codes or invitee_id in state.used:
                return []
            return [ActivationCodeUsed(product_id, invitee_id, owner_id, device_id)]
        case ForgetInvitee(product_id, invitee_id):
            return [InviteeForgotten(product_id, invitee_id)] if invitee_id in state.codes else []
        case _:
            assert_never(command)


def _invited(state: Beta, command: Invite) -> Iterator[BetaInvited]:
    new = {invitee: email for invitee, email in command.people.items() if invitee not in state.codes}
    if len(state.codes) + len(new) > MOST_CODES:
        raise Refused("too_many_activation_codes", f"A product has at most {MOST_CODES} activation codes.")
    free = iter(dict.fromkeys(code for code in command.draws if code not in state.taken))
    for invitee_id, email in new.items():
        code = next(free, None)
        if code is None:
            raise Refused("too_many_activation_codes", "Too few free codes were drawn; try again with fewer addresses.")
        yield BetaInvited(command.product_id, invitee_id, email, code)


def is_good(state: Beta, invitee_id: str, code: object) -> bool:
    """Whether this is the code of this invitee, in any case, and unused."""
    return (
        isinstance(code, str) and code.strip().upper() == state.codes.get(invitee_id) and invitee_id not in state.used
    )


def evolve(state: Beta, event: Event) -> Beta:
    """The beta after this event; a code is never given out twice."""
    match event:
        case BetaInvited(_, invitee_id, _, code):
            return replace(state, codes={**state.codes, invitee_id: code}, taken=state.taken | {code})
        case ActivationCodeUsed(invitee_id=invitee_id, device_id=device_id):
            return replace(state, used={**state.used, invitee_id: device_id})
        case InviteeForgotten(_, invitee_id):
            codes = {other: code for other, code in state.codes.items() if other != invitee_id}
            return replace(state, codes=codes)
        case _:
            assert_never(event)


BETA: Aggregate[Beta, Command] = Aggregate(Beta(), decide, evolve)


def stream_of(product_id: int) -> str:
    """The stream of this product's beta."""
    return f"beta-{product_id}"
