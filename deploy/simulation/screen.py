"""What a simulated fleet is doing, on the screen: a table of the devices, and what happened to them in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from deploy.simulation.device import Device
from deploy.simulation.fleet import SimulatedFleet

MAX_ROWS = 12
MAX_REASONS = 5


def summary(fleet: SimulatedFleet, passed_s: float) -> Group:
    """The fleet as it is now; never longer than a screen."""
    counts = fleet.counts
    lines = [
        _line("refused", counts.refused),
        _line("lost", counts.lost),
        _line("ended as asked", counts.meant),
        _line("updates failed", counts.failed),
        _line("updates failed as asked", Counter(dict(counts.failed_on_purpose))),
        _plain("updates", f"{counts.updates_begun} begun, {counts.updates_done} done"),
        _plain(
            "answered",
            f"{counts.functions_called} function calls, {counts.variables_read} variables, {counts.signals} signals",
        ),
        _plain(
            "events",
            f"{counts.events_sent} sent, {counts.events_refused} of them refused, {counts.events_heard} heard",
        ),
    ]
    return Group(_table(fleet, passed_s), *(line for line in lines if line is not None))


def _table(fleet: SimulatedFleet, passed_s: float) -> Table:
    table = Table(title=f"{len(fleet.devices)} simulated devices, {passed_s:.0f} s")
    for heading in ("protocol", "version", "devices", "online", "connected", "published", "updates"):
        table.add_column(heading, justify="left" if heading == "protocol" else "right", no_wrap=heading == "protocol")
    groups: dict[tuple[str, int], list[Device]] = {}
    for device in fleet.devices:
        groups.setdefault((device.protocol, device.version), []).append(device)
    ordered = sorted(groups.items())
    for (protocol, version), those in ordered[:MAX_ROWS]:
        table.add_row(protocol, str(version), *map(str, _sums(those)))
    if rest := [device for _, those in ordered[MAX_ROWS:] for device in those]:
        table.add_row("others", "", *map(str, _sums(rest)))
    return table


def _sums(devices: Sequence[Device]) -> tuple[int, ...]:
    return (
        len(devices),
        sum(device.online for device in devices),
        sum(device.connections for device in devices),
        sum(device.published for device in devices),
        sum(device.updates for device in devices),
    )


def _line(name: str, reasons: Counter[str]) -> Text | None:
    if not reasons:
        return None
    told = [f"{reason}: {count}" for reason, count in reasons.most_common(MAX_REASONS)]
    rest = sum(reasons.values()) - sum(count for _, count in reasons.most_common(MAX_REASONS))
    return _plain(name, " · ".join([*told, *([f"others: {rest}"] if rest else [])]))


def _plain(name: str, text: str) -> Text:
    return Text(f"{name}  ", style="bold").append(text, style="not bold")
