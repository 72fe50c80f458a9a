"""What is stored of a UDP session beside its keys, as bytes, so that it goes on without a Hello (protocol section 8.5).
Pure.

Messages that were heard and answered are among it: the device repeats one if the answer was lost in a restart. One that
was not answered yet is not: the device repeats it and it is heard as new.
"""

from __future__ import annotations

import msgspec

from services.gateway.devices.particle.describe import Description
from services.gateway.devices.particle.events import Subscription
from services.gateway.devices.particle.exchange import Answered
from services.gateway.devices.particle.hello import Hello
from services.gateway.devices.particle.told import Told

ToldValue = str | int | bool | None


class Continuation(msgspec.Struct, frozen=True, array_like=True):
    """``told`` is by the names of ``Told``."""

    hello: Hello
    last_id: int
    subscriptions: tuple[Subscription, ...]
    description: Description
    told: dict[str, ToldValue]
    answered: tuple[Answered, ...]


def encode(kept: Continuation) -> bytes:
    """As bytes."""
    return msgspec.msgpack.encode(kept)


def decode(data: bytes) -> Continuation | None:
    """None if it was not written by this release or one like it: the device has to begin anew then."""
    try:
        return msgspec.msgpack.decode(data, type=Continuation)
    except msgspec.DecodeError:
        return None


def told_values(told: Told) -> dict[str, ToldValue]:
    """What the device said of itself."""
    return {name: getattr(told, name) for name in Told.__slots__}


def tell_again(told: Told, values: dict[str, ToldValue]) -> None:
    """As if the device had said it again."""
    for name in Told.__slots__:
        if name in values:
            setattr(told, name, values[name])
