"""One device as its team sees it: which product it is a member of, what it proves itself with, whose it is, and what
the team decided about it.

Stream ``device-<device id>``. Rules DEV-1, DEV-3 to DEV-6, DEV-8, FW-3, CUS-5. A device is a member of one product at
most; a quarantined one is a member that waits for a decision. Commands that name another product than the one it is a
member of get ``NotFound``, except an import, which is refused with ``other_product``. Longer than most modules: one
stream, one state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import msgspec
from msgspec.structs import replace

from services.devices.attributes import Changes, Values, as_object, merged, needed, values_of
from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.devices import (
    AttributesDesired,
    DevelopmentMarked,
    DeviceApproved,
    DeviceCertificateSet,
    DeviceClaimed,
    DeviceDenied,
    DeviceDescribed,
    DeviceForced,
    DeviceGrouped,
    DeviceImported,
    DeviceKeySet,
    DeviceLocked,
    DeviceProvisioned,
    DeviceQuarantined,
    DeviceRemoved,
    DeviceTokenReplaced,
    DeviceUnclaimed,
    DeviceUnlocked,
    UpdateRetryAsked,
)
from shared.events.fields import KeyAlgorithm

NOT_A_MEMBER = "Device not found for this product"
MAX_GROUPS = 100
"""That one device is in."""

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
    | UpdateRetryAsked
    | DeviceTokenReplaced
    | DeviceKeySet
    | DeviceCertificateSet
    | DeviceProvisioned
    | DeviceClaimed
    | DeviceUnclaimed
    | AttributesDesired
)


class ImportDevice(msgspec.Struct, frozen=True, gc=False):
    """Make it a member; one in quarantine, or denied, is approved by it. ``key``: what it proves itself with; None
    leaves that as it is."""

    device_id: str
    product_id: int
    forced: bool = False
    key: SetKey | None = None


@dataclass(frozen=True, slots=True)
class QuarantineDevice:
    """It reported this product without being a member of any."""

    device_id: str
    product_id: int


@dataclass(frozen=True, slots=True)
class ApproveDevice:
    """Make a quarantined or denied member a full one; ``forced``: one that counts as the product's, whatever it
    reports (DEV-3)."""

    forced: bool = False


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
class RegroupDevice:
    """Put it into some groups and take it out of others; ``only_from``: only if it is in this one."""

    add: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    only_from: str | None = None


@dataclass(frozen=True, slots=True)
class LockDevice:
    """Bind it to a version; ``flash``: bring it there now."""

    version: int
    flash: bool = False


@dataclass(frozen=True, slots=True)
class UnlockDevice:
    """Let releases apply to it again."""


@dataclass(frozen=True, slots=True)
class RetryUpdate:
    """Try again what failed on it, however often it did (FW-7)."""


@dataclass(frozen=True, slots=True)
class ReplaceToken:
    """Let it authenticate with the token of this digest, and with no earlier one."""

    token_digest: str


@dataclass(frozen=True, slots=True)
class SetKey:
    """Let it prove itself with this key (DER in base64), and with no earlier one. ``first_use``: the device brought
    it, which counts only while there is none on record and the device is a full member."""

    algorithm: KeyAlgorithm
    public_key: str
    first_use: bool = False


@dataclass(frozen=True, slots=True)
class SetCertificate:
    """Recognize it by the certificate of this fingerprint, and by no earlier one."""

    fingerprint: str


@dataclass(frozen=True, slots=True)
class DesireAttributes:
    """Want these attributes on the device, and some no more; those that are not named stay as they are."""

    changes: Changes


@dataclass(frozen=True, slots=True)
class UnclaimDevice:
    """Let it belong to nobody."""


Step = (
    ApproveDevice
    | DenyDevice
    | ForgiveDevice
    | RemoveDevice
    | DescribeDevice
    | MarkDevelopment
    | GroupDevice
    | RegroupDevice
    | LockDevice
    | UnlockDevice
    | RetryUpdate
    | ReplaceToken
    | SetKey
    | SetCertificate
    | DesireAttributes
    | UnclaimDevice
)


@dataclass(frozen=True, slots=True)
class ChangeMember:
    """Steps on a member of this product, all or none."""

    device_id: str
    product_id: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class ClaimDevice:
    """Let it belong to this account or customer, being a full member of this product, or of whichever. ``invitee_id``:
    whose activation code opens the product's private beta (PRD-4)."""

    device_id: str
    owner_id: str
    invitee_id: str | None = None
    product_id: int | None = None


@dataclass(frozen=True, slots=True)
class ReleaseDevice:
    """Let it belong to nobody, if it is this owner's and a member of this product still."""

    device_id: str
    product_id: int
    owner_id: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """Let it belong to somebody else, as its owner agreed to while it was theirs by this ``claim``: nothing happens if
    it has been claimed anew since, or is no full member of this product."""

    device_id: str
    product_id: int
    owner_id: str
    claim: int
    claimant_id: str
    invitee_id: str | None = None


