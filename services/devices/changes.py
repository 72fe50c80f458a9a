"""What a team member may change on one device, checked, as the steps of one command (contract 7.2, 7.5). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.devices.device import (
    MAX_GROUPS,
    ApproveDevice,
    DenyDevice,
    DescribeDevice,
    ForgiveDevice,
    GroupDevice,
    LockDevice,
    MarkDevelopment,
    Step,
    UnlockDevice,
)
from shared.errors import Refused
from shared.ids import MAX_FIRMWARE_VERSION

MAX_NAME = 128
MAX_NOTES = 4_000
_GROUP = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Changes:
    """The steps, the fields as they will be, the lock that is asked for, if one is, and the groups."""

    steps: tuple[Step, ...]
    fields: dict[str, Any]
    lock: LockDevice | None

    @property
    def groups(self) -> frozenset[str]:
        """Groups that the device is put into."""
        return frozenset().union(*(step.groups for step in self.steps if isinstance(step, GroupDevice)))


def parse(changes: Mapping[str, Any]) -> Changes:
    """Raises ``Refused("invalid_request")`` for a field that is unknown or has no sensible value."""
    steps: list[Step] = []
    fields: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in ("flash", "force"):
            step, fields[name] = _step(name, value)
            steps.append(step)
    flash = changes.get("flash", False)
    if not isinstance(flash, bool):
        raise _invalid("flash must be true or false")
    steps, fields = _with_force(steps, fields, changes.get("force", False))
    lock = next((step for step in steps if isinstance(step, LockDevice)), None)
    if flash and lock is None:
        raise _invalid("flash needs desired_firmware_version: which version is to be flashed?")
    if flash and lock is not None:
        flashing = LockDevice(lock.version, flash=True)
        return Changes(tuple(flashing if step is lock else step for step in steps), fields, flashing)
    return Changes(tuple(steps), fields, lock)


def _with_force(steps: list[Step], fields: dict[str, Any], force: object) -> tuple[list[Step], dict[str, Any]]:
    if not isinstance(force, bool):
        raise _invalid("force must be true or false")
    if not force:
        return steps, fields
    if ApproveDevice() not in steps:
        raise _invalid("force needs quarantined: false: only what is approved, or imported, is forced")
    return [ApproveDevice(forced=True) if step == ApproveDevice() else step for step in steps], {
        **fields,
        "force": True,
    }


def _step(name: str, value: object) -> tuple[Step, Any]:
    """The step, and the field as it will be shown."""
    match name, value:
        case "name", str() | None:
            name_text = _text(name, value, MAX_NAME)
            return DescribeDevice(name=name_text), name_text or None
        case "notes", str() | None:
            notes = _text(name, value, MAX_NOTES)
            return DescribeDevice(notes=notes), notes or None
        case "development", bool():
            return MarkDevelopment(value), value
        case "denied", bool():
            return DenyDevice() if value else ForgiveDevice(), value
        case "quarantined", False:
            return ApproveDevice(), False
        case "quarantined", True:
            raise _invalid("only a device's own report puts it into quarantine")
        case "groups", list():
            groups = group_names(value)
            return GroupDevice(groups), sorted(groups)
        case "desired_firmware_version", None:
            return UnlockDevice(), None
        case "desired_firmware_version", int() if _is_version(value):
            return LockDevice(value), value
    raise _invalid(f"{name[:64]} cannot be changed to that")


def _is_version(value: int) -> bool:
    return not isinstance(value, bool) and 0 <= value <= MAX_FIRMWARE_VERSION


def _text(name: str, value: str | None, most: int) -> str:
    text = (value or "").strip()
    if len(text) > most:
        raise _invalid(f"{name} has at most {most} characters")
    return text


def group_names(value: Sequence[Any]) -> frozenset[str]:
    """Names that groups can have. Raises ``Refused("invalid_request")``."""
    if len(value) > MAX_GROUPS:
        raise _invalid(f"a device is in at most {MAX_GROUPS} groups")
    bad = next((group for group in value if not isinstance(group, str) or not _GROUP.fullmatch(group)), None)
    if bad is not None:
        raise _invalid(f"a group's name has 1 to 64 of a-z, 0-9, - and _; {str(bad)[:64]!r} is none")
    return frozenset(value)


def _invalid(reason: str) -> Refused:
    return Refused("invalid_request", reason)
