"""One device as its team sees it: which product it is a member of, and what the team decided about it.

Stream ``device-<device id>``. Rules DEV-1, DEV-3 to DEV-6, DEV-8, FW-3. A device is a member of one product at most;
a quarantined one is a member that waits for a decision. Commands that name another product than the one it is a
member of get ``NotFound``, except an import, which is refused with ``other_product``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.devices import (
    DevelopmentMarked,
    DeviceApproved,
    DeviceDenied,
    DeviceDescribed,
    DeviceForced,
    DeviceGrouped,
    DeviceImported,
    DeviceLocked,
    DeviceQuarantined,
    DeviceRemoved,
    DeviceTokenReplaced,
    DeviceUnlocked,
)

NOT_A_MEMBER = "Device not found for this product"

Event = (
    DeviceImported
    | DeviceForced
    | DeviceQuarantined
    | DeviceApproved
    | DeviceDenied
    | DeviceRemoved
    | DeviceDescribed
    | DevelopmentMarked
    | DeviceGrouped
    | DeviceLocked
    | DeviceUnlocked
    | DeviceTokenReplaced
)


@dataclass(frozen=True, slots=True)
class ImportDevice:
    """Make it a member; one in quarantine, or denied, is approved by it."""

    device_id: str
    product_id: int
    forced: bool = False


@dataclass(frozen=True, slots=True)
class QuarantineDevice:
    """It reported this product without being a member of any."""

    device_id: str
    product_id: int


@dataclass(frozen=True, slots=True)
class ApproveDevice:
    """Make a quarantined or denied member a full one."""


@dataclass(frozen=True, slots=True)
class DenyDevice:
    """Want nothing to do with it."""


@dataclass(frozen=True, slots=True)
class ForgiveDevice:
    """Take a denial back: it waits in quarantine again."""


@dataclass(frozen=True, slots=True)
class RemoveDevice:
    """End its membership."""


@dataclass(frozen=True, slots=True)
class DescribeDevice:
    """Name and notes; None leaves one as it is, empty text takes it away."""

    name: str | None = None
    notes: str | None = None


@dataclass(frozen=True, slots=True)
class MarkDevelopment:
    """Put it into the test group, or take it out."""

    development: bool


@dataclass(frozen=True, slots=True)
class GroupDevice:
    """The whole new list of its groups."""

    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class LockDevice:
    """Bind it to a version; ``flash``: bring it there now."""

    version: int
    flash: bool = False


@dataclass(frozen=True, slots=True)
class UnlockDevice:
    """Let releases apply to it again."""


@dataclass(frozen=True, slots=True)
class ReplaceToken:
    """Let it authenticate with the token of this digest, and with no earlier one."""

    token_digest: str


Step = (
    ApproveDevice
    | DenyDevice
    | ForgiveDevice
    | RemoveDevice
    | DescribeDevice
    | MarkDevelopment
    | GroupDevice
    | LockDevice
    | UnlockDevice
    | ReplaceToken
)


@dataclass(frozen=True, slots=True)
class ChangeMember:
    """Steps on a member of this product, all or none."""

    device_id: str
    product_id: int
    steps: tuple[Step, ...]


Command = ImportDevice | QuarantineDevice | ChangeMember


@dataclass(frozen=True, slots=True)
class Device:
    """What ``decide`` asks for. ``product_id`` is None while it is a member of no product."""

    product_id: int | None = None
    forced: bool = False
    quarantined: bool = False
    denied: bool = False
    development: bool = False
    name: str = ""
    notes: str = ""
    groups: frozenset[str] = frozenset()
    locked_version: int | None = None
    token_digest: str | None = None


def decide(state: Device, command: Command) -> list[Event]:
    """What the command means now; an empty list if it changes nothing."""
    match command:
        case ImportDevice():
            return _import(state, command)
        case QuarantineDevice(device_id, product_id):
            return [] if state.product_id is not None else [DeviceQuarantined(device_id, product_id)]
        case ChangeMember():
            return _replace(state, command)
        case _:
            assert_never(command)


def _import(state: Device, command: ImportDevice) -> list[Event]:
    device_id, product_id, forced = command.device_id, command.product_id, command.forced
    if state.product_id is None:
        return [DeviceImported(device_id, product_id, forced)]
    if state.product_id != product_id:
        raise Refused("other_product", "the device is a member of another product")
    if state.quarantined or state.denied:
        return [DeviceApproved(device_id, product_id, forced or state.forced)]
    return [DeviceForced(device_id, product_id)] if forced and not state.forced else []


def _replace(state: Device, command: ChangeMember) -> list[Event]:
    events: list[Event] = []
    _must_be_member(state, command.product_id)
    for step in command.steps:
        _must_be_member(state, command.product_id)
        happened = _step(state, step, command.device_id, command.product_id)
        if happened is not None:
            events.append(happened)
            state = evolve(state, happened)
    return events


def _must_be_member(state: Device, product_id: int) -> None:
    if state.product_id != product_id:
        raise NotFound(NOT_A_MEMBER)


def _step(state: Device, step: Step, device_id: str, product_id: int) -> Event | None:
    match step:
        case ApproveDevice():
            held = state.quarantined or state.denied
            return DeviceApproved(device_id, product_id, state.forced) if held else None
        case DenyDevice():
            return None if state.denied else DeviceDenied(device_id, product_id)
        case ForgiveDevice():
            return DeviceQuarantined(device_id, product_id) if state.denied else None
        case RemoveDevice():
            return DeviceRemoved(device_id, product_id)
        case LockDevice(version, flash):
            # a repeated "flash now" is a new wish; a repeated lock is none
            is_new = flash or version != state.locked_version
            return DeviceLocked(device_id, product_id, version, flash) if is_new else None
        case UnlockDevice():
            return None if state.locked_version is None else DeviceUnlocked(device_id, product_id)
        case _:
            return _describe(state, step, device_id, product_id)


def _describe(
    state: Device,
    step: DescribeDevice | MarkDevelopment | GroupDevice | ReplaceToken,
    device_id: str,
    product_id: int,
) -> Event | None:
    match step:
        case DescribeDevice(name, notes):
            described = DeviceDescribed(
                device_id,
                product_id,
                state.name if name is None else name,
                state.notes if notes is None else notes,
            )
            return None if (described.name, described.notes) == (state.name, state.notes) else described
        case MarkDevelopment(development):
            is_new = development != state.development
            return DevelopmentMarked(device_id, product_id, development) if is_new else None
        case GroupDevice(groups):
            return None if groups == state.groups else DeviceGrouped(device_id, product_id, sorted(groups))
        case ReplaceToken(token_digest):
            is_new = token_digest != state.token_digest
            return DeviceTokenReplaced(device_id, product_id, token_digest) if is_new else None
        case _:
            assert_never(step)


def evolve(state: Device, event: Event) -> Device:
    """What the event makes true."""
    match event:
        case DeviceImported(_, product_id, forced):
            return Device(product_id=product_id, forced=forced)
        case DeviceForced():
            return replace(state, forced=True)
        case DeviceQuarantined(_, product_id):
            return replace(state, product_id=product_id, quarantined=True, denied=False)
        case DeviceApproved(_, _, forced):
            return replace(state, quarantined=False, denied=False, forced=forced)
        case DeviceDenied():
            return replace(state, quarantined=False, denied=True)
        case DeviceRemoved():
            return Device()
        case DeviceDescribed(_, _, name, notes):
            return replace(state, name=name, notes=notes)
        case DevelopmentMarked(_, _, development):
            return replace(state, development=development)
        case DeviceGrouped(_, _, groups):
            return replace(state, groups=frozenset(groups))
        case DeviceLocked(_, _, version, _):
            return replace(state, locked_version=version)
        case DeviceUnlocked():
            return replace(state, locked_version=None)
        case DeviceTokenReplaced(_, _, token_digest):
            return replace(state, token_digest=token_digest)
        case _:
            assert_never(event)


DEVICE: Aggregate[Device, Command] = Aggregate(Device(), decide, evolve)


def stream_of(device_id: str) -> str:
    """The stream of a device."""
    return f"device-{device_id}"
