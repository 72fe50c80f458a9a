"""The ``firmware`` service: RPC methods, the proof that a version ran, and the rounds of roll-outs."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nameko.events import event_handler
from nameko.rpc import ServiceRpc, rpc
from nameko.timer import timer

from services.firmware import describing, past_queries, queries, releases, signing_keys, uploads
from services.firmware.prefixes import prefix_warnings
from services.firmware.releases import Wanted
from services.firmware.rollouts import commands as rollouts
from services.firmware.rollouts import queries as rollout_queries
from services.firmware.rollouts.coordinator import ROUND_S
from services.firmware.rollouts.preparing import SIZES_S
from services.firmware.uploads import Upload
from shared.bus.calls import PatientRpc
from shared.bus.given import Given
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.errors import FlotillaError


class FirmwareService:
    """Firmware of all products: what was uploaded, what ran, what is released."""

    name = "firmware"

    streams = EventStreams()
    views = Views()
    past = Given()
    clock = ClockProvider()
    blobs = Given()
    proofs = Given()
    coordinator = Given()
    orgs = ServiceRpc("orgs")
    devices = ServiceRpc("devices")
    whole_fleet = PatientRpc("devices", SIZES_S)

    @rpc(expected_exceptions=FlotillaError)
    def upload_version(
        self,
        product_id: int,
        version: int,
        title: str,
        file_name: str,
        sha256: str,
        size_bytes: int,
        uploaded_by: str,
        uploader_id: str,
        description: str | None = None,
        version_width: int = 0,
        signature: str | None = None,
    ) -> dict[str, Any]:
        who = (uploaded_by, uploader_id, signature)
        upload = Upload(product_id, version, title, description, file_name, sha256, size_bytes, *who)
        product = self.orgs.get_product(product_id=product_id)["product"]
        answer = uploads.upload(self.streams, self.blobs, product, upload, self.clock())
        warnings = answer.pop("warnings")
        in_use = queries.versions_in_use(self.views, product_id) if product["device_type"] == uploads.MQTT else []
        warnings += prefix_warnings(version, in_use, version_width)
        return {**answer, **({"warnings": warnings} if warnings else {})}

    @rpc(expected_exceptions=FlotillaError)
    def check_file(self, product_id: int, sha256: str, size_bytes: int, signature: str | None = None) -> dict[str, Any]:
        product = self.orgs.get_product(product_id=product_id)["product"]
        return uploads.check_file(self.streams, self.blobs, product, sha256, size_bytes, signature)

    @rpc(expected_exceptions=FlotillaError)
    def get_signing(self, product_id: int) -> dict[str, Any]:
        return queries.get_signing(self.views, product_id)

    @rpc(expected_exceptions=FlotillaError)
    def add_signing_key(self, product_id: int, name: str, public_key: str) -> dict[str, Any]:
        return signing_keys.add(self.streams, product_id, name, public_key, self.clock())

    @rpc(expected_exceptions=FlotillaError)
    def remove_signing_key(self, product_id: int, key_id: str) -> dict[str, Any]:
        return signing_keys.remove(self.streams, product_id, key_id)

    @rpc(expected_exceptions=FlotillaError)
    def require_signatures(self, product_id: int, required: bool) -> dict[str, Any]:
        return signing_keys.require(self.streams, product_id, required)

    @rpc(expected_exceptions=FlotillaError)
    def list_versions(self, product_id: int, as_of: str | None = None) -> dict[str, Any]:
        return past_queries.list_versions(self.past, self.views, product_id, as_of)

    @rpc(expected_exceptions=FlotillaError)
    def get_version(self, product_id: int, version: int, as_of: str | None = None) -> dict[str, Any]:
        return past_queries.get_version(self.past, self.views, product_id, version, as_of)

    @rpc(expected_exceptions=FlotillaError)
    def describe_version(
        self, product_id: int, version: int, title: str | None = None, description: str | None = None
    ) -> dict[str, Any]:
        stated = (title, description)
        return describing.describe(self.streams, self.views, product_id, version, *stated, self.clock())

    @rpc(expected_exceptions=FlotillaError)
    def delete_version(self, product_id: int, version: int) -> dict[str, Any]:
        return describing.delete(self.streams, self.views, self.devices, product_id, version)

    @rpc(expected_exceptions=FlotillaError)
    def release_version(
        self,
        product_id: int,
        version: int,
        product_default: bool | None = None,
        intelligent: bool = False,
        groups: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        default = True if product_default is None and groups is None else product_default
        names = None if groups is None else frozenset(groups)
        wanted = Wanted(product_id, version, default, names, bool(intelligent))
        return releases.release(self.streams, self.views, self.devices, wanted, self.clock())

    @rpc(expected_exceptions=FlotillaError)
    def plan_rollout(self, product_id: int, plan: Mapping[str, Any], rollout_id: str | None = None) -> dict[str, Any]:
        return rollouts.plan_rollout(self.streams, self.views, self.devices, product_id, plan, rollout_id)

    @rpc(expected_exceptions=FlotillaError)
    def list_rollouts(self, product_id: int) -> dict[str, Any]:
        return rollout_queries.list_rollouts(self.views, product_id)

    @rpc(expected_exceptions=FlotillaError)
    def get_rollout(self, product_id: int, rollout_id: str) -> dict[str, Any]:
        return rollout_queries.get_rollout(self.views, product_id, rollout_id)

    @rpc(expected_exceptions=FlotillaError)
    def list_rollout_devices(
        self, product_id: int, rollout_id: str, state: str | None = None, after: str | None = None, limit: int = 100
    ) -> dict[str, Any]:
        return rollout_queries.list_devices(self.views, product_id, rollout_id, state, after, limit)

    @rpc(expected_exceptions=FlotillaError)
    def approve_rollout(self, product_id: int, rollout_id: str) -> dict[str, Any]:
        return rollouts.approve(self.streams, self.views, product_id, rollout_id)

    @rpc(expected_exceptions=FlotillaError)
    def pause_rollout(self, product_id: int, rollout_id: str, reason: str = "") -> dict[str, Any]:
        return rollouts.pause(self.streams, self.views, product_id, rollout_id, reason)

    @rpc(expected_exceptions=FlotillaError)
    def resume_rollout(self, product_id: int, rollout_id: str) -> dict[str, Any]:
        return rollouts.resume(self.streams, self.views, product_id, rollout_id)

    @rpc(expected_exceptions=FlotillaError)
    def cancel_rollout(self, product_id: int, rollout_id: str, reason: str = "") -> dict[str, Any]:
        return rollouts.cancel(self.streams, self.views, product_id, rollout_id, reason)

    @rpc(expected_exceptions=FlotillaError)
    def roll_back_rollout(self, product_id: int, rollout_id: str, reason: str = "") -> dict[str, Any]:
        return rollouts.roll_back(self.streams, self.views, product_id, rollout_id, reason)

    @timer(interval=ROUND_S)
    def roll_out(self) -> None:
        self.coordinator.round(self.whole_fleet)

    @event_handler("devices", "GroupDeleted")
    def follow_deleted_group(self, message: Mapping[str, Any]) -> None:
        releases.follow(self.streams, self.streams.event(message))

    @event_handler("devices", "GroupRenamed")
    def follow_renamed_group(self, message: Mapping[str, Any]) -> None:
        releases.follow(self.streams, self.streams.event(message))

    @event_handler("gateway", "FirmwareReported")
    def prove(self, message: Mapping[str, Any]) -> None:
        self.proofs.prove(self.streams, self.streams.event(message))
