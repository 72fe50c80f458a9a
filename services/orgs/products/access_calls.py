"""Calls about how devices get in."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko.rpc import rpc

from services.orgs import objects, queries, requests
from services.orgs.edge import Edge
from services.orgs.products import access_requests
from services.orgs.products.configuring import Configuring
from shared.errors import FlotillaError


class AccessCalls(Edge):
    """Calls about how devices get in."""

    @rpc(expected_exceptions=FlotillaError)
    def configure_device_access(self, product_id: int, changes: Mapping[str, Any]) -> dict[str, Any]:
        wanted = access_requests.access_changes(changes)
        row, position = self._command(Configuring).access(product_id, wanted)
        return {"device_access": objects.access_object(row), "position": position}

    @rpc(expected_exceptions=FlotillaError)
    def get_device_access(self, product_id: int) -> dict[str, Any]:
        return {"device_access": queries.device_access(self.views, product_id)}

    @rpc(expected_exceptions=FlotillaError)
    def issue_provisioning_key(self, product_id: int) -> dict[str, Any]:
        return self._command(Configuring).provisioning_key(product_id)

    @rpc(expected_exceptions=FlotillaError)
    def add_device_authority(self, org_id: str, certificate: str, names_devices: bool = False) -> dict[str, Any]:
        org_id = requests.record_id(org_id, "Organization not found.")
        names = access_requests.names_devices(names_devices)
        row, position = self._command(Configuring).add_authority(org_id, certificate, names_devices=names)
        return {"authority": queries.authority_object(row), "position": position}

    @rpc(expected_exceptions=FlotillaError)
    def list_device_authorities(self, org_id: str) -> dict[str, Any]:
        return {"authorities": queries.device_authorities(self.views, org_id)}

    @rpc(expected_exceptions=FlotillaError)
    def remove_device_authority(self, org_id: str, authority_id: str) -> dict[str, Any]:
        org_id = requests.record_id(org_id, "Organization not found.")
        authority_id = requests.record_id(authority_id, "Device authority not found.")
        return {"position": self._command(Configuring).remove_authority(org_id, authority_id)}
