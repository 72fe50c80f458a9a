"""The authorities that sign certificates of an organization's devices (MQC-6). Stream ``authorities-<org_id>``.

One authority, known by its public key, belongs to one organization of the installation: a second one could otherwise
let the first one's devices in. So does its subject: by that alone OpenSSL finds who has signed a certificate, and a
namesake would make handshakes of the first one's devices fail. Both are reserved as names before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.orgs import DeviceAuthorityAdded, DeviceAuthorityRemoved

MAX_AUTHORITIES = 10
"""Authorities of an organization at the same time."""


@dataclass(frozen=True, slots=True)
class AddAuthority:
    """Trust this certificate, which was checked before; ``fingerprint`` is its SHA-256."""

    org_id: str
    authority_id: str
    certificate: str
    fingerprint: str
    names_devices: bool


@dataclass(frozen=True, slots=True)
class RemoveAuthority:
    """Trust nothing any more that it signed."""

    org_id: str
    authority_id: str


Command = AddAuthority | RemoveAuthority
Event = DeviceAuthorityAdded | DeviceAuthorityRemoved


@dataclass(frozen=True, slots=True)
class Authorities:
    """Those that are trusted now, by their ids."""

    trusted: Mapping[str, DeviceAuthorityAdded] = field(default_factory=dict)


def decide(state: Authorities, command: Command) -> list[Event]:
    """What this means now. Raises ``Refused`` for a certificate that is there and for one too many, ``NotFound`` for
    what is not there to be removed."""
    if isinstance(command, RemoveAuthority):
        if command.authority_id not in state.trusted:
            raise NotFound("Device authority not found.")
        return [DeviceAuthorityRemoved(command.org_id, command.authority_id)]
    if any(other.fingerprint == command.fingerprint for other in state.trusted.values()):
        raise Refused("authority_exists", "The organization has this certificate already.")
    if len(state.trusted) >= MAX_AUTHORITIES:
        raise Refused("too_many_authorities", f"An organization has at most {MAX_AUTHORITIES} device authorities.")
    return [
        DeviceAuthorityAdded(
            org_id=command.org_id,
            authority_id=command.authority_id,
            certificate=command.certificate,
            fingerprint=command.fingerprint,
            names_devices=command.names_devices,
        )
    ]


def evolve(state: Authorities, event: Event) -> Authorities:
    """The authorities after this event."""
    match event:
        case DeviceAuthorityAdded():
            return Authorities({**state.trusted, event.authority_id: event})
        case DeviceAuthorityRemoved():
            return Authorities({key: one for key, one in state.trusted.items() if key != event.authority_id})


AUTHORITIES: Aggregate[Authorities, Command] = Aggregate(Authorities(), decide, evolve)


def stream_of(org_id: str) -> str:
    """The stream of this organization's authorities."""
    return f"authorities-{org_id}"


def org_of(stream: str) -> str:
    """The organization whose authorities have this stream."""
    return stream.removeprefix("authorities-")
