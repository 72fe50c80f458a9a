"""Some lines of device IDs turned into members, with the keys that stand behind them, and what is told about each.

Does no I/O of its own. The last key of a device counts; a line whose key cannot be used is refused alone (DEV-1).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.devices.device import ImportDevice, SetKey, stream_of
from services.devices.id_file import Keyed, Line, Malformed
from services.devices.imports import Outcome
from shared.device_keys import parse_public_key
from shared.errors import Refused
from shared.events.devices import DeviceApproved, DeviceImported, DeviceKeySet, ImportProblem
from shared.streams import Handled

Outcomes = list[Handled[Any] | Exception]
OfAnother = Callable[[Collection[str]], Collection[str]]
"""Which of these devices are of another platform than the product's."""
WRONG_PLATFORM = "the device is of another platform than the product"
HandleMany = Callable[[Sequence[tuple[str, ImportDevice]]], Outcomes]
"""Runs commands on many devices, each at most once, in such a way that a repeat is harmless."""


@dataclass(slots=True)
class Report:
    """What became of the lines; a device that is on several of them counts once."""

    updated: list[str] = field(default_factory=list)
    existing: list[str] = field(default_factory=list)
    keys_set: int = 0
    problems: list[ImportProblem] = field(default_factory=list)
    position: int | None = None

    @property
    def outcome(self) -> Outcome:
        """Its counts."""
        return Outcome(len(self.updated), len(self.existing), self.problems, self.keys_set)


def import_chunk(
    lines: Iterable[Line], product_id: int, forced: bool, handle_many: HandleMany, of_another: OfAnother
) -> Report:
    """Import the devices on these lines. Raises what a device's command raised that is no refusal: then nothing may
    be said of any line, and the same is to be tried again."""
    report = Report()
    first_lines: dict[str, int] = {}
    keys: dict[str, SetKey] = {}
    for line in lines:
        number, content = line.number, line.content
        if isinstance(content, Malformed):
            problem = ImportProblem(number, content.text, "malformed", f"line {number}: {content.reason}")
            report.problems.append(problem)
        elif isinstance(content, Keyed):
            key = _key(content, number)
            if isinstance(key, ImportProblem):
                report.problems.append(key)
            else:
                first_lines.setdefault(content.device_id, number)
                keys[content.device_id] = key
        elif content is not None:
            first_lines.setdefault(content, number)
    for device_id in of_another(first_lines.keys()) if first_lines else ():
        number = first_lines.pop(device_id)
        report.problems.append(ImportProblem(number, device_id, "wrong_platform", f"line {number}: {WRONG_PLATFORM}"))
    commands = [(stream_of(one), ImportDevice(one, product_id, forced, keys.get(one))) for one in first_lines]
    outcomes = handle_many(commands) if commands else []
    for (device_id, number), outcome in zip(first_lines.items(), outcomes, strict=True):
        _tell(report, device_id, number, outcome)
    report.problems.sort(key=lambda problem: problem.line)
    return report


def _key(content: Keyed, number: int) -> SetKey | ImportProblem:
    try:
        algorithm, der = parse_public_key(content.key)
    except Refused as refusal:
        return ImportProblem(number, content.device_id, "bad_key", f"line {number}: {refusal.reason}")
    return SetKey(algorithm, base64.b64encode(der).decode())


def _tell(report: Report, device_id: str, number: int, outcome: Handled[Any] | Exception) -> None:
    if isinstance(outcome, Handled):
        joined = any(isinstance(event, DeviceImported | DeviceApproved) for event in outcome.events)
        (report.updated if joined else report.existing).append(device_id)
        report.keys_set += any(isinstance(event, DeviceKeySet) for event in outcome.events)
        if outcome.position is not None:
            report.position = max(report.position or 0, outcome.position)
    elif isinstance(outcome, Refused) and outcome.code == "other_product":
        reason = f"line {number}: {outcome.reason}"
        report.problems.append(ImportProblem(number, device_id, "other_product", reason))
    else:
        raise outcome
