"""The firmware versions of one product, which of them ran, which is released, and which is being rolled out.

Stream ``firmware-<product id>``. Rules FW-1, FW-4, FW-5, FW-6; codes of contract 9.3 and 9.4. What is decided of
roll-outs is in ``rollouts.control``, of who may sign versions in ``signing``; where releases and roll-outs meet is
here. Longer than other modules, because releases of all kinds must not contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.firmware import signing
from services.firmware.rollouts import control, course
from services.firmware.signing import (
    AddSigningKey,
    RemoveSigningKey,
    RequireSignatures,
    Signing,
    SigningCommand,
    SigningEvent,
    must_be_signed_by_a_key,
)
from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.firmware import (
    FirmwareReleased,
    FirmwareReleasedToGroups,
    ReleaseWithdrawn,
    SignaturesRequired,
    SigningKeyAdded,
    SigningKeyRemoved,
    VersionDeleted,
    VersionDescribed,
    VersionFirstRan,
    VersionUploaded,
)
from shared.events.rollouts import RolloutCompleted, RolloutPlanned
from shared.targets import with_groups

NO_SUCH_VERSION = "Firmware not found."

Event = (
    VersionUploaded
    | VersionDescribed
    | VersionDeleted
    | VersionFirstRan
    | FirmwareReleased
    | FirmwareReleasedToGroups
    | ReleaseWithdrawn
    | course.Event
    | SigningEvent
)


@dataclass(frozen=True, slots=True)
class UploadVersion:
    """Add a version whose image is stored and was checked."""

    version: VersionUploaded


@dataclass(frozen=True, slots=True)
class DescribeVersion:
    """None leaves as it is."""

    product_id: int
    version: int
    title: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteVersion:
    """``locked``: how many devices are locked to it."""

    product_id: int
    version: int
    locked: int = 0


@dataclass(frozen=True, slots=True)
class RecordRun:
    """A device that counts as the product's reported that it runs this version."""

    product_id: int
    version: int
    device_id: str


@dataclass(frozen=True, slots=True)
class ReleaseVersion:
    """Make this version what the product's devices should run."""

    product_id: int
    version: int
    intelligent: bool = False


@dataclass(frozen=True, slots=True)
class ReleaseToGroups:
    """Make this version what devices in these groups should run, and let it be released to no other group."""

    product_id: int
    version: int
    groups: frozenset[str]
    intelligent: bool = False


@dataclass(frozen=True, slots=True)
class FollowGroup:
    """A group is gone, or called something else: what is released or rolled out to it goes with it."""

    product_id: int
    name: str
    renamed: str | None = None


@dataclass(frozen=True, slots=True)
class WithdrawRelease:
    """Let this version be the product's default no longer."""

    product_id: int
    version: int


@dataclass(frozen=True, slots=True)
class Release:
    """All of them, or none."""

    steps: tuple[ReleaseVersion | ReleaseToGroups | WithdrawRelease, ...]


Command = (
    UploadVersion
    | DescribeVersion
    | DeleteVersion
    | RecordRun
    | ReleaseVersion
    | ReleaseToGroups
    | FollowGroup
    | WithdrawRelease
    | Release
    | control.Command
    | SigningCommand
)


@dataclass(frozen=True, slots=True)
class Versions:
    """What ``decide`` asks for: title and description of each version, the highest number ever, those that ran, those
    that were ever released, the one that is, those that are to groups, and all roll-outs."""

    uploaded: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    highest: int = -1
    proven: frozenset[int] = frozenset()
    ever_released: frozenset[int] = frozenset()
    released: int | None = None
    intelligent: bool = False
    group_releases: Mapping[str, int] = field(default_factory=dict)
    rollouts: course.Courses = field(default_factory=dict)
    signing: Signing = Signing()


