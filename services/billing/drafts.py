"""An organization that is about to be created, whose card comes first (ORG-1). Stream ``draft-<id>``; the id becomes
the organization's. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from shared.aggregates import Aggregate
from shared.errors import Refused
from shared.events.billing import Card
from shared.events.drafts import DraftCardSaved, DraftExpired, DraftUsed, OrganizationDrafted

LIFE = timedelta(hours=24)
GRACE = timedelta(hours=24)
"""So long a draft with a card is kept beyond its life: an organization may have been created at its last moment, of
which we have not heard yet."""


@dataclass(frozen=True, slots=True)
class Draft:
    """``draft_id`` is empty for one that does not exist."""

    draft_id: str = ""
    account_id: str = ""
    customer_ref: str = ""
    card: Card | None = None
    expires_at: datetime | None = None
    is_used: bool = False
    is_expired: bool = False


@dataclass(frozen=True, slots=True)
class BeginDraft:
    """The provider has a customer and a set-up for it."""

    draft_id: str
    account_id: str
    customer_ref: str
    setup_id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class SaveDraftCard:
    """The provider keeps this card."""

    account_id: str
    card: Card
    now: datetime


@dataclass(frozen=True, slots=True)
class UseDraft:
    """The organization exists."""


@dataclass(frozen=True, slots=True)
class ExpireDraft:
    """It is this late."""

    now: datetime


Command = BeginDraft | SaveDraftCard | UseDraft | ExpireDraft
Event = OrganizationDrafted | DraftCardSaved | DraftUsed | DraftExpired


def decide(state: Draft, command: Command) -> list[Event]:
    """What the command means now; nothing if it is true already. Raises ``Refused("card_required")``."""
    match command:
        case BeginDraft(draft_id, account_id, customer_ref, setup_id, now):
            drafted = OrganizationDrafted(draft_id, account_id, customer_ref, setup_id, now + LIFE)
            return [] if state.draft_id else [drafted]
        case SaveDraftCard(account_id, card, now):
            must_be_open(state, account_id, now)
            return [] if state.is_used or card == state.card else [DraftCardSaved(state.draft_id, card)]
        case UseDraft():
            is_ready = state.card is not None and not state.is_used and not state.is_expired
            return [DraftUsed(state.draft_id)] if is_ready else []
        case ExpireDraft(now):
            at = due_at(state)
            is_due = at is not None and at <= now
            return [DraftExpired(state.draft_id, state.customer_ref)] if is_due else []
        case _:
            assert_never(command)


def must_be_open(state: Draft, account_id: str, now: datetime) -> None:
    """Raises ``Refused("card_required")`` unless it is a draft of this account that is used, or good still."""
    if not state.draft_id or state.account_id != account_id:
        raise Refused("card_required", "An organization takes a card first: begin a draft, and save a card with it.")
    if state.is_expired or (not state.is_used and state.expires_at is not None and state.expires_at <= now):
        raise Refused("card_required", "The draft has lapsed after 24 hours; begin another one.")


def due_at(state: Draft) -> datetime | None:
    """When it is to be ended; None for one that is used, or has ended."""
    if state.expires_at is None or state.is_used or state.is_expired:
        return None
    return state.expires_at + GRACE if state.card is not None else state.expires_at


def evolve(state: Draft, event: Event) -> Draft:
    """What the event makes true."""
    match event:
        case OrganizationDrafted(draft_id, account_id, customer_ref, _, expires_at):
            return Draft(draft_id, account_id, customer_ref, expires_at=expires_at)
        case DraftCardSaved(_, card):
            return replace(state, card=card)
        case DraftUsed():
            return replace(state, is_used=True)
        case DraftExpired():
            return replace(state, is_expired=True)
        case _:
            assert_never(event)


DRAFTS: Aggregate[Draft, Command] = Aggregate(Draft(), decide, evolve)


def stream_of(draft_id: str) -> str:
    """The stream of this draft."""
    return f"draft-{draft_id}"
