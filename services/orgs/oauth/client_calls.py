"""Calls about OAuth clients and logging in at them."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko.rpc import rpc

from services.orgs import requests
from services.orgs.edge import Edge
from services.orgs.oauth import client_queries
from services.orgs.oauth.clients import Owner
from services.orgs.oauth.registering import Registering
from shared.errors import FlotillaError


class ClientCalls(Edge):
    """``owner`` has one of ``account_id``, ``org_id``, and ``product_id`` beside its ``org_id``."""

    @rpc(expected_exceptions=FlotillaError)
    def create_client(
        self,
        owner: Mapping[str, Any],
        name: Any,
        type: Any,  # noqa: A002 - the contract's word
        redirect_uri: Any = None,
        scope: Any = None,
    ) -> dict[str, Any]:
        return self._command(Registering).create(Owner(**owner), name, type, redirect_uri, scope)

    @rpc(expected_exceptions=FlotillaError)
    def list_clients(self, owner: Mapping[str, Any]) -> dict[str, Any]:
        return {"clients": client_queries.clients(self.views, Owner(**owner))}

    @rpc(expected_exceptions=FlotillaError)
    def change_client(
        self, owner: Mapping[str, Any], client_id: str, name: Any = None, scope: Any = None
    ) -> dict[str, Any]:
        return self._command(Registering).change(Owner(**owner), client_id, name, scope)

    @rpc(expected_exceptions=FlotillaError)
    def delete_client(self, owner: Mapping[str, Any], client_id: str) -> dict[str, Any]:
        return {"position": self._command(Registering).delete(Owner(**owner), client_id)}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments=("fields", "basic"))
    def oauth_token(
        self, fields: Mapping[str, str], basic: list[str] | None = None, expires_in_s: int | None = None
    ) -> dict[str, Any]:
        return self._logging_in().token(_texts(fields), _pair(basic), requests.life_s(expires_in_s))

    @rpc(expected_exceptions=FlotillaError)
    def check_authorization(self, fields: Mapping[str, str]) -> dict[str, Any]:
        client = self._logging_in().consent(_texts(fields))
        target = client.created.redirect_uri if client.created else None
        company = client_queries.place_name(self.views, client.owner)
        return {"client": client.name, "company": company, "redirect_uri": target}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="password")
    def authorize(self, fields: Mapping[str, str], username: str, password: str, allowed: bool) -> dict[str, Any]:
        who, secret = requests.credential(username), requests.credential(password)
        return self._logging_in().authorize(_texts(fields), who, secret, allowed=bool(allowed))


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """What is no text was not sent."""
    return {str(name): value for name, value in fields.items() if isinstance(value, str)}


def _pair(basic: list[str] | None) -> tuple[str, str] | None:
    return (str(basic[0]), str(basic[1])) if basic else None
