"""The ``devices`` service: RPC methods, reactions and the presence timer. What they mean is in the other modules."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nameko.events import event_handler
from nameko.rpc import ServiceRpc, rpc
from nameko.timer import timer

from services.devices import fleet_queries, import_requests, listing, members, past_changes, why
from services.devices.device import DEVICE, DenyDevice, RemoveDevice, stream_of
from services.devices.quarantine import suspicion
from shared.bus.given import Given
from shared.bus.past_answers import answer
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.errors import FlotillaError
from shared.times import iso

SWEEP_S = 2
"""How often presence is looked at, and so the most that a device shows online beyond its gateway's lease."""


class DevicesService:
    """Devices of all products: their membership, their presence, what they report."""

    name = "devices"

    streams = EventStreams()
    views = Views()
    past = Given()
    clock = ClockProvider()
    blobs = Given()
    presence = Given()
    known_products = Given()
    firmware = ServiceRpc("firmware")
    orgs = ServiceRpc("orgs")

    @rpc(expected_exceptions=FlotillaError)
    def import_lines(self, product_id: int, lines: Sequence[str], force: bool = False) -> dict[str, Any]:
        return import_requests.import_lines(self.streams, product_id, lines, force)

    @rpc(expected_exceptions=FlotillaError)
    def start_import(self, product_id: int, blob: str, size_bytes: int, force: bool = False) -> dict[str, Any]:
        return import_requests.start_import(self.streams, self.blobs, product_id, blob, size_bytes, force)

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
    ) -> dict[str, Any]:
        query = listing.parse(product_id, filters, sort, descending, page, per_page, after)
        return answer(self.past, self.views, as_of, lambda views: fleet_queries.list_devices(views, query))

    @rpc(expected_exceptions=FlotillaError)
    def get_device(self, product_id: int, device_id: str, as_of: str | None = None) -> dict[str, Any]:
        return answer(
            self.past, self.views, as_of, lambda views: fleet_queries.get_device(views, product_id, device_id)
        )

    @rpc(expected_exceptions=FlotillaError)
    def update_device(self, product_id: int, device_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        updated = members.update(self.streams, self.views, self.firmware, product_id, device_id, changes)
        return {**updated, "updated_at": iso(self.clock())}

    @rpc(expected_exceptions=FlotillaError)
    def remove_device(self, product_id: int, device_id: str, deny: bool = False) -> dict[str, Any]:
        step = DenyDevice() if deny else RemoveDevice()
        return {"position": members.change(self.streams, product_id, device_id, step).position}

    @rpc(expected_exceptions=FlotillaError)
    def replace_tokens(self, product_id: int, device_ids: Sequence[str]) -> dict[str, Any]:
        return members.replace_tokens(self.streams, product_id, device_ids)

    @rpc(expected_exceptions=FlotillaError)
    def statistics(self, product_id: int, as_of: str | None = None) -> dict[str, Any]:
        return answer(self.past, self.views, as_of, lambda views: fleet_queries.statistics(views, product_id))

    @rpc(expected_exceptions=FlotillaError)
    def changes(
        self, product_id: int, since: str, until: str | None = None, after: str | None = None, per_page: int = 25
    ) -> dict[str, Any]:
        asked = past_changes.parse(product_id, since, until, after, per_page)
        return past_changes.answer(self.past, self.views, asked)

    @rpc(expected_exceptions=FlotillaError)
    def why(self, product_id: int, device_id: str) -> dict[str, Any]:
        def emails(account_ids: list[str]) -> Mapping[str, str]:
            found: dict[str, str] = self.orgs.team_emails(product_id=product_id, account_ids=account_ids)["emails"]
            return found

        return why.why(self.streams.store, self.views, emails, product_id, device_id)

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
