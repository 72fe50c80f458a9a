"""Calls about products."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko.rpc import ServiceRpc, rpc

from services.orgs import objects, queries, requests
from services.orgs.edge import Edge
from services.orgs.products import numbering, products, questionnaire
from services.orgs.products.numbering import NewProduct, Numbering
from services.orgs.products.product_changes import ProductChanges
from shared.errors import FlotillaError
from shared.times import iso


class ProductCalls(Edge):
    """Calls about products."""

    devices = ServiceRpc("devices")

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
    def change_product(self, product_id: int, changes: Mapping[str, Any]) -> dict[str, Any]:
        self._command(ProductChanges).change(product_id, requests.product_changes(changes))
        row, position = numbering.product_row(self.streams, product_id)
        groups = queries.product_row(self.views, product_id)["groups"]
        return {"product": objects.product_object({**row, "groups": groups}), "position": position}

    @rpc(expected_exceptions=FlotillaError)
    def remove_product(self, product_id: int) -> dict[str, Any]:
        counted = self.devices.statistics(product_id=product_id)["devices"]["total"]
        return {"position": self._command(ProductChanges).remove(product_id, counted)}

    @rpc(expected_exceptions=FlotillaError)
    def get_configuration(self, product_id: int) -> dict[str, Any]:
        row = queries.product_row(self.views, product_id)
        return questionnaire.configuration(row["answers"])

    @rpc(expected_exceptions=FlotillaError)
    def get_questionnaire(self) -> dict[str, Any]:
        return questionnaire.json_schema()

    @rpc(expected_exceptions=FlotillaError)
    def answer_configuration(self, product_id: int, answers: Mapping[str, Any]) -> dict[str, Any]:
        return self._command(ProductChanges).answer(product_id, answers)

    @rpc(expected_exceptions=FlotillaError)
    def start_manufacturing(self, product_id: int) -> dict[str, Any]:
        position = self._command(ProductChanges).manufacture(product_id)
        row, _ = numbering.product_row(self.streams, product_id)
        return {"manufacturing": {"started_at": iso(row["manufacturing_at"])}, "position": position}

    @rpc(expected_exceptions=FlotillaError)
    def list_products(self, org_id: str) -> dict[str, Any]:
        return {"products": queries.products(self.views, org_id)}

    @rpc(expected_exceptions=FlotillaError)
    def get_product(self, product_id: int) -> dict[str, Any]:
        return {"product": queries.product(self.views, product_id)}
