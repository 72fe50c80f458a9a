"""Who a Particle device is and whether it may connect, decided from the directory alone (protocol section 2). Pure.

What a device says proves nothing until it has shown that it holds a key: on TCP by reading what was sealed with it, on
UDP by its signature. Which key that has to be, ``claimed`` says; once it is proved and the Hello is there,
``admitted`` says whether the device gets in:

=====================  =====================================  =========================================================
key on record          and                                    then
=====================  =====================================  =========================================================
the one that it shows  is a member of a product               in
the one that it shows  reports a product that exists          in, and quarantined (DEV-4)
another one            —                                      refused, ``wrong_key``
none                   its product trusts the first key       in, and the key is recorded (``KeyPresented``)
none                   reports a product that does            in, quarantined; the key is recorded on approval
any                    denied                                 refused, ``denied``
any                    anything else                          refused, ``not_a_member`` or ``unknown_key``
none                   too many such have come to the product  refused, ``too_many`` (``acting.in_time``)
=====================  =====================================  =========================================================

A refusal is told to nobody but operators: it looks the same to the peer whatever its reason, and comes when the Hello
is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from services.gateway.devices.memory import DeviceMemory
from services.gateway.devices.particle.hello import UNDEFINED, Hello
from services.gateway.entries import DeviceEntry, ProductEntry
from shared.targets import Membership

Algorithm = Literal["rsa", "ecc"]


class Directory(Protocol):
    """Look-ups of the gateway's directory, as the gate lets them through."""

    def admit_device(self, device_id: str) -> DeviceEntry | None: ...

    def product(self, ref: str) -> ProductEntry | None: ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nobody is let in. ``entry`` where the device is known, so that its team can be told."""

    kind: Literal["wrong_key", "unknown_key", "unknown_device", "denied", "not_a_member", "wrong_device", "too_many"]
    entry: DeviceEntry | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """Who the device claims to be, and the key that has to prove it; ``on_record``: that key is known for its own."""

    device_id: str
    entry: DeviceEntry | None
    key_der: bytes
    on_record: bool


@dataclass(frozen=True, slots=True)
class Admitted:
    """A device that is in, and the key that it proved. With a key that is trusted at first use ``entry`` has none."""

    device_id: str
    entry: DeviceEntry
    key_der: bytes
    algorithm: Algorithm
    hello: Hello


def claimed(
    device_id: str,
    shown: bytes | None,
    algorithm: Algorithm,
    directory: Directory,
    memory: DeviceMemory | None,
) -> Claimed | Refusal:
    """What the device has to prove. ``shown`` is the key that it presents, None from those that present none. Raises
    what the directory raises."""
    entry = directory.admit_device(device_id)
    if entry is not None and entry.membership.denied:
        return Refusal("denied", entry)
    key_der = known_key(entry, algorithm, memory)
    if key_der is not None:
        if shown is not None and shown != key_der:
            return Refusal("wrong_key", entry)
        return Claimed(device_id, entry, key_der, entry is not None and entry.key_der is not None)
    if entry is not None and entry.key_der is not None:  # of the other transport
        return Refusal("wrong_key", entry)
    if shown is None:
        return Refusal("unknown_key", entry)
    return Claimed(device_id, entry, shown, False)


def known_key(entry: DeviceEntry | None, algorithm: Algorithm, memory: DeviceMemory | None) -> bytes | None:
    """The device's key for this transport, or the one that it was trusted with a moment ago. That one keeps others out
    and lets nobody in by itself: the device may be in another product by now."""
    if entry is not None and entry.key_der is not None:
        return entry.key_der if entry.key_algorithm == algorithm else None
    return None if memory is None else memory.pinned_key


def admitted(claim: Claimed, algorithm: Algorithm, hello: Hello, directory: Directory) -> Admitted | Refusal:
    """Whether it gets in, its key being proved. Raises what the directory raises."""
    if hello.device_id and hello.device_id != claim.device_id:
        return Refusal("wrong_device", claim.entry)
    entry = claim.entry or unknown(claim.device_id)
    inside = Admitted(claim.device_id, entry, claim.key_der, algorithm, hello)
    if claim.on_record and entry.membership.product_id is not None:
        return inside
    product = home(entry, hello, directory)
    if product is None:
        return Refusal("not_a_member" if claim.entry is not None else "unknown_device", claim.entry)
    if claim.on_record or product.trust_first_key:
        return inside
    return Refusal("unknown_key", claim.entry)


def home(entry: DeviceEntry, hello: Hello, directory: Directory) -> ProductEntry | None:
    """The product whose rules hold for it: the one it is a member of, else the one that it reports."""
    product_id = entry.membership.product_id
    if product_id is None and hello.product_id != UNDEFINED:
        product_id = hello.product_id
    return None if product_id is None else directory.product(str(product_id))


def unknown(device_id: str) -> DeviceEntry:
    """What is known of a device that the directory has never heard of."""
    return DeviceEntry(device_id, Membership(None), None, None, "", "", False, None, None, 0, 0)
