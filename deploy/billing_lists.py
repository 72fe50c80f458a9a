"""What an operator of billing looks for over all organizations: charges and refunds that wait, strays and disputes.

Read from the streams, so it is as they are, with or without a running platform.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.billing.standing import Subscription
from services.billing.subscriptions import Policy, stream_of, subscriptions
from shared.errors import NotFound
from shared.events import billing as b
from shared.events.orgs import OrganizationCreated
from shared.store.port import Only
from shared.store.walking import walk
from shared.streams import Loaded, Streams

_CHARGES: tuple[type, ...] = (b.ChargeRequested, b.PaymentSucceeded, b.PaymentFailed, b.InvoiceVoided)
_FOUND: dict[type, str] = {b.StrayPaymentFound: "stray", b.ChargeDisputed: "dispute"}
_ID = re.compile(r"[0-9a-f]{24}")


@dataclass(frozen=True, slots=True)
class Parked:
    """A charge, or a refund, whose fate is not known. ``since``: when it was asked for; ``next_try_at``: None if it
    waits for an operator."""

    org_id: str
    kind: str
    number: int
    amount_cents: int
    since: datetime
    tries: int
    why: str
    next_try_at: datetime | None


def load(streams: Streams, org_id: str) -> Loaded[Subscription]:
    """The subscription of an organization. Raises ``NotFound``."""
    loaded = streams.load(subscriptions(Policy()), stream_of(org_id))
    if loaded.state.standing == "none":
        raise NotFound(f"organization {org_id} has no subscription")
    return loaded


def parked(streams: Streams) -> list[Parked]:
    """Those that have been asked for the longest first."""
    in_flight: set[str] = set()
    for event in _events(streams, _CHARGES):
        if isinstance(event, b.ChargeRequested):
            in_flight.add(event.org_id)
        else:
            in_flight.discard(event.org_id)
    in_flight |= {event.org_id for event in _events(streams, (b.RefundRequested,))}
    states = [load(streams, org_id).state for org_id in in_flight]
    found = [one for state in states for one in (*_charge(state), *_refunds(state))]
    return sorted(found, key=lambda one: (one.since, one.org_id, one.number))


def _charge(state: Subscription) -> Iterator[Parked]:
    charge, invoice = state.charge, state.invoice
    if charge is None or invoice is None:
        return
    why = "held" if state.held else charge.cause or ("the bank has not said" if charge.provider_ref else "asked for")
    next_try_at = None if state.held else charge.try_at
    since = charge.postponed_at or charge.try_at
    yield Parked(state.org_id, "charge", invoice.number, invoice.total_cents, since, charge.tries, why, next_try_at)


def _refunds(state: Subscription) -> Iterator[Parked]:
    for refund in state.refunds:
        what = (refund.number, refund.amount_cents, refund.at)
        yield Parked(state.org_id, "refund", *what, 0, "asked for", refund.at)


def found_at_the_provider(streams: Streams) -> list[tuple[str, Any]]:
    """Strays and disputes, each with what it is, the newest first."""
    return [(_FOUND[type(event)], event) for event in _events(streams, tuple(_FOUND))][::-1]


def org_id_of(streams: Streams, ref: str) -> str:
    """The organization with this ID or slug. Raises ``NotFound``."""
    if _ID.fullmatch(ref):
        return ref
    for org_id, slug in slugs(streams).items():
        if slug == ref:
            return org_id
    raise NotFound(f"there is no organization {ref!r}")


def slugs(streams: Streams) -> Mapping[str, str]:
    """Of all organizations, by ID."""
    return {event.org_id: event.slug for event in _events(streams, (OrganizationCreated,))}


def _events(streams: Streams, kinds: Sequence[type]) -> Iterator[Any]:
    only = Only(types=frozenset(kind.__name__ for kind in kinds))
    return (streams.contracts.decode(recorded) for recorded in walk(streams.store, only))
