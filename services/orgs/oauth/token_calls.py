"""Calls about access tokens."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

from nameko.rpc import rpc

from services.orgs import queries, requests
from services.orgs.edge import Edge
from services.orgs.oauth.grants import Grants
from shared.errors import FlotillaError


class TokenCalls(Edge):
    """Calls about access tokens."""

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="password")
    def check_password(self, username: str, password: str) -> dict[str, Any]:
        return self._command(Grants).check(requests.credential(username), requests.credential(password))

    @rpc(expected_exceptions=FlotillaError)
    def revoke_token(self, token_id: str, account_id: str | None) -> dict[str, Any]:
        token_id = requests.record_id(token_id, "Token not found.")
        return {"position": self._command(Grants).revoke(token_id, account_id)}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="token")
    def find_token(self, token: str) -> dict[str, Any]:
        return self._command(Grants).find(token)

    @rpc(expected_exceptions=FlotillaError)
    def list_tokens(self, account_id: str) -> dict[str, Any]:
        return {"tokens": queries.tokens(self.views, account_id, self.clock())}
