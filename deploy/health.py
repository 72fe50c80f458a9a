"""Whether a process is well, asked from outside: ``flotilla health``; for probes, lighter: ``python -m deploy.health``.

Two questions. *Live*: does the process get on, or would a restart help? *Ready*: can it do its work now? A lost broker
or a database that is away makes a process unready, never dead: a restart would not bring them back. Each process writes
a report of its parts (``deploy.health_report``); here it is judged by its age and by what it says, and a gateway is
asked over HTTP besides. Imports little, because a probe starts a process of its own every few seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deploy.running import DataFolder, Process
from shared.errors import FlotillaError, NotFound, Refused
from shared.settings import Settings

OLDEST_S = 15.0
"""A report that is older was not written because the process hangs."""
STILL_UNREADY_S = 30.0
STILL_DEAD_S = 300.0
"""A part that stands still although it has something to do is unready, and in the end dead."""
HTTP_S = 5.0


class PartReport(msgspec.Struct, frozen=True):
    """One part of a process. ``problem``: what it waits for, empty if nothing. ``still_s``: for how long it has not
    moved although it should have."""

    part: str
    problem: str = ""
    still_s: float = 0.0


class Report(msgspec.Struct, frozen=True):
    """What a process says about itself. ``written_s`` and ``looked_s`` are on the machine's monotonic clock: when this
    was written, and when the parts last answered."""

    name: str
    pid: int
    started: bool
    written_s: float
    looked_s: float
    parts: list[PartReport]


def complaints(report: Report, now_s: float, *, live: bool, oldest_s: float = OLDEST_S) -> list[str]:
    """What is wrong with a process, in sentences; none means that it is live, or ready."""
    age_s = now_s - report.written_s
    if not 0 <= age_s <= oldest_s:
        return [f"{report.name} hangs: its last report is {age_s:.0f} s old"]
    limit_s = STILL_DEAD_S if live else STILL_UNREADY_S
    found = []
    if report.written_s - report.looked_s > limit_s:
        found.append(f"{report.name}: its parts have not answered for {report.written_s - report.looked_s:.0f} s")
    for part in report.parts:
        if part.still_s > limit_s:
            found.append(f"{part.part} has stood still for {part.still_s:.0f} s although there is something to do")
        elif part.problem and not live:
            found.append(f"{part.part}: {part.problem}")
    if not report.started and not live:
        found.append(f"{report.name} is starting")
    return found


def report_path(folder: DataFolder, name: str) -> Path:
    """Where a process keeps its report."""
    return folder.run / f"{name}.health"


def look(folder: DataFolder, name: str, *, live: bool, oldest_s: float = OLDEST_S) -> list[str]:
    """The complaints about one process of a data folder. Raises ``NotFound`` if no process of that name reports."""
    try:
        report = msgspec.json.decode(report_path(folder, name).read_bytes(), type=Report)
    except FileNotFoundError:
        raise NotFound(f"no process {name!r} reports in {folder.run}; there are: {_names(folder)}") from None
    except msgspec.DecodeError as error:
        return [f"{name}: its report cannot be read: {error}"]
    if not Path(f"/proc/{report.pid}").exists() and Path("/proc").exists():
        return [f"{name} is gone: there is no process {report.pid}"]
    found = complaints(report, time.monotonic(), live=live, oldest_s=oldest_s)
    announced = next((one for one in folder.processes() if one.name == name and one.pid == report.pid), None)
    return found or ([] if announced is None else _over_http(announced, live=live))


def reporting(folder: DataFolder) -> list[str]:
    """The names of all processes that report in this folder."""
    return sorted(path.stem for path in folder.run.glob("*.health"))


def _over_http(process: Process, *, live: bool) -> list[str]:
    if process.http is None:
        return []
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{process.http}/health", timeout=HTTP_S):
            return []
    except urllib.error.HTTPError as answer:
        answer.close()
        return [] if live else [f"{process.name}: {process.http}/health answers {answer.code}"]
    except OSError as error:
        return [f"{process.name}: {process.http}/health does not answer: {error}"]


def _names(folder: DataFolder) -> str:
    return ", ".join(reporting(folder)) or "none"


def check(names: Sequence[str], data: Path | None, *, live: bool) -> list[str]:
    """The complaints about these processes, or about all that report. Raises ``NotFound`` if there are none."""
    folder = DataFolder(Settings.load(data=data).data)
    wanted = list(names) or reporting(folder)
    if not wanted:
        raise NotFound(f"no process reports in {folder.run}")
    return [complaint for name in wanted for complaint in look(folder, name, live=live)]


def main(arguments: Sequence[str]) -> int:
    """The probe: prints complaints; 0 if there are none, else 1."""
    parser = argparse.ArgumentParser(prog="python -m deploy.health", description="Whether processes are well.")
    parser.add_argument("names", nargs="*", help="processes (default: all of the data folder)")
    parser.add_argument("--live", action="store_true", help="only whether a restart would help")
    given = parser.parse_args(arguments)
    try:
        found = check(given.names, None, live=given.live)
    except (NotFound, Refused) as error:
        found = [str(error)]
    except FlotillaError as error:
        found = [f"{type(error).__name__}: {error}"]
    print("\n".join(found) or "well")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
