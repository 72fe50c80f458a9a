"""The ``orgs`` service: RPC methods, and the reaction that completes what an account has founded."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from nameko.events import event_handler
from nameko.rpc import ServiceRpc, rpc

from services.orgs import creation, numbering, objects, passwords, products, queries, requests
from services.orgs.creation import Creation
from services.orgs.forgetting import Forgetting
from services.orgs.grants import Grants
from services.orgs.numbering import NewProduct, Numbering
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.context import Context
from shared.errors import FlotillaError, NotFound
from shared.projections.view import Row
from shared.streams import Streams

Made = TypeVar("Made")


class OrgsService:
    """Accounts, access tokens, organizations with their teams, products."""

    name = "orgs"

    streams = EventStreams()
    views = Views()
    clock = ClockProvider()
    billing = ServiceRpc("billing")

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="password")
    def create_account(self, username: str, password: str, account_info: Any = None) -> dict[str, Any]:
        email, info = requests.email(username), requests.account_info(account_info)
        password_hash = passwords.hashed(requests.password(password))
        account_id, position = self._command(Creation).account(email, password_hash, info)
        return {"account_id": account_id, "position": position}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="password")
    def issue_token(self, username: str, password: str, client: str, expires_in_s: int | None = None) -> dict[str, Any]:
        client, life_s = requests.client(client), requests.life_s(expires_in_s)
        who, secret = requests.credential(username), requests.credential(password)
        return self._command(Grants).by_password(who, secret, client, life_s)

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="password")
    def check_password(self, username: str, password: str) -> dict[str, Any]:
        return self._command(Grants).check(requests.credential(username), requests.credential(password))

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="refresh_token")
    def refresh_token(self, refresh_token: str, client: str) -> dict[str, Any]:
        token_id = queries.token_of_refresh(self.views, refresh_token)
        return self._command(Grants).by_refresh_token(token_id, refresh_token, requests.client(client))

    @rpc(expected_exceptions=FlotillaError)
    def revoke_token(self, token_id: str, account_id: str) -> dict[str, Any]:
        token_id = requests.record_id(token_id, "Token not found.")
        return {"position": self._command(Grants).revoke(token_id, account_id)}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="token")
    def find_token(self, token: str) -> dict[str, Any]:
        return self._command(Grants).find(token)

    @rpc(expected_exceptions=FlotillaError)
    def list_tokens(self, account_id: str) -> dict[str, Any]:
        return {"tokens": queries.tokens(self.views, account_id, self.clock())}

    @rpc(expected_exceptions=FlotillaError)
    def get_user(self, account_id: str) -> dict[str, Any]:
        return queries.user(self.views, account_id)

    @rpc(expected_exceptions=FlotillaError)
    def team_emails(self, product_id: int, account_ids: Sequence[str]) -> dict[str, Any]:
        return {"emails": queries.team_emails(self.views, product_id, account_ids)}

    @rpc(expected_exceptions=FlotillaError)
    def create_organization(
        self, account_id: str, name: str, slug: str | None = None, plan: str | None = None
    ) -> dict[str, Any]:
        account_id = requests.record_id(account_id, "User not found.")
        wanted = requests.title("name", name), requests.org_slug(slug), requests.plan(plan)
        founded = self._command(Creation).organization(account_id, *wanted)
        row, position = creation.organization_row(self.streams, founded.org_id)
        return {"organization": objects.organization_object(row, _trial(row)), "position": position}

    @rpc(expected_exceptions=FlotillaError)
    def get_organization(self, org_id: str) -> dict[str, Any]:
        row = queries.organization_row(self.views, org_id)
        return {"organization": objects.organization_object(row, self._subscription(row))}

    @rpc(expected_exceptions=FlotillaError)
    def create_product(
        self,
        org_id: str,
        name: str,
        description: str,
        platform_id: int | None = None,
        device_type: str | None = None,
        type: str | None = None,  # noqa: A002 - the contract's word
        hardware_version: str | None = None,
    ) -> dict[str, Any]:
        wanted = NewProduct(
            org_id=requests.record_id(org_id, "Organization not found."),
            name=requests.title("name", name),
            description=requests.description(description),
            device_type=products.device_type_of(requests.platform_id(platform_id), requests.device_type(device_type)),
            type=requests.product_type(type),
            hardware_version=requests.hardware_version(hardware_version),
        )
        number = self._command(Numbering).create(wanted, lambda: queries.highest_number(self.views))
        row, position = numbering.product_row(self.streams, number)
        return {"product": objects.product_object(row), "position": position}

    @rpc(expected_exceptions=FlotillaError)
    def list_products(self, org_id: str) -> dict[str, Any]:
        return {"products": queries.products(self.views, org_id)}

    @rpc(expected_exceptions=FlotillaError)
    def get_product(self, product_id: int) -> dict[str, Any]:
        return {"product": queries.product(self.views, product_id)}

    @event_handler("orgs", "OrganizationFounded")
    def finish_organization(self, message: Mapping[str, Any]) -> None:
        """Create what was founded, should the process that founded it have died."""
        self._command(Creation).finish(self.streams.event(message))

    @event_handler("orgs", "AccountForgotten")
    def finish_forgetting(self, message: Mapping[str, Any]) -> None:
        """Destroy the key, should the process that forgot the person have died, and revoke the tokens."""
        account_id = self.streams.event(message).account_id
        self._command(Forgetting).finish(account_id, queries.live_tokens(self.views, account_id))

    def _command(self, kind: Callable[[Streams, Context, datetime], Made]) -> Made:
        return kind(Streams(self.streams.store, self.streams.contracts), self.streams.context, self.clock())

    def _subscription(self, org: Row) -> Mapping[str, Any]:
        try:
            found: dict[str, Any] = self.billing.subscription(org_id=org["org_id"])
        except NotFound:
            return _trial(org)  # billing has not heard of it yet
        return found


def _trial(org: Row) -> dict[str, Any]:
    """What every subscription begins with (ORG-1)."""
    return {"state": "trialing", "reason": None, "plan": org["plan"]}
