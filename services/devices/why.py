"""Why a device is in the state that it is in: for each aspect its value and the chain of events, commands and actors
that brought it there, and the rule that keeps it from the released version (EVT-3).

The view says what is so and which events of gateways made it so; the streams say the rest. Events behind the position
of the view are left out, so that value and chain are of the same moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.devices.device import NOT_A_MEMBER
from services.devices.fleet import FLEET
from services.devices.members import known_id
from services.devices.products import PRODUCTS, released, rollout_part
from services.devices.why_links import Found, Names, link
from services.devices.why_rule import rule_object
from services.devices.why_story import Aspect, Facts, aspects, explanation
from services.devices.why_trail import Trail
from shared.bus.providers import WorkerViews
from shared.errors import NotFound
from shared.events.contracts import CONTRACTS
from shared.projections.positions import stored
from shared.projections.view import Row
from shared.store.port import EventStore, Position

Emails = Callable[[list[str]], Mapping[str, str]]
"""Account ids to the e-mail addresses of those which whoever asks may know."""
PEOPLE = ("account:", "customer:")
MAX_ACCOUNTS = 200
"""Accounts whose addresses are asked for."""


@dataclass(frozen=True, slots=True)
class _Present:
    row: Row
    product: Row | None
    fleet_at: Position | None
    products_at: Position | None


def why(store: EventStore, views: WorkerViews, emails: Emails, product_id: int | None, text: object) -> dict[str, Any]:
    """The answer for the team of a product; without one for the operator, who sees every product's events. Raises
    ``NotFound`` for a device that was never a member of it."""
    device_id = known_id(text)
    present = _present(views, device_id)
    trail = Trail(store, CONTRACTS, device_id, product_id)
    facts = _facts(trail, present, product_id)
    told = [(aspect, trail.whole(aspect.chain)) for aspect in aspects(facts)]
    names = _names(emails, [found for _, chain in told for found in chain])
    return {
        "id": device_id,
        "product_id": present.row["product_id"] if product_id is None else product_id,
        "rule": rule_object(explanation(facts), present.row["reported_product"], facts.part)
        if facts.is_theirs
        else None,
        "aspects": [_aspect_object(aspect, chain, names) for aspect, chain in told],
        "cut": trail.is_cut,
    }


def _present(views: WorkerViews, device_id: str) -> _Present:
    fleet, products = views.table(FLEET), views.table(PRODUCTS)
    with views.read() as connection:
        row = connection.execute(sa.select(fleet).where(fleet.c.device_id == device_id)).mappings().one_or_none()
        if row is None:
            raise NotFound(NOT_A_MEMBER)
        of_product = sa.select(products).where(products.c.product_id == row["product_id"])
        product = connection.execute(of_product).mappings().one_or_none()
        reached = [stored(connection, f"view/{view.name}") for view in (FLEET, PRODUCTS)]
    positions = (None if checkpoint is None else checkpoint.position for checkpoint in reached)
    return _Present(dict(row), None if product is None else dict(product), *positions)


def _facts(trail: Trail, present: _Present, product_id: int | None) -> Facts:
    row = present.row
    decisions = trail.decisions(present.fleet_at)
    is_theirs = product_id in (None, row["product_id"])
    if not is_theirs and not decisions:
        raise NotFound(NOT_A_MEMBER)
    if not is_theirs:
        return Facts(row, is_theirs, decisions)
    seen = {name: trail.at(position) for name, position in (row["causes"] or {}).items()}
    known = {name: found for name, found in seen.items() if found is not None}
    stands, part = released(present.product, row), rollout_part(present.product, row)
    releases = [] if row["product_id"] is None else trail.releases(row["product_id"], present.products_at)
    return Facts(row, is_theirs, decisions, stands, part, releases, known, trail.ending(known.get("presence")))


def _names(emails: Emails, chain: Sequence[Found]) -> Names:
    people = sorted({found.actor.partition(":")[2] for found in chain if found.actor.startswith(PEOPLE)})
    found = emails(people[:MAX_ACCOUNTS]) if people else {}
    return {f"{kind}{person}": email for person, email in found.items() for kind in PEOPLE}


def _aspect_object(aspect: Aspect, chain: Sequence[Found], names: Names) -> dict[str, Any]:
    links = [link(found, names) for found in chain]
    return {"aspect": aspect.name, "value": aspect.value, "text": aspect.text, "chain": links}
