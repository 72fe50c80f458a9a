"""Creating accounts and organizations, which takes more than one stream.

First a name is reserved, then one append decides, then follows what it entails. A crash in between is mended by
repeating the command (same command id), and for organizations by the reaction to ``OrganizationFounded``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.orgs.names import Kind, slug_of, with_suffixes
from services.orgs.people import accounts
from services.orgs.people.account_commands import CreateAccount, FoundOrganization
from services.orgs.people.accounts import ACCOUNTS, Account, refuse_second_organization
from services.orgs.people.addresses import reserve_address
from services.orgs.requests import refused
from services.orgs.reservations import reserve
from services.orgs.teams import organizations
from services.orgs.teams.organization_commands import CreateOrganization
from services.orgs.teams.organizations import ORGANIZATIONS
from services.orgs.views import fold_organization
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.orgs import OrganizationFounded, Plan
from shared.ids import record_id
from shared.projections.view import Row
from shared.store.port import Position
from shared.streams import Streams


@dataclass(frozen=True, slots=True)
class Creation:
    """One command that creates something; every method may be repeated with the same ``context``."""

    streams: Streams
    context: Context
    now: datetime

    def account(self, email: str, password_hash: str, info: tuple[str, str, str]) -> tuple[str, Position | None]:
        """The new account's id. Refuses with ``username_taken``."""
        account_id = record_id(self.context.command_id, "account")
        stream = accounts.stream_of(account_id)
        if not reserve_address(self.streams, self.context, self.now, email, stream):
            raise refused("username_taken", "There is an account with this e-mail address.")
        nonce = record_id(self.context.command_id, "verification")
        command = CreateAccount(account_id, email, password_hash, *info, nonce, self.now)
        return account_id, self.streams.handle(ACCOUNTS, stream, command, self.context).position

    def must_be_free(self, account_id: str) -> None:
        """Refuses with ``already_in_organization``, unless by what this very command founded."""
        stream = accounts.stream_of(account_id)
        account = self.streams.load(ACCOUNTS, stream).state
        if self.streams.repeated(ACCOUNTS, stream, self.context) is None:
            refuse_second_organization(account, None)

    def organization(
        self, account_id: str, name: str, slug: str | None, plan: Plan, org_id: str | None = None
    ) -> OrganizationFounded:
        """Found it and create it; ``slug`` None is made from the name, ``org_id`` is that of a draft. Refuses with
        ``already_in_organization``, ``slug_taken``, and ``card_required`` for a draft that is used."""
        org_id = org_id or record_id(self.context.command_id, "org")
        stream = accounts.stream_of(account_id)
        account = self.streams.load(ACCOUNTS, stream).state
        is_used = self.streams.load(ORGANIZATIONS, organizations.stream_of(org_id)).state.created is not None
        if self.streams.repeated(ACCOUNTS, stream, self.context) is None:
            refuse_second_organization(account, None)  # before a slug is reserved in vain
            if is_used:
                raise Refused("card_required", "An organization was created with this draft; begin another one.")
            command = FoundOrganization(org_id, name, self._org_slug(account, name, slug), plan)
            self.streams.handle(ACCOUNTS, stream, command, self.context)
        founded = self._founded(stream)
        self.finish(founded)
        return founded

    def _org_slug(self, account: Account, name: str, slug: str | None) -> str:
        if account.account_id is None or account.forgotten:
            raise NotFound("User not found.")
        stream = accounts.stream_of(account.account_id)
        wishes = [slug] if slug is not None else with_suffixes(slug_of(name, "org"))
        for wish in wishes:
            if self._reserve("org_slug", wish, stream):
                return wish
        raise Refused("slug_taken", "There is an organization with this slug.")

    def _founded(self, account_stream: str) -> OrganizationFounded:
        founded = self.streams.load(ACCOUNTS, account_stream).state.founded  # as stored, should two runs have raced
        if founded is None:
            raise NotFound("Organization not found.")
        return founded

    def finish(self, founded: OrganizationFounded) -> None:
        """Create what was founded, unless that is done already."""
        stream = organizations.stream_of(founded.org_id)
        self.streams.handle(ORGANIZATIONS, stream, CreateOrganization(founded), self.context)

    def _reserve(self, kind: Kind, name: str, holder_stream: str) -> bool:
        return reserve(self.streams, self.context, self.now, kind, name, holder_stream)


def organization_row(streams: Streams, org_id: str) -> tuple[Row, Position | None]:
    """An organization as ``queries.organization_row`` will have it, from its own stream, and how far that goes. Raises
    ``NotFound``."""
    loaded = streams.load(ORGANIZATIONS, organizations.stream_of(org_id))
    if loaded.state.created is None:
        raise NotFound("Organization not found.")
    created = loaded.state.created
    row = fold_organization(None, created, loaded.recorded[0]) or {}
    return {**row, "name": loaded.state.name, "owner_email": created.owner_email}, loaded.position
