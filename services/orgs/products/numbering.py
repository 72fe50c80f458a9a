"""Creating products: a number for each, a slug that exists once, a name that exists once in the organization.

The number is a guess from the view, made true by creating the stream of that number; whoever comes second moves on
to the next number and takes the reserved names along. Repeating the command (same command id) finds the number that
an earlier run reserved the name for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.orgs import names
from services.orgs.names import NAMES, Kind, product_name, slug_of, with_suffixes
from services.orgs.people.creation import organization_row
from services.orgs.products import products
from services.orgs.products.products import PRODUCTS, CreateProduct, ProductType
from services.orgs.reservations import carries, reserve, reserved_by
from services.orgs.views import PRODUCTS as PRODUCTS_VIEW
from services.orgs.views import fold_product
from shared.context import Context
from shared.errors import Conflict, NotFound, Refused
from shared.events.orgs import DeviceType
from shared.ids import FIRST_PRODUCT_ID, LAST_PRODUCT_ID, event_id
from shared.projections.view import Row
from shared.store.port import Position
from shared.streams import Streams


@dataclass(frozen=True, slots=True)
class NewProduct:
    """A product as it is asked for, checked already."""

    org_id: str
    name: str
    description: str
    device_type: DeviceType
    type: ProductType
    hardware_version: str

    @property
    def reserved_name(self) -> str:
        """As what its name is reserved."""
        return product_name(self.org_id, self.name)


@dataclass(frozen=True, slots=True)
class Numbering:
    """One command that creates a product; may be repeated with the same ``context``."""

    streams: Streams
    context: Context
    now: datetime

    def create(self, wanted: NewProduct, highest: Callable[[], int | None]) -> int:
        """The new product's number: the one behind ``highest()`` or, if that is taken meanwhile, the next that is
        free. Refuses with ``name_taken`` or ``no_product_number_left``."""
        org_slug = organization_row(self.streams, wanted.org_id)[0]["slug"]
        number = self._claimed(wanted) or max(FIRST_PRODUCT_ID, (highest() or 0) + 1)
        moved_from = None
        while number <= LAST_PRODUCT_ID:
            if self._is_mine(number):
                return number
            stream = products.stream_of(number)
            if not self._reserve("product_name", wanted.reserved_name, stream, moved_from):
                number, moved_from = self._moved_on(wanted, number), None
                continue
            try:
                self._append(wanted, number, org_slug, self._slug(wanted, stream, moved_from))
            except Conflict:
                number, moved_from = number + 1, stream
            else:
                return number
        raise Refused("no_product_number_left", f"All product numbers up to {LAST_PRODUCT_ID} are in use.")

    def _claimed(self, wanted: NewProduct) -> int | None:
        """The number that an earlier run of this command got, or at least reserved the name for."""
        mine = reserved_by(self.streams, self.context, "product_name", wanted.reserved_name)
        if mine is not None:
            return products.number_of(mine)
        stream = names.stream_of("product_name", wanted.reserved_name)
        holder = self.streams.load(NAMES, stream).state.holder_stream
        number = products.number_of(holder) if holder else None
        return number if number is not None and self._is_mine(number) else None

    def _is_mine(self, number: int) -> bool:
        stream = products.stream_of(number)
        recorded = self.streams.load(PRODUCTS, stream).recorded
        return bool(recorded) and recorded[0].id == event_id(self.context.command_id, 0, stream)

    def _moved_on(self, wanted: NewProduct, number: int) -> int:
        """Where another run of this command, at the same time, took the name; if it did not, the name is taken."""
        claimed = self._claimed(wanted)
        if claimed is None or claimed == number or self._is_anothers(wanted, claimed):
            raise Refused("name_taken", "The organization has a product of this name.")
        return claimed

    def _is_anothers(self, wanted: NewProduct, number: int) -> bool:
        stream = products.stream_of(number)
        return carries(self.streams, "product_name", wanted.reserved_name, stream) and not self._is_mine(number)

    def _slug(self, wanted: NewProduct, stream: str, moved_from: str | None) -> str:
        for slug in with_suffixes(slug_of(wanted.name, "product")):
            if self._reserve("product_slug", slug, stream, moved_from):
                return slug
        raise Refused("name_taken", "There are too many products of this name.")

    def _reserve(self, kind: Kind, name: str, holder_stream: str, moved_from: str | None) -> bool:
        return reserve(self.streams, self.context, self.now, kind, name, holder_stream, moved_from=moved_from)

    def _append(self, wanted: NewProduct, number: int, org_slug: str, slug: str) -> None:
        command = CreateProduct(
            product_id=number,
            org_id=wanted.org_id,
            org_slug=org_slug,
            name=wanted.name,
            slug=slug,
            description=wanted.description,
            device_type=wanted.device_type,
            type=wanted.type,
            hardware_version=wanted.hardware_version,
        )
        self.streams.handle(PRODUCTS, products.stream_of(number), command, self.context)


def product_row(streams: Streams, product_id: int) -> tuple[Row, Position | None]:
    """A product as the view will have it, from its own stream, and how far that goes. Raises ``NotFound``."""
    loaded = streams.load(PRODUCTS, products.stream_of(product_id))
    if loaded.state.created is None or loaded.state.removed:
        raise NotFound("Product not found.")
    row: Row | None = None
    for recorded in loaded.recorded:
        event = streams.contracts.decode(recorded)
        if isinstance(event, PRODUCTS_VIEW.events):
            row = fold_product(row, event, recorded)
    return row or {}, loaded.position
