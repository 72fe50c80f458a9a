"""Reserving a name against the store: looks whether its present holder really carries it, then decides."""

from __future__ import annotations

from datetime import datetime

from services.orgs.customers.customer_lookup import address_key, customer, link_key
from services.orgs.customers.customers import Customer
from services.orgs.names import NAMES, Kind, Reserve, comparable, product_name, stream_of
from services.orgs.people.accounts import ACCOUNTS
from services.orgs.products.authorities import AUTHORITIES
from services.orgs.products.certificates import read_certificate
from services.orgs.products.products import PRODUCTS, name_of
from shared.context import Context
from shared.errors import Conflict, Refused
from shared.ids import event_id
from shared.streams import Streams

ATTEMPTS = 32
"""How often a name is looked at again when somebody else reserved it meanwhile."""


def reserve(
    streams: Streams,
    context: Context,
    now: datetime,
    kind: Kind,
    name: str,
    holder_stream: str,
    *,
    moved_from: str | None = None,
    secret: bytes = b"",
) -> bool:
    """Whether the name is this holder's now. Raises ``Conflict`` when others keep coming in between."""
    stream = stream_of(kind, name, secret)
    for attempt in range(1, ATTEMPTS + 1):
        loaded = streams.load(NAMES, stream)
        present = loaded.state.holder_stream
        seen = loaded.state.count
        command = Reserve(
            kind=kind,
            name=name,
            holder_stream=holder_stream,
            seen=seen,
            carried=present is not None and carries(streams, kind, name, present),
            age=now - (loaded.recorded[-1].at if loaded.recorded else now),
            moved_from=moved_from,
            freed=present is not None and _is_gone(streams, kind, present),
        )
        try:
            streams.handle(NAMES, stream, command, _step(context, stream, seen, holder_stream))
        except Conflict:
            if attempt == ATTEMPTS:
                raise
            continue
        except Refused:
            return False
        return True
    raise AssertionError("unreachable")


def carries(streams: Streams, kind: Kind, name: str, holder_stream: str) -> bool:
    """Whether this holder's own stream says that it has the name. A product keeps the firmware names that it had:
    devices that still report one must not become another's."""
    match kind:
        case "firmware_name":
            return comparable(name) in streams.load(PRODUCTS, holder_stream).state.firmware_names
        case "device_authority":
            trusted = streams.load(AUTHORITIES, holder_stream).state.trusted.values()
            return any(read_certificate(one.certificate).key_digest == name for one in trusted)
        case "authority_subject":
            trusted = streams.load(AUTHORITIES, holder_stream).state.trusted.values()
            return any(read_certificate(one.certificate).subject_digest == name for one in trusted)
        case "customer_email" | "customer_link":
            return comparable(name) in _names_of(streams, customer(streams, holder_stream.removeprefix("customer-")))
        case "email":
            carried = streams.load(ACCOUNTS, holder_stream).state.email
        case "org_slug":
            return name in streams.load(ACCOUNTS, holder_stream).state.slugs
        case "product_slug":
            created = streams.load(PRODUCTS, holder_stream).state.created
            carried = created.slug if created else ""
        case "product_name":
            product = streams.load(PRODUCTS, holder_stream).state
            carried = product_name(product.created.org_id, name_of(product)) if product.created else ""
    return comparable(carried) == comparable(name)


def _names_of(streams: Streams, one: Customer) -> tuple[str, ...]:
    """What a customer who lives has reserved."""
    if not one.lives:
        return ()
    by_email = address_key(streams, one.product_id, one.org_id, one.email)
    return (by_email, link_key(one.product_id, one.org_id, one.owner_id))


def _is_gone(streams: Streams, kind: Kind, holder_stream: str) -> bool:
    """Whether this holder was, and will not be again."""
    match kind:
        case "email":
            return streams.load(ACCOUNTS, holder_stream).state.forgotten
        case "customer_email" | "customer_link":
            return customer(streams, holder_stream.removeprefix("customer-")).deleted
    return False


def reserved_by(streams: Streams, context: Context, kind: Kind, name: str) -> str | None:
    """The present holder if this very command, perhaps an earlier run of it, reserved the name for it."""
    stream = stream_of(kind, name)
    loaded = streams.load(NAMES, stream)
    holder = loaded.state.holder_stream
    if holder is None:
        return None
    step = _step(context, stream, loaded.state.count - 1, holder)
    return holder if loaded.recorded[-1].id == event_id(step.command_id, 0, stream) else None


def _step(context: Context, stream: str, seen: int, holder_stream: str) -> Context:
    return context.step(f"{stream} {seen} {holder_stream}")
