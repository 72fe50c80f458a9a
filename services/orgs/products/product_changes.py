"""Changing, configuring and removing products (PRD-1 to PRD-3); each command may be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.orgs.names import product_name
from services.orgs.products import products, questionnaire
from services.orgs.products.products import (
    MISSING,
    PRODUCTS,
    AnswerConfiguration,
    ChangeProduct,
    Product,
    RemoveProduct,
    StartManufacturing,
    name_of,
)
from services.orgs.reservations import reserve
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.store.port import Position
from shared.streams import Handled, Streams


@dataclass(frozen=True, slots=True)
class ProductChanges:
    """One command about a product."""

    streams: Streams
    context: Context
    now: datetime

    def change(self, product_id: int, wanted: ChangeProduct) -> Position | None:
        """Raises ``NotFound``, refuses with ``name_taken``."""
        stream = products.stream_of(product_id)
        product = self._product(product_id)
        if product.created is not None and wanted.name not in (None, name_of(product)):
            reserved = product_name(product.created.org_id, str(wanted.name))
            if not reserve(self.streams, self.context, self.now, "product_name", reserved, stream):
                raise Refused("name_taken", "The organization has a product of this name.")
        return self._handle(product_id, wanted).position

    def remove(self, product_id: int, device_count: int) -> Position | None:
        """Raises ``NotFound``, refuses with ``product_not_empty``."""
        self._product(product_id)
        if device_count:
            raise Refused("product_not_empty", f"The product has {device_count} devices; remove them first.")
        return self._handle(product_id, RemoveProduct()).position

    def answer(self, product_id: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """All answers as they are then. Raises ``NotFound``, refuses with ``invalid_configuration``; nothing is changed
        then."""
        handled = self._handle(product_id, AnswerConfiguration(questionnaire.read(given)))
        return {**questionnaire.configuration(handled.state.answers), "position": handled.position}

    def manufacture(self, product_id: int) -> Position | None:
        """Raises ``NotFound``, refuses with ``configuration_incomplete``."""
        return self._handle(product_id, StartManufacturing()).position

    def _product(self, product_id: int) -> Product:
        product = self.streams.load(PRODUCTS, products.stream_of(product_id)).state
        if product.created is None or product.removed:
            raise NotFound(MISSING)
        return product

    def _handle(self, product_id: int, command: products.Command) -> Handled[Product]:
        return self.streams.handle(PRODUCTS, products.stream_of(product_id), command, self.context)
