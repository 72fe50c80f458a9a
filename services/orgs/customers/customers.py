"""One customer of a company. Stream ``customer-<id>``. Rules CUS-1 to CUS-3, CUS-7, EVT-5."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from services.orgs.people.links import RESET_LIFE, Link
from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.customers import (
    CustomerCreated,
    CustomerDeleted,
    CustomerPasswordChanged,
    CustomerResetAsked,
    CustomerTokensEnded,
)
from shared.events.fields import FORGOTTEN

MISSING = "Customer not found."

Way = Literal["simple", "two_legged", "log_in_with_us", "team"]


@dataclass(frozen=True, slots=True)
class CreateCustomer:
    """Open it; the reservation of the address comes first. ``owner_id`` is the customer's own id, or that of the
    account which is linked. ``password_hash`` is empty for whoever has no password of ours."""

    customer_id: str
    owner_id: str
    org_id: str
    product_id: int | None
    email: str
    password_hash: str
    way: Way


@dataclass(frozen=True, slots=True)
class SetPassword:
    """The team gives the customer another password; tokens made with the one before end."""

    password_hash: str


@dataclass(frozen=True, slots=True)
class AskReset:
    """Mail a link to whoever forgot the password; it ends the one mailed before."""

    nonce: str
    now: datetime


@dataclass(frozen=True, slots=True)
class ResetPassword:
    """The link with this nonce was followed."""

    nonce: str
    password_hash: str
    now: datetime


@dataclass(frozen=True, slots=True)
class EndTokens:
    """Let no token of before work any more."""


@dataclass(frozen=True, slots=True)
class DeleteCustomer:
    """End it; the key of what is personal in it is destroyed afterwards."""


@dataclass(frozen=True, slots=True)
class Customer:
    """What logging in and claiming ask for; ``customer_id`` is None for one that does not exist. ``reset`` is the
    link that is open. Tokens of a generation before this one work no more."""

    customer_id: str | None = None
    owner_id: str = ""
    org_id: str = ""
    product_id: int | None = None
    email: str = ""
    password_hash: str = ""
    generation: int = 0
    reset: Link | None = None
    deleted: bool = False

    @property
    def lives(self) -> bool:
        """Whether there is such a customer."""
        return self.customer_id is not None and not self.deleted


Command = CreateCustomer | SetPassword | AskReset | ResetPassword | EndTokens | DeleteCustomer
Event = CustomerCreated | CustomerPasswordChanged | CustomerResetAsked | CustomerTokensEnded | CustomerDeleted


def decide(state: Customer, command: Command) -> list[Event]:
    """What this means now, or a refusal; nothing if it is true already."""
    if isinstance(command, CreateCustomer):
        return [] if state.customer_id else [_created(command)]
    if state.customer_id is None:
        raise NotFound(MISSING)
    if isinstance(command, DeleteCustomer):
        gone = CustomerDeleted(state.customer_id, state.owner_id, state.org_id, state.product_id)
        return [] if state.deleted else [gone]
    if state.deleted:
        raise NotFound(MISSING)
    if isinstance(command, EndTokens):
        return [CustomerTokensEnded(state.customer_id, state.generation + 1)]
    if not state.password_hash:
        raise Refused("no_password", "This customer logs in without a password of ours, so there is none to set.")
    match command:
        case SetPassword(password_hash):
            return _new_password(state, state.customer_id, password_hash)
        case AskReset(nonce, now):
            if state.reset is not None and state.reset.is_fresh(RESET_LIFE, now):
                return []
            return [CustomerResetAsked(state.customer_id, nonce, now + RESET_LIFE)]
        case ResetPassword(nonce, password_hash, now):
            if state.reset is None or not state.reset.opens(nonce, now):
                raise link_over()
            return _new_password(state, state.customer_id, password_hash)
        case _:
            assert_never(command)


def link_over() -> Refused:
    """What every link that does not work is answered with."""
    return Refused("invalid_reset_token", "The link was used already, or has lapsed; ask for a new one.")


def _new_password(state: Customer, customer_id: str, password_hash: str) -> list[Event]:
    return [
        CustomerPasswordChanged(customer_id, password_hash),
        CustomerTokensEnded(customer_id, state.generation + 1),
    ]


def _created(command: CreateCustomer) -> CustomerCreated:
    return CustomerCreated(
        customer_id=command.customer_id,
        owner_id=command.owner_id,
        org_id=command.org_id,
        product_id=command.product_id,
        email=command.email,
        password_hash=command.password_hash,
        way=command.way,
    )


def evolve(state: Customer, event: Event) -> Customer:
    """The customer after this event."""
    match event:
        case CustomerCreated():
            return Customer(
                customer_id=event.customer_id,
                owner_id=event.owner_id,
                org_id=event.org_id,
                product_id=event.product_id,
                email=event.email,
                password_hash=_hash(event.password_hash),
            )
        case CustomerPasswordChanged(password_hash=password_hash):
            return replace(state, password_hash=_hash(password_hash), reset=None)
        case CustomerResetAsked(nonce=nonce, expires_at=expires_at):
            return replace(state, reset=Link(nonce, expires_at))
        case CustomerTokensEnded(generation=generation):
            return replace(state, generation=generation)
        case CustomerDeleted():
            return replace(state, email=FORGOTTEN, password_hash="", reset=None, deleted=True)
        case _:
            assert_never(event)


def _hash(password_hash: str) -> str:
    """Whose key is lost has none that anything matches."""
    return "" if password_hash == FORGOTTEN else password_hash


CUSTOMERS: Aggregate[Customer, Command] = Aggregate(Customer(), decide, evolve)


def stream_of(customer_id: str) -> str:
    """The stream of this customer."""
    return f"customer-{customer_id}"
