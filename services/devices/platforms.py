"""Which devices are known to be of another platform than a product's: those that said so when they connected (contract
7.3)."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from services.devices.details import DETAILS
from services.devices.products import PRODUCTS
from shared.projections.database import Database

ANY_HARDWARE = 65_535
"""The platform of products whose devices are of any (type ``mqtt``)."""


class Platforms:
    """As the views have it, however far they are: nobody waits for that."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_another(self, product_id: int, device_ids: Collection[str]) -> frozenset[str]:
        """Those of these devices."""
        details, products = self._database.table(DETAILS), self._database.table(PRODUCTS)
        wanted = sa.select(products.c.platform_id).where(products.c.product_id == product_id)
        with self._database.connect() as connection:
            platform_id = connection.execute(wanted).scalar()
            if platform_id in (None, ANY_HARDWARE):
                return frozenset()
            is_other = details.c.device_id.in_(device_ids), details.c.platform_id != platform_id
            return frozenset(connection.execute(sa.select(details.c.device_id).where(*is_other)).scalars())
