"""Calls about organizations and their teams."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko.events import event_handler
from nameko.rpc import rpc

from services.orgs import objects, queries, requests
from services.orgs.edge import Edge, trial
from services.orgs.people import creation
from services.orgs.people.creation import Creation
from services.orgs.teams.membership import Membership
from shared.errors import FlotillaError


class OrganizationCalls(Edge):
    """Calls about organizations and their teams."""

    @rpc(expected_exceptions=FlotillaError)
    def create_organization(
        self,
        account_id: str,
        name: str,
        slug: str | None = None,
        plan: str | None = None,
        draft_id: str | None = None,
        setup_id: str | None = None,
    ) -> dict[str, Any]:
        """``{"organization": {…}, "position"}``. Refuses with ``already_in_organization``, ``slug_taken``,
        ``unknown_plan``, ``invalid_request``; and where organizations are billed, with ``card_required`` unless the
        draft's set-up ended with a card (ORG-1)."""
        account_id = requests.record_id(account_id, "User not found.")
        wanted = requests.title("name", name), requests.org_slug(slug), requests.plan(plan)
        creating = self._command(Creation)
        creating.must_be_free(account_id)
        org_id = self.drafts.finish_draft(draft_id=draft_id, account_id=account_id, setup_id=setup_id)["org_id"]
        founded = creating.organization(account_id, *wanted, org_id)
        row, position = creation.organization_row(self.streams, founded.org_id)
        return {"organization": objects.organization_object(row, trial(row)), "position": position}

    @rpc(expected_exceptions=FlotillaError)
    def get_organization(self, org_id: str) -> dict[str, Any]:
        row = queries.organization_row(self.views, org_id)
        return {"organization": objects.organization_object(row, self._subscription(row))}

    @rpc(expected_exceptions=FlotillaError)
    def rename_organization(self, org_id: str, name: str) -> dict[str, Any]:
        org_id = requests.record_id(org_id, "Organization not found.")
        self._command(Membership).rename(org_id, requests.title("name", name))
        row, position = creation.organization_row(self.streams, org_id)
        return {"organization": objects.organization_object(row, self._subscription(row)), "position": position}

    @event_handler("orgs", "OrganizationFounded")
    def finish_organization(self, message: Mapping[str, Any]) -> None:
        """Create what was founded, should the process that founded it have died."""
        self._command(Creation).finish(self.streams.event(message))
