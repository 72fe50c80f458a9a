"""Who owns a device that is asked for, and who asks: what each may be told of the other."""

from __future__ import annotations

from dataclasses import dataclass

from services.orgs.customers.customer_lookup import customer
from services.orgs.customers.customers import Customer
from services.orgs.people import accounts
from services.orgs.people.accounts import ACCOUNTS
from shared.streams import Streams


@dataclass(frozen=True, slots=True)
class Owner:
    """``customer`` is None for an account, whom the platform writes to in its own name (CUS-7). ``actor`` as events
    have it."""

    email: str
    actor: str
    customer: Customer | None = None


@dataclass(frozen=True, slots=True)
class Asker:
    """``proven``: they read mail at the address. ``persons`` are the ids by which it is found when they are forgotten,
    ``customer`` as of an ``Owner``."""

    email: str
    proven: bool
    persons: tuple[str, ...]
    customer: Customer | None = None


def owner(streams: Streams, owner_id: str) -> Owner | None:
    """None for somebody who is gone."""
    one = customer(streams, owner_id)
    if one.lives:
        return Owner(one.email, f"customer:{owner_id}", one)
    account = streams.load(ACCOUNTS, accounts.stream_of(owner_id)).state
    return Owner(account.email, f"account:{owner_id}") if account.lives else None


def asker(streams: Streams, claimant_id: str, customer_id: str | None) -> Asker | None:
    """None for somebody who is gone. A customer who is an account is shown as the account."""
    if customer_id == claimant_id:
        one = customer(streams, claimant_id)
        return Asker(one.email, False, (claimant_id,), one) if one.lives else None
    account = streams.load(ACCOUNTS, accounts.stream_of(claimant_id)).state
    persons = (claimant_id,) if customer_id is None else (claimant_id, customer_id)
    return Asker(account.email, account.verified, persons) if account.lives else None
