"""Events of organizations that are about to be created (service ``billing``). Stream ``draft-<id>``; the draft's id
becomes the organization's (ORG-1).
"""

from __future__ import annotations

from shared.events.billing import Card, ProviderRef
from shared.events.fields import Event, Hex24, Moment


class OrganizationDrafted(Event, frozen=True):
    """This account is about to create an organization, and gives a card first. The provider keeps it for
    ``customer_ref``; ``setup_id`` is the first set-up that it was offered."""

    draft_id: Hex24
    account_id: Hex24
    customer_ref: ProviderRef
    setup_id: ProviderRef
    expires_at: Moment


class DraftCardSaved(Event, frozen=True):
    """The provider keeps this card for it."""

    draft_id: Hex24
    card: Card


class DraftUsed(Event, frozen=True):
    """The organization exists; customer and card are its own."""

    draft_id: Hex24


class DraftExpired(Event, frozen=True):
    """No organization came of it in time. The provider is to forget the customer."""

    draft_id: Hex24
    customer_ref: ProviderRef
