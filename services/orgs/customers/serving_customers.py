"""Commands on customers that take more than one stream; each may be repeated (CUS-1 to CUS-3, EVT-5).

First the address is reserved, then one append decides. Deleting says so in the customer's stream first, then destroys
the key, as forgetting an account does.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from services.orgs.customers import customers
from services.orgs.customers.customer_lookup import address_key, customer, customer_of, link_key, linked_customer
from services.orgs.customers.customers import (
    CUSTOMERS,
    MISSING,
    AskReset,
    CreateCustomer,
    Customer,
    DeleteCustomer,
    EndTokens,
    ResetPassword,
    SetPassword,
    Way,
    link_over,
)
from services.orgs.names import Kind
from services.orgs.people.mail_links import is_link, subject_of
from services.orgs.reservations import reserve
from shared.context import Context
from shared.errors import Misuse, NotFound, Refused
from shared.ids import record_id
from shared.store.port import Position
from shared.streams import Streams

NONCE_BYTES = 12
"""Of randomness in a mailed link; shown as 24 hex digits."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where customers are: at a product, or without one at all products of an organization."""

    org_id: str
    product_id: int | None


@dataclass(frozen=True, slots=True)
class ServingCustomers:
    """One command about customers."""

    streams: Streams
    context: Context
    now: datetime

    def find(self, place: Place, email: str) -> str:
        """The id of the customer with this address: of the product, or of all products of its organization. Raises
        ``NotFound``."""
        for product_id in dict.fromkeys((place.product_id, None)):
            found = customer_of(self.streams, product_id, place.org_id, email)
            if found.customer_id is not None:
                return found.customer_id
        raise NotFound(MISSING)

    def create(self, place: Place, email: str, password_hash: str, way: Way) -> tuple[Customer, Position | None]:
        """A new customer who is their devices' owner. Refuses with ``customer_exists``."""
        customer_id = record_id(self.context.command_id, "customer")
        self._reserve_address(place, email, customer_id)
        return self._created(place, customer_id, customer_id, email, password_hash, way)

    def link(self, place: Place, account_id: str, email: str) -> tuple[Customer, Position | None]:
        """The customer that this account is linked to, made now if there is none (CUS-3). Refuses with
        ``customer_exists`` when its address is that of a customer who has nothing to do with the account."""
        linked = linked_customer(self.streams, place.product_id, place.org_id, account_id)
        if linked.lives:
            return linked, None
        customer_id = record_id(self.context.command_id, "customer")
        self._reserve_address(place, email, customer_id)
        if not self._reserve("customer_link", link_key(place.product_id, place.org_id, account_id), customer_id):
            raise Refused("customer_exists", "This account is being linked right now; try again.")
        return self._created(place, customer_id, account_id, email, "", "log_in_with_us")

    def set_password(self, place: Place, email: str, password_hash: str) -> Position | None:
        """What the team sets; tokens made before end. Raises ``NotFound``, ``Refused`` (``no_password``)."""
        stream = self._stream_of(place, email)
        return self.streams.handle(CUSTOMERS, stream, SetPassword(password_hash), self.context).position

    def ask_reset(self, place: Place, email: str) -> Position | None:
        """Mail a link to a customer who has a password of ours; nothing happens for anybody else, and nobody is told
        which it was."""
        found = customer_of(self.streams, place.product_id, place.org_id, email)
        if found.customer_id is None or not found.password_hash:
            return None
        command = AskReset(secrets.token_hex(NONCE_BYTES), self.now)
        stream = customers.stream_of(found.customer_id)
        return self.streams.handle(CUSTOMERS, stream, command, self.context).position

    def reset(self, place: Place, token: str, password_hash: str) -> Position | None:
        """The new password of whoever followed the mailed link. Refuses with ``invalid_reset_token``."""
        customer_id = subject_of(token)
        found = customer(self.streams, customer_id) if customer_id else CUSTOMERS.initial
        is_there = (found.org_id, found.product_id) == (place.org_id, place.product_id)
        if customer_id is None or found.reset is None or not is_there:
            raise link_over()
        if not is_link(self.streams, token, "customer-reset", customer_id, found.reset):
            raise link_over()
        command = ResetPassword(found.reset.nonce, password_hash, self.now)
        return self.streams.handle(CUSTOMERS, customers.stream_of(customer_id), command, self.context).position

    def end_tokens(self, customer_id: str) -> Position | None:
        """Let no token of the customer work any more. Raises ``NotFound``."""
        return self.streams.handle(CUSTOMERS, customers.stream_of(customer_id), EndTokens(), self.context).position

    def delete(self, customer_id: str) -> Position | None:
        """End a customer. Raises ``NotFound``, and ``Unavailable`` when it must be repeated."""
        handled = self.streams.handle(CUSTOMERS, customers.stream_of(customer_id), DeleteCustomer(), self.context)
        self.finish(customer_id)
        return handled.position

    def finish(self, customer_id: str) -> None:
        """Destroy the key of a customer whose stream says that they were deleted."""
        if not customer(self.streams, customer_id).deleted:
            raise Misuse(f"customer {customer_id} was not deleted; their key stays")
        self.streams.contracts.keys.destroy(customer_id)

    def _reserve_address(self, place: Place, email: str, customer_id: str) -> None:
        key = address_key(self.streams, place.product_id, place.org_id, email)
        if not self._reserve("customer_email", key, customer_id):
            raise Refused("customer_exists", "There is a customer with this e-mail address.")

    def _created(
        self, place: Place, customer_id: str, owner_id: str, email: str, password_hash: str, way: Way
    ) -> tuple[Customer, Position | None]:
        command = CreateCustomer(customer_id, owner_id, place.org_id, place.product_id, email, password_hash, way)
        handled = self.streams.handle(CUSTOMERS, customers.stream_of(customer_id), command, self.context)
        return handled.state, handled.position

    def _stream_of(self, place: Place, email: str) -> str:
        return customers.stream_of(self.find(place, email))

    def _reserve(self, kind: Kind, name: str, customer_id: str) -> bool:
        return reserve(self.streams, self.context, self.now, kind, name, customers.stream_of(customer_id))