def decide(state: Versions, command: Command) -> list[Event]:
    """What the command means now; an empty list if it changes nothing."""
    match command:
        case UploadVersion(uploaded):
            return _upload(state, uploaded)
        case DescribeVersion():
            return _describe(state, command)
        case DeleteVersion():
            return _delete(state, command)
        case RecordRun(product_id, version, device_id):
            is_first = version in state.uploaded and version not in state.proven
            return [VersionFirstRan(product_id, version, device_id)] if is_first else []
        case ReleaseVersion():
            return _release(state, command)
        case ReleaseToGroups():
            return _release_to_groups(state, command)
        case FollowGroup():
            return _follow(state, command)
        case Release(steps):
            return _in_turn(state, steps)
        case AddSigningKey() | RemoveSigningKey() | RequireSignatures():
            return [*signing.decide(state.signing, command)]
        case WithdrawRelease(product_id, version):
            return _withdraw(state, product_id, version)
        case _:
            return _roll_out(state, command)


def _upload(state: Versions, uploaded: VersionUploaded) -> list[Event]:
    if uploaded.version <= state.highest:
        reason = f"version {uploaded.version} must be higher than {state.highest}, the highest that was uploaded"
        raise Refused("version_not_incremented", reason)
    _must_be_free(state, uploaded.version, uploaded.title)
    must_be_signed_by_a_key(state.signing, uploaded)
    return [uploaded]


def _describe(state: Versions, command: DescribeVersion) -> list[Event]:
    title, description = before = _must_exist(state, command.version)
    if command.title is not None:
        title = command.title
        _must_be_free(state, command.version, title)
    if command.description is not None:
        description = command.description
    if (title, description) == before:
        return []
    return [VersionDescribed(command.product_id, command.version, title, description)]


def _delete(state: Versions, command: DeleteVersion) -> list[Event]:
    version = command.version
    _must_exist(state, version)
    if version in state.proven:  # FW-2
        raise Refused("firmware_ran", f"version {version} ran on a device, so it is part of the product's history")
    if version in state.ever_released:
        raise Refused("firmware_released", f"version {version} was released, so it is part of the product's history")
    if command.locked:
        raise Refused("firmware_in_use", f"devices locked to version {version}: {command.locked}; unlock them first")
    return [VersionDeleted(command.product_id, version)]


def _release(state: Versions, command: ReleaseVersion) -> list[Event]:
    version = command.version
    _must_be_releasable(state, version)
    if (version, command.intelligent) == (state.released, state.intelligent):
        return []
    control.must_be_free(state.rollouts, frozenset())
    return [FirmwareReleased(command.product_id, version, state.released, command.intelligent)]


def _release_to_groups(state: Versions, command: ReleaseToGroups) -> list[Event]:
    version = command.version
    if command.groups:
        _must_be_releasable(state, version)
    else:
        _must_exist(state, version)
    changed = command.groups ^ _groups_of(state, version)
    if changed:
        control.must_be_free(state.rollouts, changed)
    return _to_groups(state, command.product_id, version, command.groups, command.intelligent)


def _withdraw(state: Versions, product_id: int, version: int) -> list[Event]:
    _must_exist(state, version)
    if version != state.released:
        return []
    control.must_be_free(state.rollouts, frozenset())
    return [ReleaseWithdrawn(product_id, version)]


def _follow(state: Versions, command: FollowGroup) -> list[Event]:
    events: list[Event] = [*control.follow(state.rollouts, command.name, command.renamed)]
    version = state.group_releases.get(command.name)
    if version is None:
        return events
    groups = _groups_of(state, version) - {command.name}
    if command.renamed is not None:
        groups |= {command.renamed}
    return [*_to_groups(state, command.product_id, version, groups, intelligent=False), *events]


def _roll_out(state: Versions, command: control.Command) -> list[Event]:
    if isinstance(command, control.PlanRollout):
        _must_be_releasable(state, command.plan.version)
    released = control.Released(state.released, state.group_releases)
    events: list[Event] = [*control.decide(state.rollouts, released, command)]
    if events and isinstance(events[-1], RolloutCompleted):
        events += _released_by(state, state.rollouts[events[-1].rollout_id].plan)
    return events


