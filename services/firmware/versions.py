"""The firmware versions of one product, which of them ran, and which is released.

Stream ``firmware-<product id>``. Rules FW-1, FW-4, FW-5; codes of contract 9.3 and 9.4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.firmware import FirmwareReleased, ReleaseWithdrawn, VersionFirstRan, VersionUploaded

NO_SUCH_VERSION = "Firmware not found."

Event = VersionUploaded | VersionFirstRan | FirmwareReleased | ReleaseWithdrawn


@dataclass(frozen=True, slots=True)
class UploadVersion:
    """Add a version whose image is stored and was checked."""

    version: VersionUploaded


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
class WithdrawRelease:
    """Let this version be the product's default no longer."""

    product_id: int
    version: int


Command = UploadVersion | RecordRun | ReleaseVersion | WithdrawRelease


@dataclass(frozen=True, slots=True)
class Versions:
    """What ``decide`` asks for."""

    uploaded: frozenset[int] = frozenset()
    titles: frozenset[str] = frozenset()
    proven: frozenset[int] = frozenset()
    released: int | None = None
    intelligent: bool = False


def decide(state: Versions, command: Command) -> list[Event]:
    """What the command means now; an empty list if it changes nothing."""
    match command:
        case UploadVersion(uploaded):
            return _upload(state, uploaded)
        case RecordRun(product_id, version, device_id):
            is_first = version in state.uploaded and version not in state.proven
            return [VersionFirstRan(product_id, version, device_id)] if is_first else []
        case ReleaseVersion():
            return _release(state, command)
        case WithdrawRelease(product_id, version):
            _must_exist(state, version)
            return [ReleaseWithdrawn(product_id, version)] if version == state.released else []
        case _:
            assert_never(command)


def _upload(state: Versions, uploaded: VersionUploaded) -> list[Event]:
    highest = max(state.uploaded, default=-1)
    if uploaded.version <= highest:
        reason = f"version {uploaded.version} must be higher than {highest}, the highest that was uploaded"
        raise Refused("version_not_incremented", reason)
    if uploaded.title in state.titles:
        raise Refused("title_taken", f"another version of the product is called {uploaded.title!r}")
    return [uploaded]


def _release(state: Versions, command: ReleaseVersion) -> list[Event]:
    version = command.version
    _must_exist(state, version)
    if version not in state.proven:  # FW-5
        reason = f"no device of the product has reported yet that it runs version {version}"
        raise Refused("firmware_not_running", reason)
    if (version, command.intelligent) == (state.released, state.intelligent):
        return []
    return [FirmwareReleased(command.product_id, version, state.released, command.intelligent)]


def _must_exist(state: Versions, version: int) -> None:
    if version not in state.uploaded:
        raise NotFound(NO_SUCH_VERSION)


def evolve(state: Versions, event: Event) -> Versions:
    """What the event makes true."""
    match event:
        case VersionUploaded():
            return replace(
                state,
                uploaded=state.uploaded | {event.version},
                titles=state.titles | {event.title},
            )
        case VersionFirstRan(_, version, _):
            return replace(state, proven=state.proven | {version})
        case FirmwareReleased(_, version, _, intelligent):
            return replace(state, released=version, intelligent=intelligent)
        case ReleaseWithdrawn():
            return replace(state, released=None, intelligent=False)
        case _:
            assert_never(event)


VERSIONS: Aggregate[Versions, Command] = Aggregate(Versions(), decide, evolve)


def stream_of(product_id: int) -> str:
    """The stream of a product's firmware."""
    return f"firmware-{product_id}"