@dataclass(frozen=True, slots=True)
class ProvisionDevice:
    """It showed its product's provisioning secret and gets one thing to authenticate with. ``create``: a device of no
    product is made a member, with this name."""

    device_id: str
    product_id: int
    token_digest: str | None
    fingerprint: str | None
    create: bool
    name: str = ""


Command = ImportDevice | QuarantineDevice | ChangeMember | ClaimDevice | ReleaseDevice | HandOver | ProvisionDevice


class Device(msgspec.Struct, frozen=True):
    """What ``decide`` asks for. ``product_id`` is None while it is a member of no product; ``claims``: how often it was
    claimed, in whichever product."""

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
    public_key: str | None = None
    fingerprint: str | None = None
    provisioned: bool = False
    owner_id: str | None = None
    claims: int = 0
    desired: Values = msgspec.field(default_factory=dict)


def decide(state: Device, command: Command) -> list[Event]:
    """What the command means now; an empty list if it changes nothing."""
    match command:
        case ImportDevice():
            return _import(state, command)
        case QuarantineDevice(device_id, product_id):
            return [] if state.product_id is not None else [DeviceQuarantined(device_id, product_id)]
        case ChangeMember():
            return _replace(state, command)
        case ClaimDevice():
            return _claim(state, command)
        case ReleaseDevice(device_id, product_id, owner_id):
            is_theirs = (state.product_id, state.owner_id) == (product_id, owner_id)
            return [DeviceUnclaimed(device_id, product_id, owner_id)] if is_theirs else []
        case HandOver():
            return _hand_over(state, command)
        case ProvisionDevice():
            return _provision(state, command)
        case _:
            assert_never(command)


def _import(state: Device, command: ImportDevice) -> list[Event]:
    events = _join(state, command)
    if command.key is None:
        return events
    for event in events:
        state = evolve(state, event)
    keyed = _let_in(state, command.key, command.device_id, command.product_id)
    return events if keyed is None else [*events, keyed]


def _join(state: Device, command: ImportDevice) -> list[Event]:
    device_id, product_id, forced = command.device_id, command.product_id, command.forced
    if state.product_id is None:
        return [DeviceImported(device_id, product_id, forced)]
    if state.product_id != product_id:
        raise Refused("other_product", "the device is a member of another product")
    if state.quarantined or state.denied:
        return [DeviceApproved(device_id, product_id, forced or state.forced)]
    return [DeviceForced(device_id, product_id)] if forced and not state.forced else []


def _claim(state: Device, command: ClaimDevice) -> list[Event]:
    if state.product_id is None or command.product_id not in (None, state.product_id):
        raise NotFound(NOT_A_MEMBER)
    if state.quarantined or state.denied:
        raise Refused("not_claimable", "the device is no full member of its product yet")
    if state.owner_id is not None and state.owner_id != command.owner_id:
        raise Refused("claimed_elsewhere", "the device belongs to someone else")
    if state.owner_id == command.owner_id:
        return []
    return [DeviceClaimed(command.device_id, state.product_id, command.owner_id, command.invitee_id)]


def _hand_over(state: Device, command: HandOver) -> list[Event]:
    device_id, product_id, owner_id = command.device_id, command.product_id, command.owner_id
    is_theirs = (state.product_id, state.owner_id, state.claims) == (product_id, owner_id, command.claim)
    if not is_theirs or state.quarantined or state.denied:
        return []
    return [
        DeviceUnclaimed(device_id, product_id, owner_id),
        DeviceClaimed(device_id, product_id, command.claimant_id, command.invitee_id),
    ]


def _provision(state: Device, command: ProvisionDevice) -> list[Event]:
    device_id, product_id = command.device_id, command.product_id
    joined: list[Event] = []
    if state.product_id is None and command.create:
        joined = [DeviceImported(device_id, product_id, forced=False)]
        if command.name:
            joined.append(DeviceDescribed(device_id, product_id, command.name, ""))
    elif state.product_id != product_id:
        raise NotFound(NOT_A_MEMBER)
    elif state.quarantined or state.denied:
        raise Refused("not_provisionable", "the device is no full member of the product yet")
    elif state.provisioned or state.token_digest is not None or state.fingerprint is not None:
        raise Refused("already_provisioned", "the device has something to authenticate with already")
    return [
        *joined,
        DeviceProvisioned(device_id, product_id, created=bool(joined)),
        *([] if command.token_digest is None else [DeviceTokenReplaced(device_id, product_id, command.token_digest)]),
        *([] if command.fingerprint is None else [DeviceCertificateSet(device_id, product_id, command.fingerprint)]),
    ]


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
        case ApproveDevice(forced):
            if state.quarantined or state.denied:
                return DeviceApproved(device_id, product_id, forced or state.forced)
            return DeviceForced(device_id, product_id) if forced and not state.forced else None
        case DenyDevice():
            return None if state.denied else DeviceDenied(device_id, product_id)
        case ForgiveDevice():
            return DeviceQuarantined(device_id, product_id) if state.denied else None
        case RemoveDevice():
            return DeviceRemoved(device_id, product_id, state.owner_id)
        case LockDevice(version, flash):
            # a repeated "flash now" is a new wish; a repeated lock is none
            is_new = flash or version != state.locked_version
            return DeviceLocked(device_id, product_id, version, flash) if is_new else None
        case UnlockDevice():
            return None if state.locked_version is None else DeviceUnlocked(device_id, product_id)
        case RetryUpdate():
            return UpdateRetryAsked(device_id, product_id)
        case ReplaceToken() | SetKey() | SetCertificate() | UnclaimDevice():
            return _let_in(state, step, device_id, product_id)
        case _:
            return _describe(state, step, device_id, product_id)


