"""Who is meant by the name of a device's owner."""

from __future__ import annotations

from services.orgs.customers.customer_lookup import customer_of
from services.orgs.people.addresses import account_of
from services.orgs.teams import organizations
from services.orgs.teams.organizations import ORGANIZATIONS
from shared.streams import Streams


def owners_named(streams: Streams, org_id: str, product_id: int, email: str) -> list[str]:
    """The owners of devices with this name whom the product's team may know: its customers, those of its organization,
    and the members of the team."""
    found = [customer_of(streams, place, org_id, email).owner_id for place in (product_id, None)]
    member = account_of(streams, email).account_id or ""
    if member in streams.load(ORGANIZATIONS, organizations.stream_of(org_id)).state.members:
        found.append(member)
    return [owner_id for owner_id in dict.fromkeys(found) if owner_id]