def _released_by(state: Versions, plan: RolloutPlanned) -> list[Event]:
    """The release that a roll-out becomes."""
    if not plan.groups:
        return [FirmwareReleased(plan.product_id, plan.version, state.released, plan.intelligent)]
    groups = _groups_of(state, plan.version) | set(plan.groups)
    return _to_groups(state, plan.product_id, plan.version, groups, plan.intelligent)


def _to_groups(
    state: Versions, product_id: int, version: int, groups: frozenset[str], intelligent: bool
) -> list[Event]:
    if groups == _groups_of(state, version):
        return []
    taken = {state.group_releases[group] for group in groups if group in state.group_releases} - {version}
    return [FirmwareReleasedToGroups(product_id, version, sorted(groups), sorted(taken), intelligent)]


def _groups_of(state: Versions, version: int) -> frozenset[str]:
    return frozenset(group for group, released in state.group_releases.items() if released == version)


def _in_turn(state: Versions, steps: tuple[ReleaseVersion | ReleaseToGroups | WithdrawRelease, ...]) -> list[Event]:
    events: list[Event] = []
    for step in steps:
        happened = decide(state, step)
        for event in happened:
            state = evolve(state, event)
        events += happened
    return events


def _must_be_releasable(state: Versions, version: int) -> None:
    _must_exist(state, version)
    if version not in state.proven:  # FW-5
        reason = f"no device of the product has reported yet that it runs version {version}"
        raise Refused("firmware_not_running", reason)


def _must_be_free(state: Versions, version: int, title: str) -> None:
    if any(other != version and described[0] == title for other, described in state.uploaded.items()):
        raise Refused("title_taken", f"another version of the product is called {title!r}")


def _must_exist(state: Versions, version: int) -> tuple[str, str]:
    if version not in state.uploaded:
        raise NotFound(NO_SUCH_VERSION)
    return state.uploaded[version]


def evolve(state: Versions, event: Event) -> Versions:
    """What the event makes true."""
    match event:
        case VersionUploaded() | VersionDescribed():
            described = (event.title, event.description)
            highest = max(state.highest, event.version)
            return replace(state, uploaded={**state.uploaded, event.version: described}, highest=highest)
        case VersionDeleted(_, version):
            return replace(state, uploaded={one: text for one, text in state.uploaded.items() if one != version})
        case VersionFirstRan(_, version, _):
            return replace(state, proven=state.proven | {version})
        case FirmwareReleased(_, version, _, intelligent):
            rollouts = course.superseded(state.rollouts, frozenset())
            ever_released = state.ever_released | {version}
            return replace(
                state, ever_released=ever_released, released=version, intelligent=intelligent, rollouts=rollouts
            )
        case FirmwareReleasedToGroups():
            return _with_group_release(state, event)
        case SigningKeyAdded() | SigningKeyRemoved() | SignaturesRequired():
            return replace(state, signing=signing.evolve(state.signing, event))
        case ReleaseWithdrawn():
            return replace(state, released=None, intelligent=False)
        case _:
            return replace(state, rollouts=course.evolve(state.rollouts, event))


def _with_group_release(state: Versions, event: FirmwareReleasedToGroups) -> Versions:
    before, releases = state.group_releases, with_groups(state.group_releases, event.version, event.groups)
    changed = frozenset(group for group in {*event.groups, *before} if before.get(group) != releases.get(group))
    rollouts = course.superseded(state.rollouts, changed) if changed else state.rollouts
    ever_released = state.ever_released | ({event.version} if event.groups else set())
    return replace(state, ever_released=ever_released, group_releases=releases, rollouts=rollouts)


VERSIONS: Aggregate[Versions, Command] = Aggregate(Versions(), decide, evolve)


def stream_of(product_id: int) -> str:
    """The stream of a product's firmware."""
    return f"firmware-{product_id}"
