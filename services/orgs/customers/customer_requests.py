"""What callers may send about customers: checked, or refused with a sentence about the field."""

from __future__ import annotations

from services.orgs import requests
from services.orgs.customers.customers import MISSING, Way
from services.orgs.customers.serving_customers import Place
from services.orgs.people import passwords
from services.orgs.products import products
from services.orgs.products.products import PRODUCTS
from services.orgs.products.questionnaire import refuse_other_way
from services.orgs.requests import LONGEST_EMAIL
from services.orgs.teams import organizations
from services.orgs.teams.organizations import ORGANIZATIONS
from shared.errors import NotFound, Refused
from shared.streams import Streams


def email(value: object) -> str:
    """A new customer's address, trimmed. Raises ``Refused`` (``invalid_request``, contract 11.1)."""
    try:
        return requests.email(value)
    except Refused:
        raise Refused("invalid_request", "email: Must be an e-mail address.") from None


def known_email(value: object) -> str:
    """The address of a customer who may exist; for anything else there is none."""
    if not isinstance(value, str) or len(value) > LONGEST_EMAIL:
        raise NotFound(MISSING)
    return value


def password_hash(value: object) -> str:
    """The hash of a password. Raises ``Refused`` (``invalid_request``)."""
    try:
        return passwords.hashed(requests.password(value))
    except Refused as refusal:
        raise Refused("invalid_request", f"password: {refusal.reason}") from None


def must_be_open(streams: Streams, place: Place, way: Way) -> None:
    """Raises ``Refused`` (``authentication_method``) where the product's team has chosen another way (PRD-3)."""
    if place.product_id is not None:
        refuse_other_way(streams.load(PRODUCTS, products.stream_of(place.product_id)).state.answers, way)


def place_of(streams: Streams, product_id: int | None, org_id: str | None) -> Place:
    """The product, or the organization. Raises ``NotFound``."""
    if product_id is not None:
        created = streams.load(PRODUCTS, products.stream_of(product_id)).state.created
        if created is None:
            raise NotFound("Product not found.")
        return Place(created.org_id, product_id)
    found = requests.record_id(org_id, "Organization not found.")
    if streams.load(ORGANIZATIONS, organizations.stream_of(found)).state.created is None:
        raise NotFound("Organization not found.")
    return Place(found, None)
