"""What counts as an error that a device reports, apart from what it does wrong on the wire: starting anew because of a
fault, and events that its application names as errors. Pure.

An application reports an error of its own by an event named ``error`` or ``error/<kind>``, over whatever protocol; it
is in the log like any other event, and counted as ``app/<kind>``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FAULTS = frozenset({"panic", "watchdog", "power_brownout", "update_error", "update_timeout"})
"""Reasons for starting anew that are faults; the others are somebody's wish, or the mains."""
PANICS = frozenset(
    {
        "hard_fault",
        "memory_fault",
        "bus_fault",
        "usage_fault",
        "out_of_heap",
        "assert_failed",
        "stack_overflow",
    }
)
REPORTED = "error"
KIND_CHARACTERS = 40
TEXT_CHARACTERS = 256

_STRANGE = re.compile(r"[^a-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Error:
    """``kind`` as ``DeviceErred`` has it, ``text`` what the device said."""

    kind: str
    text: str


def reset(reason: str) -> Error | None:
    """Of ``spark/device/last_reset``, ``panic, hard_fault`` for example; None if it is no fault."""
    word, _, detail = (part.strip() for part in reason.lower().partition(","))
    if word not in FAULTS:
        return None
    if word != "panic":
        return Error(f"reset/{word}", reason)
    return Error(f"reset/{word}.{detail}" if detail in PANICS else f"reset/{word}", reason)


def safe_mode(text: str) -> Error:
    """The device runs without its application."""
    return Error("reset/safe_mode", text)


def published(name: str, data: str | None) -> Error | None:
    """Of an event of the application; None if its name is not that of an error."""
    family, _, kind = name.partition("/")
    if family != REPORTED:
        return None
    said = _STRANGE.sub("_", kind.lower()).strip("_")[:KIND_CHARACTERS]
    text = "".join(character if character.isprintable() else " " for character in (data or "")[:TEXT_CHARACTERS])
    return Error(f"app/{said or REPORTED}", text)
