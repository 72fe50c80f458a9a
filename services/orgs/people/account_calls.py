"""Calls about accounts."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko.events import event_handler
from nameko.rpc import rpc

from services.orgs import queries, requests
from services.orgs.customers.serving_customers import ServingCustomers
from services.orgs.edge import Edge
from services.orgs.people import passwords
from services.orgs.people.creation import Creation
from services.orgs.people.forgetting import Forgetting
from services.orgs.people.own_account import OwnAccount
from services.orgs.teams import team_queries
from services.orgs.teams.membership import Membership
from shared.errors import FlotillaError


class AccountCalls(Edge):
    """Calls about accounts."""

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="password")
    def create_account(self, username: str, password: str, account_info: Any = None) -> dict[str, Any]:
        email, info = requests.email(username), requests.account_info(account_info)
        password_hash = passwords.hashed(requests.password(password))
        account_id, position = self._command(Creation).account(email, password_hash, info)
        return {"account_id": account_id, "position": position}

    @rpc(expected_exceptions=FlotillaError)
    def get_user(self, account_id: str) -> dict[str, Any]:
        return queries.user(self.views, account_id)

    @rpc(expected_exceptions=FlotillaError)
    def ask_verification(self, account_id: str) -> dict[str, Any]:
        return {"position": self._command(OwnAccount).ask_verification(account_id)}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="token")
    def verify_email(self, token: str) -> dict[str, Any]:
        return {"position": self._command(OwnAccount).verify(token)}

    @rpc(expected_exceptions=FlotillaError)
    def ask_password_reset(self, username: str) -> dict[str, Any]:
        return {"position": self._command(OwnAccount).ask_reset(requests.credential(username))}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments=("token", "password"))
    def reset_password(self, token: str, password: str, username: str | None = None) -> dict[str, Any]:
        stated = requests.password(password)
        return {"position": self._command(OwnAccount).reset_password(token, stated, username)}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments=("current_password", "password"))
    def change_password(
        self, account_id: str, current_password: str, password: str, end_tokens: bool = False
    ) -> dict[str, Any]:
        known, wanted = requests.credential(current_password), requests.password(password)
        changing = self._command(OwnAccount)
        return {"position": changing.change_password(account_id, known, wanted, end_tokens=bool(end_tokens))}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="current_password")
    def change_email(
        self, account_id: str, current_password: str, username: str, end_tokens: bool = False
    ) -> dict[str, Any]:
        known, wanted = requests.credential(current_password), requests.email(username)
        changing = self._command(OwnAccount)
        return {"position": changing.change_email(account_id, known, wanted, end_tokens=bool(end_tokens))}

    @rpc(expected_exceptions=FlotillaError)
    def change_profile(self, account_id: str, account_info: Any) -> dict[str, Any]:
        return {"position": self._command(OwnAccount).change_profile(account_id, requests.account_info(account_info))}

    @rpc(expected_exceptions=FlotillaError)
    def end_tokens(self, account_id: str, customer_id: str | None = None) -> dict[str, Any]:
        if customer_id is not None:
            return {"position": self._command(ServingCustomers).end_tokens(customer_id)}
        return {"position": self._command(OwnAccount).end_tokens(account_id)}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="password")
    def delete_account(self, account_id: str, password: str) -> dict[str, Any]:
        inviting = team_queries.orgs_that_invite(self.views, account_id)
        deleting = self._command(OwnAccount)
        return {"position": deleting.delete(account_id, requests.credential(password), inviting)}

    @event_handler("orgs", "AccountForgotten")
    def finish_forgetting(self, message: Mapping[str, Any]) -> None:
        """Destroy the key, should the process that forgot the person have died, revoke the tokens, and give the seat
        in a team back."""
        account_id = self.streams.event(message).account_id
        self._command(Forgetting).finish(account_id, queries.live_tokens(self.views, account_id))
        self._command(Membership).part(account_id, team_queries.orgs_that_invite(self.views, account_id))
