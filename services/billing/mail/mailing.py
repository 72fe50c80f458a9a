"""Whom of a team a letter about its subscription goes to, and the letter (BIL-3, and the table of mails in the billing
specification).

Billing knows no address: who is in the team, in which role and where they get mail is asked of ``orgs`` when a letter
is written. So whoever has left by then, or was forgotten, is told of nothing (EVT-5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from services.billing.mail.wording import Told, told
from services.billing.standing import Event
from services.billing.subscriptions import Policy, subscriptions
from shared.context import Context
from shared.errors import NotFound
from shared.mail.letters import Letter
from shared.mail.postman import Several, Untold
from shared.store.port import Position, Recorded
from shared.streams import Streams

MANAGERS = ("administrator", "owner")
"""Roles of those who manage billing."""
SOURCE = "billing mail"


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody of a team. ``email`` is personal, and is kept nowhere here."""

    account_id: str
    email: str
    role: str


@dataclass(frozen=True, slots=True)
class Team:
    """Of an organization."""

    name: str
    slug: str
    members: tuple[Member, ...]


AskTeam = Callable[[str, Position, str | None], Team]
"""The team of this organization, not older than this position, or this member of it alone. Raises ``NotFound`` and
``Unavailable``."""


@dataclass(frozen=True, slots=True)
class Mailing:
    """Writes to teams; ``url`` is where links begin."""

    streams: Streams
    policy: Policy
    team: AskTeam
    url: str

    def compose(self, recorded: Recorded, person: str | None = None) -> Letter | Several | Untold:
        """Whom this event is told to; the letter for this one of them; or why there is none. Raises ``Unavailable``
        while the team cannot be asked for."""
        event: Event = self.streams.contracts.decode(recorded)
        before = self.streams.load(subscriptions(self.policy), recorded.stream, recorded.version).state
        what = told(self.policy, before, event)
        if what is None:
            return "over"
        try:
            team = self.team(event.org_id, recorded.position, person)
        except NotFound:
            return "over"
        members = [one for one in team.members if what.for_all or one.role in MANAGERS]
        if person is None:
            return Several(tuple(one.account_id for one in members)) if members else "forgotten"
        member = next((one for one in members if one.account_id == person), None)
        return "forgotten" if member is None else self._letter(what, team, member)

    def _letter(self, what: Told, team: Team, member: Member) -> Letter:
        link = f"{self.url.rstrip('/')}/orgs/{team.slug}/{what.page}"
        fields = {**what.fields, "organization": team.name, "link": link}
        return Letter(member.account_id, member.email, what.template, fields, None, what.button)


def asked(client: Callable[[Context], Any]) -> AskTeam:
    """By RPC. ``client``: of all services, for a call with this context."""

    def team(org_id: str, position: Position, person: str | None) -> Team:
        orgs = client(replace(Context.new("system:billing", SOURCE), after=position)).orgs
        answer = orgs.team_addresses(org_id=org_id, account_id=person)
        members = tuple(Member(one["account_id"], one["email"], one["role"]) for one in answer["members"])
        return Team(answer["organization"]["name"], answer["organization"]["slug"], members)

    return team
