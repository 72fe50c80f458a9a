"""For whom a token acts: an account, a customer, or an OAuth client itself; and whether they end it.

Decided from streams, so it is true at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.orgs.customers.customer_lookup import customer
from services.orgs.customers.customers import Customer
from services.orgs.oauth import clients
from services.orgs.oauth.clients import CLIENTS, Client
from services.orgs.people import accounts
from services.orgs.people.accounts import ACCOUNTS, Account
from services.orgs.products.products import PRODUCTS
from services.orgs.products.products import stream_of as product_stream
from services.orgs.teams import organizations
from services.orgs.teams.organizations import ORGANIZATIONS
from shared.events.orgs import Role, TokenIssued, TokensEnded
from shared.streams import Streams


@dataclass(frozen=True, slots=True)
class Subject:
    """What a token says of whom it acts for, see ``TokenIssued``. ``email`` and ``role`` are not in the token."""

    kind: Literal["account", "customer", "client"]
    account_id: str | None
    customer_id: str | None = None
    product_id: int | None = None
    org_id: str | None = None
    generation: int = 0
    email: str = ""
    role: Role | None = None


def of_account(streams: Streams, account: Account) -> Subject:
    """An account, with the organization that it is a member of now."""
    role = None
    if account.org_id is not None and account.account_id is not None:
        team = streams.load(ORGANIZATIONS, organizations.stream_of(account.org_id)).state
        role = team.members.get(account.account_id)
    return Subject(
        kind="account",
        account_id=account.account_id,
        org_id=account.org_id if role else None,
        generation=account.generation,
        email=account.email,
        role=role,
    )


def of_customer(one: Customer) -> Subject:
    """A customer, who acts as the owner of their devices."""
    return Subject("customer", one.owner_id, one.customer_id, one.product_id, one.org_id, one.generation, one.email)


def of_client(client: Client) -> Subject:
    """A client that acts for its product, or for all products of its organization."""
    return Subject("client", None, product_id=client.owner.product_id, org_id=client.owner.org_id)


def find_account(streams: Streams, account_id: str) -> Account:
    """The account with this id."""
    return streams.load(ACCOUNTS, accounts.stream_of(account_id)).state


def tokens_ended_at(streams: Streams, account_id: str) -> datetime | None:
    """When the account ended its tokens the last time."""
    recorded = streams.load(ACCOUNTS, accounts.stream_of(account_id)).recorded
    return max((event.at for event in recorded if event.type == TokensEnded.__name__), default=None)


def find_client(streams: Streams, client_id: str) -> Client:
    """The client with this id, gone or not."""
    return streams.load(CLIENTS, clients.stream_of(client_id)).state


def works(streams: Streams, client: Client) -> bool:
    """Whether anybody can log in at this client: it lives, and so does its product."""
    return client.lives and _lives(streams, client.owner.product_id)


def present(streams: Streams, issued: TokenIssued) -> Subject | None:
    """For whom this token acts as things are now; None if they, its client or its product have ended it."""
    client = find_client(streams, issued.client)
    if client.deleted or not _lives(streams, issued.product_id):
        return None
    match issued.subject:
        case "account":
            account = find_account(streams, issued.account_id or "")
            lives = account.lives and issued.generation >= account.generation
            return of_account(streams, account) if lives else None
        case "customer":
            return _customer(streams, issued)
        case "client":
            return of_client(client) if client.lives else None


def _customer(streams: Streams, issued: TokenIssued) -> Subject | None:
    one = customer(streams, issued.customer_id or "")
    if not one.lives or issued.generation < one.generation:
        return None
    if one.owner_id != one.customer_id and not find_account(streams, one.owner_id).lives:
        return None
    return of_customer(one)


def _lives(streams: Streams, product_id: int | None) -> bool:
    if product_id is None:
        return True
    product = streams.load(PRODUCTS, product_stream(product_id)).state
    return product.created is not None and not product.removed
