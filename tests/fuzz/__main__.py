"""``make fuzz``: plays inputs to every codec and machine for so long, and keeps what shows that something is not true.

python -m tests.fuzz                       all targets in turn for 10 minutes, another seed each time
python -m tests.fuzz --seconds 60 coap     those whose name has this in it
python -m tests.fuzz --replay FILE …       the inputs of these files once more
python -m tests.fuzz --list
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from tests.fuzz.all_targets import TARGETS
from tests.fuzz.harness import Finding, attempt, judged, read, shrunk, traced
from tests.fuzz.targets import Target

SECONDS = 600.0
TURN_S = 0.5
"""Each target plays for so long at most, times its share, then the next."""
FINDINGS = Path("build/fuzz")
"""Where inputs are kept; those of mistakes that were repaired belong into ``tests/fuzz/corpus``."""


@dataclass
class Turns:
    """What one target has done so far."""

    target: Target
    task: TaskID
    played: int = 0
    spent_s: float = 0.0
    findings: dict[str, Finding] = field(default_factory=dict)

    def play(self, seed: int, seconds: float) -> list[Finding]:
        """Inputs for so long; the findings that are new."""
        started, new = time.monotonic(), list[Finding]()
        while time.monotonic() < started + seconds:
            found = attempt(self.target, seed, self.played)
            self.played += 1
            if found is not None and found.kind not in self.findings:
                self.findings[found.kind] = found
                new.append(shrunk(self.target, found))
        self.spent_s += time.monotonic() - started
        return new

    @property
    def rate(self) -> str:
        """Inputs a second, as it is shown."""
        return f"{self.played / max(self.spent_s, 0.001):,.0f}"


def fuzz(targets: list[Target], seconds: float, seed: int, console: Console) -> int:
    """How many findings there are."""
    console.print(f"seed {seed}, {len(targets)} targets, {seconds:g} s")
    columns = (
        TextColumn("{task.description:30}"),
        BarColumn(24),
        TextColumn("{task.fields[played]:>10} inputs {task.fields[rate]:>8}/s"),
        TextColumn("[red]{task.fields[findings]}"),
    )
    until = time.monotonic() + seconds
    with Progress(*columns, console=console, refresh_per_second=2) as bars:
        each_s = seconds / sum(target.share for target in targets)
        all_turns = [
            Turns(target, bars.add_task(target.name, total=each_s * target.share, played="0", rate="0", findings=""))
            for target in targets
        ]
        while time.monotonic() < until:
            for turns in all_turns:
                for finding in turns.play(seed, min(TURN_S, each_s / 4) * turns.target.share):
                    console.print(f"[red]{finding.target}: {finding.kind}[/] → {_keep(finding, seed)}", soft_wrap=True)
                found = str(len(turns.findings) or "")
                played = f"{turns.played:,}"
                bars.update(turns.task, completed=turns.spent_s, played=played, rate=turns.rate, findings=found)
    in_all, findings = sum(turns.played for turns in all_turns), sum(len(turns.findings) for turns in all_turns)
    console.print(f"{in_all:,} inputs, {findings} findings" + (f"; see {FINDINGS}" if findings else ""))
    return findings


def _keep(finding: Finding, seed: int) -> Path:
    FINDINGS.mkdir(parents=True, exist_ok=True)
    path = FINDINGS / finding.file_name
    path.write_text(finding.text(f"seed {seed}"), encoding="utf-8")
    return path


def replay(paths: list[Path], console: Console) -> int:
    """How many of these inputs still show that something is not true."""
    wrong = 0
    for path in paths:
        name, steps = read(path)
        [target] = [target for target in TARGETS if target.name == name]
        finding = judged(target, steps) or traced(target, steps)
        wrong += finding is not None
        console.print(f"{path.name}: {'fine' if finding is None else finding.told}", markup=False)
    return wrong


def main() -> int:
    """1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="only targets with one of these in their names")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all targets together (%(default)g)")
    parser.add_argument("--seed", type=int, help="of the inputs; the same seed plays the same inputs")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE", help="play the inputs of these files")
    parser.add_argument("--list", action="store_true", help="the names of the targets")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)  # libraries log what they refuse, or warn of it
    warnings.simplefilter("ignore")
    console = Console()
    if asked.list:
        console.print("\n".join(target.name for target in TARGETS))
        return 0
    if asked.replay:
        return min(1, replay(asked.replay, console))
    chosen = [target for target in TARGETS if not asked.names or any(name in target.name for name in asked.names)]
    if not chosen:
        parser.error("no target has such a name")
    seed = int.from_bytes(os.urandom(4), "big") if asked.seed is None else asked.seed
    return min(1, fuzz(chosen, asked.seconds, seed, console))


if __name__ == "__main__":
    sys.exit(main())
