"""One organization and its team. Stream ``org-<id>``. Rules ORG-1, ORG-2."""

from __future__ import annotations

from dataclasses import dataclass

from shared.aggregates import Aggregate
from shared.events.orgs import MemberJoined, OrganizationCreated, OrganizationFounded

Event = OrganizationCreated | MemberJoined


@dataclass(frozen=True, slots=True)
class CreateOrganization:
    """Carry out what an account has founded."""

    founded: OrganizationFounded


@dataclass(frozen=True, slots=True)
class Organization:
    """``created`` is None for an organization that does not exist."""

    created: OrganizationCreated | None = None


def decide(state: Organization, command: CreateOrganization) -> list[Event]:
    """The organization with its founder as first and only member; nothing if it exists."""
    if state.created is not None:
        return []
    founded = command.founded
    return [
        OrganizationCreated(
            org_id=founded.org_id,
            name=founded.name,
            slug=founded.slug,
            plan=founded.plan,
            owner_id=founded.account_id,
            owner_email=founded.email,
        ),
        MemberJoined(
            org_id=founded.org_id, account_id=founded.account_id, email=founded.email, role="administrator"
        ),  # ORG-2
    ]


def evolve(state: Organization, event: Event) -> Organization:
    """The organization after this event; who is a member matters to the views alone."""
    return Organization(event) if isinstance(event, OrganizationCreated) else state


ORGANIZATIONS: Aggregate[Organization, CreateOrganization] = Aggregate(Organization(), decide, evolve)


def stream_of(org_id: str) -> str:
    """The stream of this organization."""
    return f"org-{org_id}"
