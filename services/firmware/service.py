"""The ``firmware`` service: RPC methods, and the proof that a version ran."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko.events import event_handler
from nameko.rpc import ServiceRpc, rpc

from services.firmware import past_queries, releases, uploads
from services.firmware.releases import Release
from services.firmware.uploads import Upload
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
    orgs = ServiceRpc("orgs")

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
    ) -> dict[str, Any]:
        who = (uploaded_by, uploader_id)
        upload = Upload(product_id, version, title, description, file_name, sha256, size_bytes, *who)
        product = self.orgs.get_product(product_id=product_id)["product"]
        return uploads.upload(self.streams, self.blobs, product, upload, self.clock())

    @rpc(expected_exceptions=FlotillaError)
    def list_versions(self, product_id: int, as_of: str | None = None) -> dict[str, Any]:
        return past_queries.list_versions(self.past, self.views, product_id, as_of)

    @rpc(expected_exceptions=FlotillaError)
    def get_version(self, product_id: int, version: int, as_of: str | None = None) -> dict[str, Any]:
        return past_queries.get_version(self.past, self.views, product_id, version, as_of)

    @rpc(expected_exceptions=FlotillaError)
    def release_version(
        self, product_id: int, version: int, product_default: bool | None = None, intelligent: bool = False
    ) -> dict[str, Any]:
        wanted = Release(product_id, version, product_default is not False, bool(intelligent))
        return releases.release(self.streams, self.views, wanted, self.clock())

    @event_handler("gateway", "FirmwareReported")
    def prove(self, message: Mapping[str, Any]) -> None:
        self.proofs.prove(self.streams, self.streams.event(message))
