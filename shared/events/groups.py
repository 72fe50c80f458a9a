"""Events of a product's device groups (service ``devices``). Stream ``groups-<product id>``. Which groups a device is
in its own ``DeviceGrouped`` says.
"""

from __future__ import annotations

from typing import Annotated

from shared.events.devices import GroupName
from shared.events.fields import Event, ProductNumber, Text

GroupText = Annotated[str, Text(1_000)]
Color = Annotated[str, Text(32)]


class GroupCreated(Event, frozen=True):
    """The group exists: somebody made it, or put a device into a group of this name."""

    product_id: ProductNumber
    name: GroupName
    description: GroupText
    color: Color


class GroupDescribed(Event, frozen=True):
    """Its description and color as they are now."""

    product_id: ProductNumber
    name: GroupName
    description: GroupText
    color: Color


class GroupRenamed(Event, frozen=True):
    """It is called something else, which was created right before this; its devices follow one by one behind it."""

    product_id: ProductNumber
    name: GroupName
    renamed: GroupName


class GroupDeleted(Event, frozen=True):
    """It is gone; its devices leave it one by one behind this."""

    product_id: ProductNumber
    name: GroupName


class GroupEmptied(Event, frozen=True):
    """No device is in what was deleted or renamed any more, so the name is free."""

    product_id: ProductNumber
    name: GroupName
