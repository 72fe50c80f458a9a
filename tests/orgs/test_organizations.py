from __future__ import annotations

from services.orgs.organizations import ORGANIZATIONS, CreateOrganization, Organization, decide
from shared.events.orgs import MemberJoined, OrganizationCreated, OrganizationFounded

COMMAND = CreateOrganization(OrganizationFounded("a" * 24, "ada@example.com", "b" * 24, "Acme", "acme", "yearly"))
CREATED = OrganizationCreated("b" * 24, "Acme", "acme", "yearly", "a" * 24, "ada@example.com")
JOINED = MemberJoined("b" * 24, "a" * 24, "ada@example.com", "administrator")


def test_the_founder_is_the_first_and_only_member() -> None:  # ORG-2
    assert decide(Organization(), COMMAND) == [CREATED, JOINED]


def test_an_organization_is_created_once() -> None:
    state = ORGANIZATIONS.evolve(ORGANIZATIONS.evolve(Organization(), CREATED), JOINED)
    assert state.created == CREATED
    assert decide(state, COMMAND) == []
