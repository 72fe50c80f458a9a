"""What can be asked of a subscription, and what is recorded of its attempts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.billing.operating import Operation
from services.billing.oversight import Oversight
from shared.events.billing import (
    Card,
)
from shared.events.orgs import Plan


@dataclass(frozen=True, slots=True)
class StartTrial:
    """The organization was created, without a card."""

    org_id: str
    plan: Plan
    at: datetime


@dataclass(frozen=True, slots=True)
class StartSubscription:
    """The organization was created by this member, with a card that is saved."""

    org_id: str
    plan: Plan
    member_id: str
    customer_ref: str
    card: Card
    at: datetime


@dataclass(frozen=True, slots=True)
class RegisterCustomer:
    """The provider keeps cards for it under this name, which began without one."""

    customer_ref: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ReplaceCard:
    """Charge this card from now on."""

    card: Card
    at: datetime


@dataclass(frozen=True, slots=True)
class AddSeat:
    """Somebody accepted an invitation."""

    member_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RemoveSeat:
    """A member left, or was removed."""

    member_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """Let the next period be of this plan."""

    plan: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Cancel:
    """Let it end with what is paid."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Reactivate:
    """Take a cancellation back; or, when it is inactive, begin anew with this card."""

    at: datetime
    card: Card | None = None


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Try once more, with the member there to confirm it with the bank."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Advance:
    """It is this late."""

    at: datetime


@dataclass(frozen=True, slots=True)
class RecordPrepared:
    """The provider knows of the attempt."""

    number: int
    attempt: int
    provider_ref: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordPostponed:
    """The attempt could not be made."""

    number: int
    attempt: int
    cause: Literal["unreachable", "throttled", "misconfigured"]
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordPaid:
    """The attempt succeeded."""

    number: int
    attempt: int
    provider_ref: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordDeclined:
    """The card was refused; ``final``: for good."""

    number: int
    attempt: int
    provider_ref: str | None
    code: str
    at: datetime
    decline_code: str = ""
    final: bool = False


Record = RecordPrepared | RecordPostponed | RecordPaid | RecordDeclined


Wish = RegisterCustomer | ReplaceCard | AddSeat | RemoveSeat | SwitchPlan | Cancel | Reactivate | Authenticate | Advance


Command = StartTrial | StartSubscription | Wish | Record | Oversight | Operation
