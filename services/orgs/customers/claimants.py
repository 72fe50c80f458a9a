"""Who may claim a device (CUS-5, PRD-4), decided from streams, so that it is true at once."""

from __future__ import annotations

from services.orgs.customers.customer_lookup import customer
from services.orgs.customers.customers import Customer
from services.orgs.people import accounts
from services.orgs.people.accounts import ACCOUNTS
from services.orgs.products import products
from services.orgs.products.products import PRODUCTS
from services.orgs.products.questionnaire import PRIVATE_BETA
from shared.errors import Refused
from shared.streams import Streams


def check_claim(streams: Streams, owner_id: str, customer_id: str | None, product_id: int, *, is_invited: bool) -> None:
    """Whether devices of the product may be this owner's, an account or the customer as whom it acts; in a private beta
    only with an activation code (PRD-4). Raises ``Refused``: ``claimant_gone``, ``other_product``,
    ``activation_code_needed``."""
    _must_live(streams, owner_id, customer_id, product_id)
    answers = streams.load(PRODUCTS, products.stream_of(product_id)).state.answers
    if answers.get(PRIVATE_BETA) is True and not is_invited:
        raise Refused("activation_code_needed", "The product is in private beta; an unused activation code is needed.")


def _must_live(streams: Streams, owner_id: str, customer_id: str | None, product_id: int) -> None:
    if customer_id is None:
        if not _has_account(streams, owner_id):
            raise _gone()
        return
    one = customer(streams, customer_id)
    if not one.lives or one.owner_id != owner_id or (owner_id != customer_id and not _has_account(streams, owner_id)):
        raise _gone()
    if not is_customer_of(streams, one, product_id):
        raise Refused("other_product", "The device is of another product than those of the customer.")


def is_customer_of(streams: Streams, one: Customer, product_id: int) -> bool:
    """Whether this is a customer of the product, or of all products of its organization."""
    if one.product_id is not None:
        return one.product_id == product_id
    created = streams.load(PRODUCTS, products.stream_of(product_id)).state.created
    return created is not None and created.org_id == one.org_id


def _has_account(streams: Streams, account_id: str) -> bool:
    account = streams.load(ACCOUNTS, accounts.stream_of(account_id)).state
    return account.account_id is not None and not account.forgotten


def _gone() -> Refused:
    return Refused("claimant_gone", "There is no such account or customer any more.")