def _let_in(
    state: Device, step: ReplaceToken | SetKey | SetCertificate | UnclaimDevice, device_id: str, product_id: int
) -> Event | None:
    match step:
        case ReplaceToken(token_digest):
            is_new = token_digest != state.token_digest
            return DeviceTokenReplaced(device_id, product_id, token_digest) if is_new else None
        case SetKey(algorithm, public_key, first_use):
            if first_use and (state.public_key is not None or state.quarantined or state.denied):
                return None
            is_new = public_key != state.public_key
            return DeviceKeySet(device_id, product_id, algorithm, public_key, first_use) if is_new else None
        case SetCertificate(fingerprint):
            is_new = fingerprint != state.fingerprint
            return DeviceCertificateSet(device_id, product_id, fingerprint) if is_new else None
        case UnclaimDevice():
            owner_id = state.owner_id
            return None if owner_id is None else DeviceUnclaimed(device_id, product_id, owner_id)
        case _:
            assert_never(step)


def _describe(
    state: Device,
    step: DescribeDevice | MarkDevelopment | GroupDevice | RegroupDevice | DesireAttributes,
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
        case RegroupDevice():
            groups = _regrouped(state, step)
            return None if groups == state.groups else DeviceGrouped(device_id, product_id, sorted(groups))
        case DesireAttributes(changes):
            values, removed = needed(state.desired, changes)
            is_new = bool(values or removed)
            return AttributesDesired(device_id, product_id, as_object(values), list(removed)) if is_new else None
        case _:
            assert_never(step)


def _regrouped(state: Device, step: RegroupDevice) -> frozenset[str]:
    if step.only_from is not None and step.only_from not in state.groups:
        return state.groups
    groups = (state.groups | step.add) - step.remove
    if len(groups) > MAX_GROUPS:
        raise Refused("invalid_request", f"a device is in at most {MAX_GROUPS} groups")
    return groups


def evolve(state: Device, event: Event) -> Device:
    """What the event makes true."""
    match event:
        case DeviceImported(_, product_id, forced):
            return Device(product_id=product_id, forced=forced, claims=state.claims)
        case DeviceForced():
            return replace(state, forced=True)
        case DeviceQuarantined(_, product_id):
            return replace(state, product_id=product_id, quarantined=True, denied=False)
        case DeviceApproved(_, _, forced):
            return replace(state, quarantined=False, denied=False, forced=forced)
        case DeviceDenied():
            return replace(state, quarantined=False, denied=True)
        case DeviceRemoved():
            return Device(claims=state.claims)
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
        case UpdateRetryAsked():
            return state
        case _:
            return _evolve_access(state, event)


def _evolve_access(
    state: Device,
    event: DeviceTokenReplaced
    | DeviceKeySet
    | DeviceCertificateSet
    | DeviceProvisioned
    | DeviceClaimed
    | DeviceUnclaimed
    | AttributesDesired,
) -> Device:
    match event:
        case DeviceTokenReplaced(_, _, token_digest):
            return replace(state, token_digest=token_digest)
        case DeviceKeySet(_, _, _, public_key, _):
            return replace(state, public_key=public_key)
        case DeviceCertificateSet(_, _, fingerprint):
            return replace(state, fingerprint=fingerprint)
        case DeviceProvisioned():
            return replace(state, provisioned=True)
        case DeviceClaimed(_, _, owner_id):
            return replace(state, owner_id=owner_id, claims=state.claims + 1)
        case DeviceUnclaimed():
            return replace(state, owner_id=None)
        case AttributesDesired(_, _, values, removed):
            return replace(state, desired=merged(state.desired, values_of(values), removed))
        case _:
            assert_never(event)


DEVICE: Aggregate[Device, Command] = Aggregate(Device(), decide, evolve)


def stream_of(device_id: str) -> str:
    """The stream of a device."""
    return f"device-{device_id}"
