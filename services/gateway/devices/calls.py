"""What the platform asks of a connected device, whatever protocol it speaks (DEV-9). Pure.

A question is answered with a JSON value, or refused with one of these codes:

==========================  =============================================================================
``device_offline``          no session, or it ended before the answer came
``timeout``                 no answer in the time that the caller gave; a later one is dropped and counted
``busy``                    more than ``MOST_WAITING`` questions wait for this device
``unknown_function``        the device described itself, and this function was not among its functions
``unknown_variable``        likewise
``argument_too_long``       longer than this device takes
``device_not_listening``    it is online and has not subscribed to calls
``too_large_for_device``    the message is larger than the device takes
``call_failed``             the device answered with an error of its own
``not_supported``           its protocol has no such question
``updates_disabled``        its application does not let it be updated now
``product_mismatch``        it is in another product than the file is for, by now
==========================  =============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.gateway.entries import FlashEntry

MOST_WAITING = 16
"""Questions that wait for one device."""
DEFAULT_TIMEOUT_S = 10.0
LONGEST_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """Run a function. ``argument`` is text in Particle's API; MQTT devices may be given any JSON. Answered with what
    the device returned."""

    name: str
    argument: Any = ""


@dataclass(frozen=True, slots=True)
class VariableRead:
    """The value of a variable. ``fresh``: ask the device also where the latest value is known (MQX-2). Answered with
    ``{"value": …}``, and ``at``, an ISO 8601 time, for a value that was not asked of the device."""

    name: str
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether the device answers now, not only whether it has a session (MQX-4). Answered with True."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Show yourself, or stop it. Answered with ``on``."""

    on: bool


@dataclass(frozen=True, slots=True)
class FlashFile:
    """Take this file and run it, whatever the target is (contract 9.5). Answered with True when the device is going to
    be sent it, with False when the same wish was taken over before; what becomes of it is told as of every update."""

    flash: FlashEntry
    file_name: str


Enquiry = FunctionCall | VariableRead | Probe | Signal
"""What one message asks."""
Question = Enquiry | FlashFile


def return_value(outcome: Any) -> int | None:
    """What a function returned, in the sense of Particle's API (MQX-1): the answer if it is an integer, or its member
    ``return_value`` if that is one."""
    value = outcome.get("return_value") if isinstance(outcome, Mapping) else outcome
    return value if isinstance(value, int) and not isinstance(value, bool) else None
