"""Calls about teams: who is in one, who is invited, and the reactions that finish joining and leaving."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko.events import event_handler
from nameko.rpc import rpc

from services.orgs import objects, requests
from services.orgs.edge import Edge
from services.orgs.teams import team_queries
from services.orgs.teams.membership import Membership
from shared.errors import FlotillaError, Refused


class TeamCalls(Edge):
    """Calls about teams."""

    @rpc(expected_exceptions=FlotillaError)
    def list_team(self, org_id: str) -> dict[str, Any]:
        return team_queries.team(self.views, org_id, self.clock())

    @rpc(expected_exceptions=FlotillaError)
    def team_addresses(self, org_id: str, account_id: str | None = None) -> dict[str, Any]:
        """Where the members of a team get mail; for services that write to them, and keep none of it (EVT-5)."""
        return team_queries.addresses(self.views, org_id, account_id)

    @rpc(expected_exceptions=FlotillaError)
    def invite_member(self, org_id: str, username: str, invited_by: str, role: str | None = None) -> dict[str, Any]:
        email, wanted = requests.email(username), requests.role(role)
        return {"position": self._command(Membership).invite(org_id, email, wanted, invited_by)}

    @rpc(expected_exceptions=FlotillaError)
    def remove_member(self, org_id: str, username: str, removed_by: str) -> dict[str, Any]:
        return {"position": self._command(Membership).remove(org_id, requests.known_email(username), removed_by)}

    @rpc(expected_exceptions=FlotillaError)
    def change_role(self, org_id: str, username: str, role: str, changed_by: str) -> dict[str, Any]:
        email, wanted = requests.known_email(username), requests.role(role)
        return {"position": self._command(Membership).change_role(org_id, email, wanted, changed_by)}

    @rpc(expected_exceptions=FlotillaError)
    def list_invitations(self, account_id: str) -> dict[str, Any]:
        return {"invitations": team_queries.invitations(self.views, account_id, self.clock())}

    @rpc(expected_exceptions=FlotillaError)
    def answer_invitation(self, account_id: str, invitation_id: str, status: str) -> dict[str, Any]:
        if status not in ("accepted", "declined"):
            raise Refused("invalid_request", "status must be accepted or declined.")
        row = team_queries.invitation_row(self.views, account_id, invitation_id)
        membership = self._command(Membership)
        answer = membership.accept if status == "accepted" else membership.decline
        position = answer(row["org_id"], invitation_id, account_id)
        return {"invitation": objects.own_invitation_object(row, status), "position": position}

    @event_handler("orgs", "OrganizationJoined")
    def finish_joining(self, message: Mapping[str, Any]) -> None:
        """Make a member of whom the process that bound the account did not live to make one."""
        self._command(Membership).finish_joining(self.streams.event(message))

    @event_handler("orgs", "MemberRemoved")
    def finish_leaving(self, message: Mapping[str, Any]) -> None:
        """The same for whoever was removed."""
        event = self.streams.event(message)
        self._command(Membership).finish_leaving(
            event.org_id, event.account_id, "left" if event.reason == "left" else "removed"
        )
