"""Whose a customer's address is at a product or organization, without the address standing anywhere else than sealed
in the customer's own stream.

An address is reserved as a digest of it with a secret of the installation, once a product, or once an organization for
customers of all its products; so one person may be a customer of several companies, and none learns of the others.
"""

from __future__ import annotations

import hmac

from services.orgs import names
from services.orgs.customers import customers
from services.orgs.customers.customers import CUSTOMERS, Customer
from services.orgs.names import NAMES, comparable
from shared.streams import Streams

DIGESTS = "customers"
"""Under which the key table keeps the secret of the digests."""


def customer_of(streams: Streams, product_id: int | None, org_id: str, email: str) -> Customer:
    """The customer with this address of the product, or without one of the whole organization; else one that does not
    exist."""
    return _held(streams, "customer_email", address_key(streams, product_id, org_id, email), email)


def linked_customer(streams: Streams, product_id: int | None, org_id: str, account_id: str) -> Customer:
    """The customer to whom this account is linked there (CUS-3); else one that does not exist."""
    return _held(streams, "customer_link", link_key(product_id, org_id, account_id), None)


def customer(streams: Streams, customer_id: str) -> Customer:
    """The customer with this id."""
    return streams.load(CUSTOMERS, customers.stream_of(customer_id)).state


def address_key(streams: Streams, product_id: int | None, org_id: str, email: str) -> str:
    """What an address is reserved as: 64 hex digits that nobody guesses it from."""
    secret = streams.contracts.keys.secret(DIGESTS)
    plain = f"{_place(product_id, org_id)}/{comparable(email)}".encode("utf-8", "replace")
    return hmac.new(secret, plain, "sha256").hexdigest()


def link_key(product_id: int | None, org_id: str, account_id: str) -> str:
    """What the link of an account is reserved as."""
    return f"{_place(product_id, org_id)}/{account_id}"


def _place(product_id: int | None, org_id: str) -> str:
    return f"product-{product_id}" if product_id is not None else f"org-{org_id}"


def _held(streams: Streams, kind: names.Kind, key: str, email: str | None) -> Customer:
    holder = streams.load(NAMES, names.stream_of(kind, key)).state.holder_stream
    found = streams.load(CUSTOMERS, holder).state if holder is not None else CUSTOMERS.initial
    if not found.lives or (email is not None and comparable(found.email) != comparable(email)):
        return CUSTOMERS.initial
    return found
