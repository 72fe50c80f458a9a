"""Some lines of device IDs turned into members, and what is told about each. Does no I/O of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.devices.device import ImportDevice, stream_of
from services.devices.id_file import Line, Malformed
from services.devices.imports import Outcome
from shared.errors import Refused
from shared.events.devices import DeviceApproved, DeviceImported, ImportProblem
from shared.streams import Handled

Outcomes = list[Handled[Any] | Exception]
HandleMany = Callable[[Sequence[tuple[str, ImportDevice]]], Outcomes]
"""Runs commands on many devices, each at most once, in such a way that a repeat is harmless."""


@dataclass(slots=True)
class Report:
    """What became of the lines; a device that is on several of them counts once."""

    updated: list[str] = field(default_factory=list)
    existing: list[str] = field(default_factory=list)
    problems: list[ImportProblem] = field(default_factory=list)
    position: int | None = None

    @property
    def outcome(self) -> Outcome:
        """Its counts."""
        return Outcome(len(self.updated), len(self.existing), self.problems)


def import_chunk(lines: Iterable[Line], product_id: int, forced: bool, handle_many: HandleMany) -> Report:
    """Import the devices on these lines. Raises what a device's command raised that is no refusal: then nothing may
    be said of any line, and the same is to be tried again."""
    report = Report()
    first_lines: dict[str, int] = {}
    for line in lines:
        if isinstance(line.content, Malformed):
            reason = f"line {line.number}: a device ID has 24 hex digits"
            report.problems.append(ImportProblem(line.number, line.content.text, "malformed", reason))
        elif line.content is not None:
            first_lines.setdefault(line.content, line.number)
    commands = [(stream_of(device_id), ImportDevice(device_id, product_id, forced)) for device_id in first_lines]
    outcomes = handle_many(commands) if commands else []
    for (device_id, number), outcome in zip(first_lines.items(), outcomes, strict=True):
        _tell(report, device_id, number, outcome)
    report.problems.sort(key=lambda problem: problem.line)
    return report


def _tell(report: Report, device_id: str, number: int, outcome: Handled[Any] | Exception) -> None:
    if isinstance(outcome, Handled):
        joined = any(isinstance(event, DeviceImported | DeviceApproved) for event in outcome.events)
        (report.updated if joined else report.existing).append(device_id)
        if outcome.position is not None:
            report.position = max(report.position or 0, outcome.position)
    elif isinstance(outcome, Refused) and outcome.code == "other_product":
        reason = f"line {number}: {outcome.reason}"
        report.problems.append(ImportProblem(number, device_id, "other_product", reason))
    else:
        raise outcome
