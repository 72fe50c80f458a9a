"""Teams, from an organization or one of its products, and invitations as the invited see them (contract 5)."""

from __future__ import annotations

from services.gateway.http import documents, people_schemas, team
from services.gateway.http.calls import Route
from services.gateway.http.routes.rows import ORG, PRODUCT, delete, get, post, put


def _team(path: str) -> list[Route]:
    member = path + "/team/{username}"
    return [
        get(path + "/team", "team.read", "Members and open invitations", team.list_team, people_schemas.Team()),
        post(
            path + "/team",
            "team.change",
            "Invite somebody who has an account",
            team.invite,
            people_schemas.Invited(),
            request=people_schemas.Invite(),
        ),
        put(
            member,
            "team.change",
            "Change what a member may do",
            team.change_role,
            documents.Ok(),
            request=people_schemas.NewRole(),
        ),
        delete(
            member,
            "team.leave",
            "Remove a member, withdraw an invitation, or leave",
            team.remove,
            documents.Ok(),
            also=("team.change",),
        ),
    ]


ROUTES = [
    *_team(ORG),
    *_team(PRODUCT),
    get(
        "/v1/user/invitations",
        "invitations.read",
        "Organizations that invite the caller",
        team.list_invitations,
        people_schemas.Invitations(),
    ),
    put(
        "/v1/user/invitations/{invitation}",
        "invitations.answer",
        "Accept or decline an invitation",
        team.answer_invitation,
        people_schemas.Answered(),
        request=people_schemas.Answer(),
    ),
]
