"""How firmware of different generations behaves: the table that simulated Particle devices follow. Pure.

Protocol section 11. ``0.6`` is what the dashboard of 2016 met, ``3.3`` the last that runs on the same devices,
``3.3-gen3`` the same on devices that know update protocol 3 only.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.devices.particle import coap
from services.gateway.devices.particle import hello as h
from services.gateway.devices.particle.device_updates import Firmware
from services.gateway.devices.particle.dtls import client as dtls
from services.gateway.devices.particle.events import Subscription

GEN_3 = (12, 13, 14, 22, 23, 24, 25, 26)
"""Platforms with update protocol 3."""


@dataclass(frozen=True, slots=True)
class Generation:
    """``system_version`` and the sizes behind it are told in the Hello, if there is one. ``posts``: posts descriptions
    by itself; ``piggybacks``: values come in the ACK; ``gives_up``: ends a session whose ping is not answered."""

    name: str
    flags: int
    updates: Firmware
    refusal: int
    argument_bytes: int
    message_bytes: int
    dtls: dtls.Firmware
    subscriptions: tuple[Subscription, ...]
    system_version: int | None = None
    posts: bool = True
    piggybacks: bool = False
    gives_up: bool = True


_LATER_FLAGS = h.DIAGNOSTICS | h.UPDATE_EVENTS | h.GOODBYE | h.POSTS_DESCRIBE

OLD = Generation(
    "0.6",
    flags=0,
    updates="self_finishing",
    refusal=coap.BAD_REQUEST,
    argument_bytes=63,
    message_bytes=767,
    dtls=dtls.OLD,
    subscriptions=(Subscription("spark"), Subscription("brewing", mine=True)),
    posts=False,
    piggybacks=True,
    gives_up=False,
)
NEW = Generation(
    "3.3",
    flags=_LATER_FLAGS,
    updates="waiting",
    refusal=coap.UNAVAILABLE,
    argument_bytes=864,
    message_bytes=927,
    dtls=dtls.NEW,
    subscriptions=(
        Subscription("particle", mine=True),
        Subscription("spark", mine=True),
        Subscription("brewing", True),
    ),
    system_version=3301,
)
NEW_GEN_3 = Generation(
    "3.3-gen3",
    flags=_LATER_FLAGS | h.UPDATES_V3,
    updates="v3",
    refusal=coap.UNAVAILABLE,
    argument_bytes=864,
    message_bytes=927,
    dtls=dtls.NEW,
    subscriptions=NEW.subscriptions,
    system_version=3301,
)


def generations_of(platform_id: int) -> tuple[Generation, ...]:
    """Those that run on this platform; a fleet takes them in turn."""
    return (NEW_GEN_3,) if platform_id in GEN_3 else (OLD, NEW)
