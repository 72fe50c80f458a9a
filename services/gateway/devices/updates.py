"""Attempts to bring one device to one firmware version (FW-7). Pure: times are arguments, facts are returned.

An attempt opens with the first chunk that the device asks for, when it says ``DOWNLOADING``, or, where the protocol has
the gateway send, with ``begin``; and then goes

=====================================================  ==================================================
reported or seen                                       the attempt
=====================================================  ==================================================
chunk requests, ``DOWNLOADING``, ``begin``             *downloading*
``DOWNLOADED``, ``VERIFIED``, ``UPDATING``             *downloaded*, *verified*, *applying*
``delivered``: the gateway has sent all of it          *applying*
version report = target                                succeeded, from whatever state; nothing else does
``FAILED`` or an error text                            failed, ``device_failed``
``UPDATED``, and 60 s later no report of the target    failed, ``device_says_current``
was *applying*, came back, reports another version     failed, ``came_back_unchanged``
connection lost before *applying*                      interrupted; 20 in a row: failed, ``never_completes``
online, no chunk request for 10 minutes                failed, ``stalled``
*applying* for 24 hours, 5 minutes if ``delivered``    failed, ``did_not_come_back``
``failed``: the gateway's transfer came to nothing      failed: ``device_refused``, ``device_failed``, ``stalled``,
                                                       ``image_unreadable``
target withdrawn or changed                            failed, ``cancelled``, which counts as no failure
its roll-out paused or over, and not *applying* yet    the same; *applying*, it goes on: only the report tells
its gateway died before *applying*                     interrupted: the devices service says so for it
*applying*, and connected to another gateway           goes on there, with the same number
*applying*, its gateway died, never came back to any   failed, ``did_not_come_back``: the devices service, after 25 h
not *applying*, and nobody tells its fate              interrupted: the devices service, after 25 h
=====================================================  ==================================================

After a failure the same version is offered again at the next connection, or after 10 minutes, then 20; three failures
leave the device alone until somebody asks again or the target changes. Attempts are numbered by device and version, on
every gateway, also when another version was tried in between. A file that was flashed to the device (contract
9.5, ``flashing``) is tried once: it is offered again when it was interrupted, and not when it failed. Longer than most
modules: one machine, one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from services.gateway.devices.flashing import Flashing
from services.gateway.entries import DeviceEntry
from shared.events.gateway import (
    UpdateAdvanced,
    UpdateCause,
    UpdateFailed,
    UpdateInterrupted,
    UpdateStarted,
    UpdateSucceeded,
)
from shared.targets import MOST_FAILURES

UpdateEvent = UpdateStarted | UpdateAdvanced | UpdateInterrupted | UpdateSucceeded | UpdateFailed
Progress = Literal["downloading", "downloaded", "verified", "applying"]
Reason = Literal[
    "device_says_current",
    "device_failed",
    "came_back_unchanged",
    "never_completes",
    "stalled",
    "device_refused",
    "image_unreadable",
    "did_not_come_back",
    "cancelled",
]

MOST_INTERRUPTIONS = 20
RETRY_S = 600.0
"""Pause after the first failure; twice as long after the second."""
CURRENT_S = 60.0
STALLED_S = 600.0
APPLYING_S = 86_400.0
"""How long *applying* may last; also how long a whole download may lie unapplied."""
BACK_S = 300.0
"""The same for a device that applies at once what the gateway sent to it (Particle, protocol section 7.3)."""
ADVANCE_PERCENT = 5
ADVANCE_S = 2.0
TEXT_BYTES = 512
LAG_S = 10.0
"""For so long after a failure the directory may not have heard of it."""

_WORDS: dict[str, Progress] = {
    "DOWNLOADING": "downloading",
    "DOWNLOADED": "downloaded",
    "VERIFIED": "verified",
    "UPDATING": "applying",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the device should run, with the size of its image."""

    product_id: int
    version: int
    cause: UpdateCause
    size_bytes: int

    def is_same(self, other: Wanted) -> bool:
        """Whether an attempt at the one is an attempt at the other: a version that was uploaded may differ from a file
        that carries its number."""
        mine, theirs = (self.product_id, self.version), (other.product_id, other.version)
        return mine == theirs and (self.cause == "file") == (other.cause == "file")


