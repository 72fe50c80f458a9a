"""What is asked of teams and invitations. Reads views only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.orgs import objects
from services.orgs.teams.organizations import MISSING, NO_INVITATION
from services.orgs.views import ACCOUNTS, INVITATIONS, MEMBERS, ORGANIZATIONS
from shared.bus.providers import WorkerViews
from shared.errors import NotFound
from shared.projections.view import Row

MAX_MEMBERS = 1_000
"""So many members of a team are listed, those who joined first."""


def team(views: WorkerViews, org_id: str, now: datetime) -> dict[str, Any]:
    """The members of an organization, and its invitations that are open (contract 5)."""
    members, accounts = views.table(MEMBERS), views.table(ACCOUNTS)
    of_team = (
        sa.select(members, accounts.c.email)
        .join_from(members, accounts, members.c.account_id == accounts.c.account_id)
        .where(members.c.org_id == org_id)
        .order_by(members.c.joined_at, members.c.account_id)
        .limit(MAX_MEMBERS)
    )
    invites = _open_invitations(views, now, views.table(INVITATIONS).c.org_id == org_id)
    with views.read() as connection:
        return {
            "team": [objects.member_object(dict(row)) for row in connection.execute(of_team).mappings()],
            "invites": [objects.invitation_object(dict(row)) for row in connection.execute(invites).mappings()],
        }


def addresses(views: WorkerViews, org_id: str, account_id: str | None) -> dict[str, Any]:
    """``{"organization": {name, slug}, "members": [{account_id, email, role}]}``: of the members who were not
    forgotten, or of this one alone. Raises ``NotFound``."""
    orgs, members, accounts = views.table(ORGANIZATIONS), views.table(MEMBERS), views.table(ACCOUNTS)
    of_team = (
        sa.select(members.c.account_id, accounts.c.email, members.c.role)
        .join_from(members, accounts, members.c.account_id == accounts.c.account_id)
        .where(members.c.org_id == org_id, accounts.c.forgotten.is_(False))
        .order_by(members.c.joined_at, members.c.account_id)
        .limit(MAX_MEMBERS)
    )
    if account_id is not None:
        of_team = of_team.where(members.c.account_id == account_id)
    named = sa.select(orgs.c.name, orgs.c.slug).where(orgs.c.org_id == org_id)
    with views.read() as connection:
        organization = connection.execute(named).mappings().one_or_none()
        if organization is None:
            raise NotFound(MISSING)
        found = [dict(row) for row in connection.execute(of_team).mappings()]
    return {"organization": dict(organization), "members": found}


def invitations(views: WorkerViews, account_id: str, now: datetime) -> list[dict[str, Any]]:
    """The open invitations of an account (ORG-4)."""
    query = _open_invitations(views, now, views.table(INVITATIONS).c.account_id == account_id)
    with views.read() as connection:
        return [objects.own_invitation_object(dict(row)) for row in connection.execute(query).mappings()]


def invitation_row(views: WorkerViews, account_id: str, invitation_id: str) -> Row:
    """An invitation of this account, whatever became of it. Raises ``NotFound`` for any other."""
    table = views.table(INVITATIONS)
    theirs = (table.c.account_id == account_id, table.c.invitation_id == invitation_id)
    with views.read() as connection:
        found = connection.execute(_invitations(views).where(*theirs)).mappings().one_or_none()
    if found is None:
        raise NotFound(NO_INVITATION)
    return dict(found)


def orgs_that_invite(views: WorkerViews, account_id: str) -> list[str]:
    """The organizations with an invitation of this account that nobody has answered."""
    table = views.table(INVITATIONS)
    query = sa.select(table.c.org_id).where(table.c.account_id == account_id, table.c.status == "pending")
    with views.read() as connection:
        return list(connection.execute(query).scalars())


def _open_invitations(views: WorkerViews, now: datetime, whose: sa.ColumnElement[bool]) -> sa.Select[Any]:
    table = views.table(INVITATIONS)
    return _invitations(views).where(whose, table.c.status == "pending", table.c.expires_at > now)


def _invitations(views: WorkerViews) -> sa.Select[Any]:
    table, orgs, accounts = views.table(INVITATIONS), views.table(ORGANIZATIONS), views.table(ACCOUNTS)
    inviter = accounts.alias("inviter")
    return (
        sa.select(
            table,
            orgs.c.name,
            orgs.c.slug,
            accounts.c.email,
            sa.func.coalesce(inviter.c.email, "").label("invited_by_email"),
        )
        .join_from(table, orgs, table.c.org_id == orgs.c.org_id)
        .join(accounts, table.c.account_id == accounts.c.account_id)
        .join(inviter, table.c.invited_by == inviter.c.account_id, isouter=True)
        .order_by(table.c.created_at, table.c.invitation_id)
    )
