"""Events of companies' customers and of private betas (service ``orgs``; CUS-1 to CUS-7, PRD-4)."""

from __future__ import annotations

from typing import Annotated, Literal

from shared.events.fields import Email, Event, Forgets, Hex24, Moment, Personal, ProductNumber, Text, Whole

ActivationCode = Annotated[str, Text(4, 4, r"[A-HJ-NP-Z2-9]{4}")]


class CustomerCreated(Event, frozen=True):
    """Stream ``customer-<id>``: somebody who uses devices of a product, or without ``product_id`` of any product of the
    organization. ``owner_id`` is whom their devices belong to: the customer, or the account that is linked (CUS-3). No
    ``password_hash`` (an empty text): no log-in with a password (CUS-2)."""

    customer_id: Hex24
    owner_id: Hex24
    org_id: Hex24
    product_id: ProductNumber | None
    email: Annotated[Email, Personal("customer_id")]
    password_hash: Annotated[str, Text(512), Personal("customer_id")]
    way: Literal["simple", "two_legged", "log_in_with_us", "team"]


class CustomerPasswordChanged(Event, frozen=True):
    """Stream ``customer-<id>``: the new password, an argon2id hash in PHC form."""

    customer_id: Hex24
    password_hash: Annotated[str, Text(512, 1), Personal("customer_id")]


class CustomerResetAsked(Event, frozen=True):
    """Stream ``customer-<id>``: a link is mailed that sets a new password until then, once."""

    customer_id: Hex24
    nonce: Hex24
    expires_at: Moment


class CustomerTokensEnded(Event, frozen=True):
    """Stream ``customer-<id>``: tokens of earlier generations than this one work no more."""

    customer_id: Hex24
    generation: Annotated[int, Whole(1, 2**31)]


class CustomerDeleted(Event, frozen=True):
    """Stream ``customer-<id>``: gone, with everything personal; their devices belong to nobody."""

    customer_id: Annotated[Hex24, Forgets()]
    owner_id: Hex24
    org_id: Hex24
    product_id: ProductNumber | None


class BetaInvited(Event, frozen=True):
    """Stream ``beta-<product id>``: whoever has this address may claim one device of the product with the code (PRD-4).
    ``invitee_id`` is derived from product and address."""

    product_id: ProductNumber
    invitee_id: Hex24
    email: Annotated[Email, Personal("invitee_id")]
    code: ActivationCode


class ActivationCodeUsed(Event, frozen=True):
    """Stream ``beta-<product id>``: a device was claimed with it."""

    product_id: ProductNumber
    invitee_id: Hex24
    owner_id: Hex24
    device_id: Hex24


class InviteeForgotten(Event, frozen=True):
    """Stream ``beta-<product id>``: the code works no more, and whose it was cannot be read."""

    product_id: ProductNumber
    invitee_id: Annotated[Hex24, Forgets()]


class ActivationCodeRefused(Event, frozen=True):
    """Stream ``guesses-<customer id>``: the customer stated a code that is not theirs, or is no code."""

    product_id: ProductNumber
    customer_id: Hex24
    refused_at: Moment