@dataclass(slots=True)
class _Open:
    wanted: Wanted
    number: int
    active_at: float
    state: Progress = "downloading"
    percent: int = 0
    told_percent: int = 0
    told_at: float = 0.0
    current_at: float | None = None
    came_back: bool = False
    back_s: float = APPLYING_S
    is_adopted: bool = False


class Updates:
    """The attempts of one device, over its connections. Lives as long as there is something to remember."""

    __slots__ = (
        "_attempts",
        "_cause",
        "_done",
        "_failed_at",
        "_failures",
        "_interrupted_at",
        "_interruptions",
        "_numbers",
        "_open",
        "_version",
        "device_id",
        "flashing",
    )

    def __init__(self, device_id: str) -> None:
        self.device_id = device_id
        self.flashing = Flashing()
        self._open: _Open | None = None
        self._version: int | None = None
        self._cause: UpdateCause | None = None
        self._attempts = 0
        self._numbers: dict[int, int] | None = None
        self._failures = 0
        self._interruptions = 0
        self._failed_at: float | None = None
        self._interrupted_at = 0.0
        self._done = False

    @property
    def running(self) -> bool:
        """Whether an attempt is open."""
        return self._open is not None

    @property
    def downloading(self) -> bool:
        """Whether an open attempt is not yet being applied."""
        return self._open is not None and self._open.state != "applying"

    @property
    def brings(self) -> Wanted | None:
        """What an open attempt brings."""
        return None if self._open is None else self._open.wanted

    @property
    def came_back(self) -> bool:
        """Whether the device has connected again since it began to apply what the open attempt brings."""
        return self._open is not None and self._open.state == "applying" and self._open.came_back

    def forgettable(self, now: float) -> bool:
        """Whether the directory knows all that this does, or it is too old to matter."""
        if self._open is not None or self._lagging(now) or self.flashing.is_untold(now):
            return False
        return not self._interruptions or now >= self._interrupted_at + APPLYING_S

    def _lagging(self, now: float) -> bool:
        return self._failed_at is not None and now < self._failed_at + LAG_S

    def know(self, entry: DeviceEntry, now: float) -> None:
        """Take over what the directory knows of earlier attempts, perhaps on other gateways."""
        self.flashing.know(entry.flash, now)
        for version, number in entry.tried.items():
            self._number(version, number)
        if self._open is not None or entry.attempt_version is None:
            return
        lagging = self._lagging(now)
        elsewhere = (entry.attempt_version, entry.attempts) != (self._version, self._attempts)
        if entry.attempt_applying and elsewhere and not lagging and entry.membership.product_id is not None:
            self._adopt(entry.membership.product_id, entry.attempt_version, entry, now)
            return
        if entry.attempt_version != self._version:
            if not lagging:
                self._begin_version(entry.attempt_version)
                self._attempts, self._failures = entry.attempts, entry.failures
                self._cause = entry.attempt_cause
            return
        self._attempts = max(self._attempts, entry.attempts)
        self._failures = max(self._failures, entry.failures) if lagging else entry.failures

    def _adopt(self, product_id: int, version: int, entry: DeviceEntry, now: float) -> None:
        """The device was applying it when its gateway saw it last, and came to this one: its fate is told here."""
        self._begin_version(version)
        self._attempts, self._failures = entry.attempts, entry.failures
        cause = entry.attempt_cause or ("file" if self.flashing.is_of(product_id, version) else "release")
        self._cause = cause
        wanted = Wanted(product_id, version, cause, 0)
        self._open = _Open(wanted, entry.attempts, now, "applying", 100, is_adopted=True)

    def told_elsewhere(self, entry: DeviceEntry) -> None:
        """Let go of an attempt that was adopted when the directory was a moment behind, and whose fate another gateway
        had told before that: it is not told twice."""
        attempt = self._open
        if attempt is None or not attempt.is_adopted or entry.attempt_applying:
            return
        if (entry.attempt_version, entry.attempts) == (attempt.wanted.version, attempt.number):
            self._open = None

    def left(self) -> None:
        """The device has connected to another gateway, which tells the fate of what it was applying."""
        self.flashing.left()
        if self._open is not None and self._open.state == "applying":
            self._open = None

    def ask_again(self) -> None:
        """Somebody wants it tried again: earlier failures count no more."""
        self._failures = 0
        self._failed_at = None

    def offer_from(self, version: int, connected_at: float) -> float | None:
        """The earliest moment at which this version may be offered; None while an attempt runs, and for a device that
        is left alone."""
        if self._open is not None:
            return None
        if version != self._version or not self._failures:
            return connected_at
        if self._failures >= MOST_FAILURES:
            return None
        if self._failed_at is None or self._failed_at <= connected_at:
            return connected_at
        return self._failed_at + RETRY_S * self._failures

    def connected(self) -> None:
        """A connection of the device begins; an attempt that is still open is being applied."""
        if self._open is not None:
            self._open.came_back = True

    def lost(self, now: float) -> list[UpdateEvent]:
        """The connection is over."""
        attempt = self._open
        if attempt is None or attempt.state == "applying":
            return []
        self._interruptions += 1
        self._interrupted_at = now
        if self._interruptions >= MOST_INTERRUPTIONS:
            return self._fail("never_completes", f"interrupted {MOST_INTERRUPTIONS} times in a row", now)
        self._open = None
        wanted, which = attempt.wanted, (attempt.wanted.product_id, attempt.wanted.version, attempt.number)
        return [UpdateInterrupted(self.device_id, *which, attempt.percent, wanted.cause)]

    def chunk(self, wanted: Wanted, end_byte: int, now: float) -> list[UpdateEvent]:
        """The device asked for its target's image up to this byte."""
        events = self._opened(wanted, now)
        attempt = self._attempt()
        attempt.active_at = now
        percent = min(100, end_byte * 100 // max(1, wanted.size_bytes))
        if attempt.state != "downloading":
            if percent >= attempt.percent:  # a chunk asked for once more: nothing new
                return events
            attempt.state, attempt.percent, attempt.came_back = "downloading", percent, False
            return [*events, self._advanced(now)]
        attempt.percent = max(attempt.percent, percent)
        if attempt.percent >= attempt.told_percent + ADVANCE_PERCENT and now >= attempt.told_at + ADVANCE_S:
            events.append(self._advanced(now))
        return events

    def says(self, word: str, error: str, wanted: Wanted | None, now: float) -> list[UpdateEvent]:
        """The device reported a state or an error (MQF-8)."""
        if word == "FAILED" or error:
            return self._fail("device_failed", _clean(error), now) if self._open else []
        if word == "UPDATED":
            if self._open is not None and self._open.current_at is None:
                self._open.current_at = now
            return []
        state = _WORDS.get(word)
        if state is None:
            return []
        events: list[UpdateEvent] = []
        if self._open is None:
            if word != "DOWNLOADING" or wanted is None:
                return []
            events = self._opened(wanted, now)
        attempt = self._attempt()
        if attempt.state == state:
            return events
        attempt.state, attempt.came_back, attempt.active_at = state, False, now
        if state != "downloading":
            attempt.percent = 100
        return [*events, self._advanced(now)]

    def begin(self, wanted: Wanted, now: float) -> list[UpdateEvent]:
        """The gateway offers the device its target, where the protocol has the gateway send and not the device ask."""
        return self.chunk(wanted, 0, now)

    def delivered(self, now: float) -> list[UpdateEvent]:
        """The device has the whole image and applies it: it has to be back within ``BACK_S``."""
        attempt = self._open
        if attempt is None:
            return []
        attempt.back_s = BACK_S
        return self.says("UPDATING", "", None, now)

    def failed(self, reason: Reason, text: str, now: float) -> list[UpdateEvent]:
        """The gateway's transfer came to nothing, for this reason."""
        return self._fail(reason, _clean(text), now) if self._open else []

    def reported(self, runs_it: bool, now: float) -> list[UpdateEvent]:
        """The device reported the version it runs, which is what the open attempt brings or is not."""
        attempt = self._open
        if attempt is None:
            return []
        if runs_it:
            return self._succeed(attempt.wanted.product_id, attempt.wanted.version, attempt.number)
        if attempt.state == "applying" and attempt.came_back:
            return self._fail("came_back_unchanged", "came back with another version", now)
        return []

    def reported_late(self, product_id: int, version: int) -> list[UpdateEvent]:
        """The device changed to its target version while no attempt was open: the last attempt at it, which an
        interruption or a restart of the gateway ended for us, has succeeded after all."""
        if self._open is not None or version != self._version or not self._attempts or self._done:
            return []
        return self._succeed(product_id, version, self._attempts)

    def retarget(self, wanted: Wanted | None, now: float) -> list[UpdateEvent]:
        """What the device should run now; an attempt at anything else is cancelled."""
        attempt = self._open
        if attempt is None:
            return []
        if wanted is not None and wanted.is_same(attempt.wanted):
            return []
        nobody_insists = wanted is None or wanted.cause in ("release", "rollout")
        if attempt.state == "applying" and attempt.wanted.cause == "rollout" and nobody_insists:
            return []  # a roll-out was paused or is over: who is away to start anew is let be
        return self._fail("cancelled", "the target was withdrawn or changed", now)

    def due_at(self) -> float | None:
        """When ``due`` has something to say, if nothing happens before."""
        attempt = self._open
        if attempt is None:
            return None
        limit = attempt.active_at + (STALLED_S if attempt.state == "downloading" else attempt.back_s)
        return limit if attempt.current_at is None else min(limit, attempt.current_at + CURRENT_S)

    def due(self, now: float) -> list[UpdateEvent]:
        """What has taken too long."""
        attempt, due_at = self._open, self.due_at()
        if attempt is None or due_at is None or now < due_at:
            return []
        if attempt.current_at is not None and now >= attempt.current_at + CURRENT_S:
            return self._fail("device_says_current", "says UPDATED and reports another version", now)
        if attempt.state == "applying":
            return self._fail("did_not_come_back", "", now)
        return self._fail("stalled", f"{attempt.state}, and nothing since", now)

    def _attempt(self) -> _Open:
        assert self._open is not None
        return self._open

    def _begin_version(self, version: int) -> None:
        self._version = version
        self._cause = None
        self._done = False
        self._attempts = 0 if self._numbers is None else self._numbers.get(version, 0)
        self._failures = self._interruptions = 0
        self._failed_at = None

    def _number(self, version: int, number: int) -> None:
        """The last attempt at this version has at least this number."""
        if self._numbers is None:
            self._numbers = {}
        self._numbers[version] = max(self._numbers.get(version, 0), number)

    def _opened(self, wanted: Wanted, now: float) -> list[UpdateEvent]:
        events = self.retarget(wanted, now)
        if self._open is not None:
            return events
        if wanted.version != self._version:
            self._begin_version(wanted.version)
        self._attempts += 1
        self._number(wanted.version, self._attempts)
        self._cause = wanted.cause
        self._done = False
        self._open = _Open(wanted, self._attempts, now, told_at=now)
        return [
            *events,
            UpdateStarted(
                self.device_id, wanted.product_id, wanted.version, self._attempts, wanted.cause, wanted.size_bytes
            ),
        ]

    def _advanced(self, now: float) -> UpdateAdvanced:
        attempt = self._attempt()
        attempt.told_at, attempt.told_percent = now, attempt.percent
        wanted = attempt.wanted
        return UpdateAdvanced(
            self.device_id, wanted.product_id, wanted.version, attempt.number, attempt.state, attempt.percent
        )

    def _succeed(self, product_id: int, version: int, number: int) -> list[UpdateEvent]:
        self._flashed(product_id, version, self._cause)
        self._open = None
        self._done = True
        self._failures = self._interruptions = 0
        self._failed_at = None
        return [UpdateSucceeded(self.device_id, product_id, version, number, self._cause)]

    def _fail(self, reason: Reason, text: str, now: float) -> list[UpdateEvent]:
        attempt = self._attempt()
        wanted = attempt.wanted
        self._flashed(wanted.product_id, wanted.version, wanted.cause)
        self._open = None
        self._interruptions = 0
        if reason != "cancelled":
            self._failures += 1
            self._failed_at = now
        which = (wanted.product_id, wanted.version, attempt.number)
        return [UpdateFailed(self.device_id, *which, reason, text, self._failures, wanted.cause)]

    def _flashed(self, product_id: int, version: int, cause: UpdateCause | None) -> None:
        """The fate of an attempt is known; if it was at the file that is to be flashed, that was its one attempt. One
        at a version that has only the same number was not."""
        if cause in (None, "file") and self.flashing.is_of(product_id, version):
            self.flashing.end()


def _clean(text: str) -> str:
    """Without control characters, at most ``TEXT_BYTES`` of UTF-8."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode()[:TEXT_BYTES].decode(errors="ignore")
