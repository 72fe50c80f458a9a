"""Calls about companies' customers."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from nameko.events import event_handler
from nameko.rpc import ServiceRpc, rpc

from services.orgs import requests
from services.orgs.customers import beta_queries, claimants, customer_page, customer_queries, customer_requests
from services.orgs.customers.beta_codes import BetaCodes
from services.orgs.customers.customer_requests import place_of
from services.orgs.customers.customers import Way, link_over
from services.orgs.customers.owner_names import owners_named
from services.orgs.customers.serving_customers import ServingCustomers
from services.orgs.edge import Edge
from services.orgs.oauth import subjects
from services.orgs.oauth.grants import Grants
from services.orgs.oauth.registering import client_object
from services.orgs.oauth.tokens import DEFAULT_LIFE_S
from shared.errors import FlotillaError, NotFound

TEAM_CLIENT = "team"
"""What tokens are made with of customers whom the team itself creates."""


class CustomerCalls(Edge):
    """Calls about companies' customers, and who may claim a device."""

    devices = ServiceRpc("devices")

    @rpc(expected_exceptions=FlotillaError)
    def list_customers(self, product_id: int, page: int = 1, per_page: int = 25) -> dict[str, Any]:
        rows, total = customer_queries.page(self.views, product_id, page, per_page)
        owners = sorted({row["owner_id"] for row in rows})
        devices = self.devices.owned_devices(product_id=product_id, owner_ids=owners)["devices"] if owners else []
        codes = beta_queries.by_address(self.views, product_id, [row["email"] for row in rows])
        mine = {row["customer_id"]: codes[row["email"]] for row in rows if row["email"] in codes}
        return customer_page.page_object(rows, devices, mine, page, per_page, total)

    @rpc(expected_exceptions=FlotillaError)
    def count_customers(self, product_id: int) -> dict[str, Any]:
        return {"total": customer_queries.count(self.views, product_id)}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="password")
    def create_customer(
        self,
        email: str,
        product_id: int | None = None,
        org_id: str | None = None,
        password: str | None = None,
        client_id: str = TEAM_CLIENT,
    ) -> dict[str, Any]:
        """A token of the new customer. No ``password``: it is one whom the company's server knows (CUS-2).
        ``client_id``: the client that was checked, or the team's own."""
        serving, address = self._command(ServingCustomers), customer_requests.email(email)
        place = place_of(serving.streams, product_id, org_id)
        way: Way = "team" if client_id == TEAM_CLIENT else "two_legged" if password is None else "simple"
        customer_requests.must_be_open(serving.streams, place, way)
        hashed = "" if password is None else customer_requests.password_hash(password)
        made, position = serving.create(place, address, hashed, way)
        grant = self._command(Grants).issue(subjects.of_customer(made), client_id, DEFAULT_LIFE_S)
        return {**grant, "position": max(filter(None, (grant["position"], position)), default=None)}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="client_secret")
    def check_client(self, client_id: str, client_secret: str | None) -> dict[str, Any]:
        """A registered client, by its secret, or without one for what browsers may do."""
        found = self._logging_in().client(str(client_id), client_secret)
        return client_object(found)

    @rpc(expected_exceptions=FlotillaError)
    def ask_customer_reset(self, product_id: int, email: str) -> dict[str, Any]:
        serving = self._command(ServingCustomers)
        place = place_of(serving.streams, product_id, None)
        return {"position": serving.ask_reset(place, requests.known_email(email))}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments=("token", "password"))
    def reset_customer_password(self, product_id: int, token: str, password: str) -> dict[str, Any]:
        """Whether there is such a product is told to nobody."""
        serving, hashed = self._command(ServingCustomers), customer_requests.password_hash(password)
        try:
            place = place_of(serving.streams, product_id, None)
        except NotFound:
            raise link_over() from None
        return {"position": serving.reset(place, requests.credential(token), hashed)}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="password")
    def set_customer_password(self, product_id: int, email: str, password: str) -> dict[str, Any]:
        serving = self._command(ServingCustomers)
        place, password_hash = place_of(serving.streams, product_id, None), customer_requests.password_hash(password)
        return {"position": serving.set_password(place, customer_requests.known_email(email), password_hash)}

    @rpc(expected_exceptions=FlotillaError)
    def delete_customer(self, product_id: int, email: str) -> dict[str, Any]:
        serving = self._command(ServingCustomers)
        found = serving.find(place_of(serving.streams, product_id, None), customer_requests.known_email(email))
        self._command(BetaCodes).forget(product_id, email)
        return {"position": serving.delete(found)}

    @rpc(expected_exceptions=FlotillaError)
    def device_owners(self, product_id: int, owner_ids: Sequence[str]) -> dict[str, Any]:
        owners = customer_queries.owners(self.views, product_id, owner_ids)
        customers = [one["username"] for one in owners.values() if one["customer_id"] is not None]
        codes = beta_queries.by_address(self.views, product_id, customers)
        shown = {found: {**one, "activation_code": codes.get(one["username"])} for found, one in owners.items()}
        return {"owners": shown}

    @rpc(expected_exceptions=FlotillaError)
    def owners_named(self, product_id: int, username: str) -> dict[str, Any]:
        """Whom of those that the product's team may know this is the name of."""
        streams = self._command(ServingCustomers).streams
        org_id, name = place_of(streams, product_id, None).org_id, requests.known_email(username)
        return {"owner_ids": owners_named(streams, org_id, product_id, name)}

    @rpc(expected_exceptions=FlotillaError)
    def check_claim(
        self,
        owner_id: str,
        product_id: int,
        device_id: str,
        customer_id: str | None = None,
        invitee_id: str | None = None,
    ) -> dict[str, Any]:
        codes = self._command(BetaCodes)
        is_invited = invitee_id is not None and codes.is_open(product_id, invitee_id, device_id)
        claimants.check_claim(codes.streams, owner_id, customer_id, product_id, is_invited=is_invited)
        return {}

    @event_handler("orgs", "CustomerDeleted")
    def finish_deleting(self, message: Mapping[str, Any]) -> None:
        """Destroy the key, should the process that deleted the customer have died."""
        self._command(ServingCustomers).finish(self.streams.event(message).customer_id)

    @event_handler("orgs", "TokensEnded")
    def end_tokens_of_linked(self, message: Mapping[str, Any]) -> None:
        """Whoever had an account's password may have logged in with it at companies, too (CUS-3)."""
        account_id = self.streams.event(message).account_id
        for customer_id in customer_queries.linked(self.views, account_id, message["position"]):
            with suppress(NotFound):  # deleted meanwhile
                self._command(ServingCustomers).end_tokens(customer_id)

    @event_handler("orgs", "AccountForgotten")
    def delete_linked(self, message: Mapping[str, Any]) -> None:
        """Whoever forgets an account forgets the customers that it was linked to (CUS-3)."""
        account_id = self.streams.event(message).account_id
        for customer_id in customer_queries.linked(self.views, account_id, message["position"]):
            self._command(ServingCustomers).delete(customer_id)
