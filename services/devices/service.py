"""The ``devices`` service: RPC methods, reactions and the presence timer. What they mean is in the other modules."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nameko.events import event_handler
from nameko.rpc import ServiceRpc, rpc
from nameko.timer import timer

from services.devices import (
    access,
    attributes,
    bulk,
    claiming,
    device_page,
    error_queries,
    fleet_queries,
    grouping,
    impact,
    import_requests,
    listing,
    members,
    own_devices,
    past_changes,
    predicting,
    questions,
    usage_queries,
    why,
)
from services.devices.claiming import Claiming
from services.devices.claims import Claimant
from services.devices.device import DEVICE, DenyDevice, DesireAttributes, RemoveDevice, stream_of
from services.devices.quarantine import suspicion
from services.devices.query_language import Named
from services.devices.releasing import release_all
from services.devices.why import Emails
from shared.bus.given import Given
from shared.bus.past_answers import answer
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.errors import FlotillaError
from shared.projections import past_moments
from shared.rollouts import Rollout
from shared.times import iso

SWEEP_S = 2
"""How often presence is looked at, and so the most that a device shows online beyond its gateway's lease."""


class DevicesService:
    """Devices of all products: their membership, presence and reports, what lets them in, and whose they are."""

    name = "devices"

    streams = EventStreams()
    views = Views()
    past = Given()
    clock = ClockProvider()
    blobs = Given()
    platforms = Given()
    presence = Given()
    known_products = Given()
    firmware = ServiceRpc("firmware")
    orgs = ServiceRpc("orgs")

    @rpc(expected_exceptions=FlotillaError)
    def import_lines(self, product_id: int, lines: Sequence[str], force: bool = False) -> dict[str, Any]:
        return import_requests.import_lines(self.streams, self.platforms, product_id, lines, force)

    @rpc(expected_exceptions=FlotillaError)
    def start_import(self, product_id: int, blob: str, size_bytes: int, force: bool = False) -> dict[str, Any]:
        now = self.clock()
        return import_requests.start_import(self.streams, self.blobs, product_id, blob, size_bytes, force, now)

    @rpc(expected_exceptions=FlotillaError)
    def cancel_import(self, product_id: int, import_id: str) -> dict[str, Any]:
        return import_requests.cancel_import(self.streams, product_id, import_id)

    @rpc(expected_exceptions=FlotillaError)
    def list_imports(self, product_id: int, page: int = 1, per_page: int = 25) -> dict[str, Any]:
        return import_requests.list_imports(self.views, product_id, page, per_page)

    @rpc(expected_exceptions=FlotillaError)
    def get_import(self, product_id: int, import_id: str) -> dict[str, Any]:
        return import_requests.get_import(self.views, product_id, import_id)

    @rpc(expected_exceptions=FlotillaError)
    def import_problems(self, product_id: int, import_id: str, page: int = 1, per_page: int = 25) -> dict[str, Any]:
        return import_requests.import_problems(self.views, product_id, import_id, page, per_page)

    @rpc(expected_exceptions=FlotillaError)
    def list_devices(
        self,
        product_id: int,
        filters: Mapping[str, Any] | None = None,
        sort: str | None = None,
        descending: bool = True,
        page: int = 1,
        per_page: int = 25,
        after: str | None = None,
        as_of: str | None = None,
        query: str | None = None,
    ) -> dict[str, Any]:
        now = (None if as_of is None else past_moments.parse(as_of).at) or self.clock()
        named = self._named(product_id)
        known = self._with_owners(filters or {}, named)
        asked = listing.parse(
            product_id, known, sort, descending, page, per_page, after, query=query, now=now, named=named
        )
        owners = self._owners(product_id)
        return answer(self.past, self.views, as_of, lambda views: fleet_queries.list_devices(views, asked, owners))

    @rpc(expected_exceptions=FlotillaError)
    def get_device(self, product_id: int, device_id: str, as_of: str | None = None) -> dict[str, Any]:
        owners = self._owners(product_id)
        return answer(
            self.past, self.views, as_of, lambda views: fleet_queries.get_device(views, product_id, device_id, owners)
        )

    @rpc(expected_exceptions=FlotillaError)
    def owned_devices(self, product_id: int, owner_ids: Sequence[str]) -> dict[str, Any]:
        return {"devices": fleet_queries.owned_devices(self.views, product_id, owner_ids)}

    @rpc(expected_exceptions=FlotillaError)
    def list_own_devices(self, account_id: str) -> dict[str, Any]:
        return own_devices.list_own_devices(self.views, account_id)

    @rpc(expected_exceptions=FlotillaError)
    def find_own_devices(self, account_id: str, name: str, product_id: int | None = None) -> dict[str, Any]:
        return own_devices.find_own_devices(self.views, account_id, name, product_id)

    @rpc(expected_exceptions=FlotillaError)
    def update_device(self, product_id: int, device_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        updated = members.update(self.streams, self.views, self.firmware, product_id, device_id, changes)
        return {**updated, "updated_at": iso(self.clock())}

    @rpc(expected_exceptions=FlotillaError)
    def act_on_devices(
        self, product_id: int, device_ids: Sequence[str], action: str, options: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        return bulk.act(self.streams, product_id, device_ids, action, options or {})

    @rpc(expected_exceptions=FlotillaError)
    def retry_update(self, product_id: int, device_id: str) -> dict[str, Any]:
        return members.retry_update(self.streams, self.views, product_id, device_id)

    @rpc(expected_exceptions=FlotillaError)
    def remove_device(self, product_id: int, device_id: str, deny: bool = False) -> dict[str, Any]:
        step = DenyDevice() if deny else RemoveDevice()
        return {"position": members.change(self.streams, product_id, device_id, step).position}

    @rpc(expected_exceptions=FlotillaError)
    def replace_tokens(self, product_id: int, device_ids: Sequence[str]) -> dict[str, Any]:
        return members.replace_tokens(self.streams, product_id, device_ids)

    @rpc(expected_exceptions=FlotillaError)
    def list_groups(self, product_id: int, name: str | None = None) -> dict[str, Any]:
        return grouping.list_groups(self.views, product_id, name)

    @rpc(expected_exceptions=FlotillaError)
    def get_group(self, product_id: int, name: str) -> dict[str, Any]:
        return grouping.get_group(self.views, product_id, name)

    @rpc(expected_exceptions=FlotillaError)
    def create_group(
        self, product_id: int, name: str, description: str | None = None, color: str | None = None
    ) -> dict[str, Any]:
        return grouping.create_group(self.streams, product_id, name, description, color)

    @rpc(expected_exceptions=FlotillaError)
    def change_group(self, product_id: int, name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        return grouping.change_group(self.streams, self.views, product_id, name, changes)

    @rpc(expected_exceptions=FlotillaError)
    def delete_group(self, product_id: int, name: str) -> dict[str, Any]:
        return grouping.delete_group(self.streams, product_id, name)

    @rpc(expected_exceptions=FlotillaError)
    def regroup(
        self, product_id: int, device_ids: Sequence[str], add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> dict[str, Any]:
        return grouping.regroup(self.streams, product_id, device_ids, add, remove)

    @rpc(expected_exceptions=FlotillaError)
    def update_impact(
        self, product_id: int, version: int, product_default: bool = True, groups: Sequence[str] = ()
    ) -> dict[str, Any]:
        return impact.update_impact(self.views, product_id, version, product_default, groups)

    @rpc(expected_exceptions=FlotillaError)
    def rollout_sizes(
        self,
        product_id: int,
        rollout_id: str,
        version: int,
        groups: Sequence[str],
        stages: Sequence[Mapping[str, Any]],
        intelligent: bool = False,
    ) -> dict[str, Any]:
        rollout = Rollout(rollout_id, version, tuple(groups), intelligent=intelligent)
        return predicting.rollout_sizes(self.views, product_id, rollout, stages)

    @rpc(expected_exceptions=FlotillaError)
    def predict_rollout(
        self,
        product_id: int,
        rollout_id: str,
        version: int,
        groups: Sequence[str],
        shares: Sequence[int],
        after: str | None = None,
        limit: int = predicting.MAX_PER_PAGE,
        intelligent: bool = False,
    ) -> dict[str, Any]:
        rollout = Rollout(rollout_id, version, tuple(groups), intelligent=intelligent)
        return predicting.predict_rollout(self.views, product_id, rollout, shares, after, limit)

    @rpc(expected_exceptions=FlotillaError)
    def count_locked(self, product_id: int, version: int) -> dict[str, Any]:
        return {"count": impact.count_locked(self.views, product_id, version)}

    @rpc(expected_exceptions=FlotillaError)
    def statistics(self, product_id: int, as_of: str | None = None) -> dict[str, Any]:
        if as_of is None:
            return questions.statistics(self.views, product_id, self.clock())
        return answer(self.past, self.views, as_of, lambda views: fleet_queries.statistics(views, product_id))

    @rpc(expected_exceptions=FlotillaError)
    def questions(self, product_id: int, days: int = 30) -> dict[str, Any]:
        return questions.answers(self.views, product_id, self.clock(), days)

    @rpc(expected_exceptions=FlotillaError)
    def usage(self, product_id: int, since: str | None = None, until: str | None = None) -> dict[str, Any]:
        return usage_queries.usage(self.views, product_id, self.clock(), since, until)

    @rpc(expected_exceptions=FlotillaError)
    def device_usage(
        self, product_id: int, device_id: str, since: str | None = None, until: str | None = None
    ) -> dict[str, Any]:
        return usage_queries.device_usage(self.views, product_id, device_id, self.clock(), since, until)

    @rpc(expected_exceptions=FlotillaError)
    def owner_usage(
        self, product_id: int, owner_id: str, since: str | None = None, until: str | None = None
    ) -> dict[str, Any]:
        return usage_queries.owner_usage(self.views, product_id, owner_id, self.clock(), since, until)

    @rpc(expected_exceptions=FlotillaError)
    def using_customers(
        self,
        product_id: int,
        days: int = 30,
        active: bool | None = None,
        after: str | None = None,
        per_page: int = 25,
    ) -> dict[str, Any]:
        owners = self._owners(product_id)
        return usage_queries.customers(self.views, product_id, self.clock(), owners, days, active, after, per_page)

    @rpc(expected_exceptions=FlotillaError)
    def error_rates(self, product_id: int, since: str, version: int | None = None) -> dict[str, Any]:
        return error_queries.error_rates(self.views, product_id, since, version, self.clock())

    @rpc(expected_exceptions=FlotillaError)
    def errors(
        self,
        product_id: int,
        step: str = "hour",
        since: str | None = None,
        until: str | None = None,
        kind: str | None = None,
        version: int | None = None,
    ) -> dict[str, Any]:
        return error_queries.errors(self.views, product_id, self.clock(), step, since, until, kind, version)

    @rpc(expected_exceptions=FlotillaError)
    def erring_devices(
        self, product_id: int, day: str | None = None, after: str | None = None, per_page: int = 25
    ) -> dict[str, Any]:
        return error_queries.erring_devices(self.views, product_id, self.clock(), day, after, per_page)

    @rpc(expected_exceptions=FlotillaError)
    def changes(
        self, product_id: int, since: str, until: str | None = None, after: str | None = None, per_page: int = 25
    ) -> dict[str, Any]:
        asked = past_changes.parse(product_id, since, until, after, per_page)
        return past_changes.answer(self.past, self.views, asked)

    @rpc(expected_exceptions=FlotillaError)
    def why(self, product_id: int, device_id: str) -> dict[str, Any]:
        return why.why(self.streams.store, self.views, self._emails(product_id), product_id, device_id)

    @rpc(expected_exceptions=FlotillaError)
    def timeline(self, product_id: int, device_id: str, after: str | None = None, per_page: int = 25) -> dict[str, Any]:
        emails = self._emails(product_id)
        return device_page.timeline(self.streams.store, self.views, emails, product_id, device_id, after, per_page)

    @rpc(expected_exceptions=FlotillaError)
    def list_updates(self, product_id: int, device_id: str) -> dict[str, Any]:
        return device_page.updates(self.views, product_id, device_id)

    @rpc(expected_exceptions=FlotillaError)
    def list_sessions(
        self, product_id: int, device_id: str, after: str | None = None, per_page: int = 25
    ) -> dict[str, Any]:
        return device_page.list_sessions(self.views, product_id, device_id, after, per_page)

    @rpc(expected_exceptions=FlotillaError)
    def set_key(
        self, product_id: int, device_id: str, algorithm: str | None = None, public_key: str = ""
    ) -> dict[str, Any]:
        return access.set_key(self.streams, product_id, device_id, algorithm, public_key)

    @rpc(expected_exceptions=FlotillaError)
    def set_certificate(self, product_id: int, device_id: str, fingerprint: str) -> dict[str, Any]:
        return access.set_certificate(self.streams, product_id, device_id, fingerprint)

    @rpc(expected_exceptions=FlotillaError)
    def provision(
        self,
        product_id: int,
        device_name: str | None = None,
        token_digest: str | None = None,
        fingerprint: str | None = None,
        create: bool = False,
    ) -> dict[str, Any]:
        return access.provision(self.streams, product_id, device_name, token_digest, fingerprint, create)

    @rpc(expected_exceptions=FlotillaError)
    def desire_attributes(
        self, product_id: int, device_id: str, values: Mapping[str, Any], removed: Sequence[str] = ()
    ) -> dict[str, Any]:
        step = DesireAttributes(attributes.parse(values, removed))
        return {"position": members.change(self.streams, product_id, device_id, step).position}

    @rpc(expected_exceptions=FlotillaError)
    def get_attributes(self, product_id: int, device_id: str) -> dict[str, Any]:
        return fleet_queries.get_attributes(self.views, product_id, device_id)

    @rpc(expected_exceptions=FlotillaError)
    def list_misbehaviours(self, product_id: int, device_id: str) -> dict[str, Any]:
        return {"misbehaviours": fleet_queries.list_misbehaviours(self.views, product_id, device_id)}

    @rpc(expected_exceptions=FlotillaError)
    def locate(self, device_id: str) -> dict[str, Any]:
        return fleet_queries.locate(self.views, device_id)

    @rpc(expected_exceptions=FlotillaError)
    def issue_claim_code(
        self,
        account_id: str,
        code: str | None = None,
        product_id: int | None = None,
        activation_code: str | None = None,
        customer_id: str | None = None,
    ) -> dict[str, Any]:
        maker = Claimant(account_id, customer_id, product_id)
        return self._claiming().issue_code(maker, code, activation_code)

    @rpc(expected_exceptions=FlotillaError)
    def claim(
        self,
        account_id: str,
        device_id: str,
        secret: str = "",
        product_id: int | None = None,
        activation_code: str | None = None,
        customer_id: str | None = None,
    ) -> dict[str, Any]:
        claimant = Claimant(account_id, customer_id, product_id)
        return self._claiming().claim(claimant, device_id, secret, activation_code)

    @rpc(expected_exceptions=FlotillaError)
    def ask_transfer(
        self,
        account_id: str,
        device_id: str,
        product_id: int | None = None,
        activation_code: str | None = None,
        customer_id: str | None = None,
    ) -> dict[str, Any]:
        claimant = Claimant(account_id, customer_id, product_id)
        return self._claiming().ask_transfer(claimant, device_id, activation_code)

    @rpc(expected_exceptions=FlotillaError)
    def get_holding(self, device_id: str) -> dict[str, Any]:
        return claiming.holding(self.streams, device_id)

    @rpc(expected_exceptions=FlotillaError)
    def unclaim(self, product_id: int, device_id: str) -> dict[str, Any]:
        return claiming.unclaim(self.streams, product_id, device_id)

    @event_handler("gateway", "KeyPresented")
    def trust_first_key(self, message: Mapping[str, Any]) -> None:
        access.trust(self.streams, self.streams.event(message))

    @event_handler("gateway", "ClaimPresented")
    def claim_by_code(self, message: Mapping[str, Any]) -> None:
        self._claiming().present(self.streams.event(message))

    @event_handler("gateway", "ClaimOpened")
    def open_to_claims(self, message: Mapping[str, Any]) -> None:
        self._claiming().open_window(self.streams.event(message))

    @event_handler("orgs", "TransferAccepted")
    def hand_over(self, message: Mapping[str, Any]) -> None:
        self._claiming().hand_over(self.streams.event(message))

    @event_handler("orgs", "AccountForgotten")
    def release_of_account(self, message: Mapping[str, Any]) -> None:
        views = self.views.since(message["position"])
        release_all(self.streams, views, self.streams.event(message).account_id)

    @event_handler("orgs", "CustomerDeleted")
    def release_of_customer(self, message: Mapping[str, Any]) -> None:
        """Of a linked account's devices only those that it used as this customer."""
        gone, views = self.streams.event(message), self.views.since(message["position"])
        products = [gone.product_id] if gone.product_id is not None else self._products_of(gone.org_id)
        release_all(self.streams, views, gone.owner_id, products)

    @event_handler("devices", "DeviceGrouped")
    def agree_on_groups(self, message: Mapping[str, Any]) -> None:
        views = self.views.since(message["position"])
        grouping.agree(self.streams, views, self.streams.event(message))

    @event_handler("devices", "GroupDeleted")
    def empty_deleted_group(self, message: Mapping[str, Any]) -> None:
        views = self.views.since(message["position"])
        grouping.empty(self.streams, views, self.streams.event(message))

    @event_handler("devices", "GroupRenamed")
    def empty_renamed_group(self, message: Mapping[str, Any]) -> None:
        views = self.views.since(message["position"])
        grouping.empty(self.streams, views, self.streams.event(message))

    @event_handler("gateway", "FirmwareReported")
    def quarantine(self, message: Mapping[str, Any]) -> None:
        command = suspicion(self.streams.event(message))
        if command is not None and self.known_products.exists(command.product_id, self.orgs):
            self.streams.handle(DEVICE, stream_of(command.device_id), command)

    @event_handler("gateway", "GatewayStarted")
    def end_older_sessions(self, message: Mapping[str, Any]) -> None:
        self.presence.sweep()

    @timer(interval=SWEEP_S)
    def end_lost_sessions(self) -> None:
        self.presence.sweep()

    def _claiming(self) -> Claiming:
        return Claiming(self.streams, self.views, self.orgs, self.clock())

    def _products_of(self, org_id: str) -> list[int]:
        return [product["id"] for product in self.orgs.list_products(org_id=org_id)["products"]]

    def _named(self, product_id: int) -> Named:
        """The ids of whoever has an address, as far as the team may know them."""

        def named(address: str) -> list[str]:
            found: list[str] = self.orgs.owners_named(product_id=product_id, username=address)["owner_ids"]
            return found

        return named

    def _with_owners(self, filters: Mapping[str, Any], named: Named) -> dict[str, Any]:
        """The filters with the ids of whom ``owner`` means: an id, or a name, of somebody whom the team may know."""
        rest = {name: value for name, value in filters.items() if name not in ("owner", "owners")}
        owner = filters.get("owner")
        if owner is None:
            return rest
        if "@" not in str(owner):
            return {**rest, "owners": [str(owner).strip()]}
        return {**rest, "owners": named(str(owner))}

    def _owners(self, product_id: int) -> fleet_queries.Owners:
        def owners(owner_ids: list[str]) -> Mapping[str, Mapping[str, Any]]:
            if not owner_ids:
                return {}
            found: dict[str, Any] = self.orgs.device_owners(product_id=product_id, owner_ids=owner_ids)["owners"]
            return found

        return owners

    def _emails(self, product_id: int) -> Emails:
        owners = self._owners(product_id)
        return lambda account_ids: {found: one["username"] for found, one in owners(account_ids).items()}
