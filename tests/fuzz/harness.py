"""Plays inputs, sees whether what must be true is true, and makes an input that shows otherwise small."""

from __future__ import annotations

import signal
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from types import FrameType

from tests.fuzz.mutators import Steps, mutated
from tests.fuzz.sizes import size_of
from tests.fuzz.targets import Kept, Target

SLOWEST_CPU_S = 3.0
"""Of the processor's time for one input; what takes longer may never end."""
WEIGHED_EVERY = 16
"""Inputs; weighing takes longer than playing."""
TRACED_EVERY = 128
"""Inputs whose peak of memory is measured, which is slower still."""
PEAK_BYTES = 2_097_152
PEAK_PER_BYTE = 200
SHRINKING = 400
"""Attempts at making an input smaller."""


class TooSlow(BaseException):
    """An input takes longer than ``SLOWEST_CPU_S``; nothing under test may catch it."""


@dataclass(frozen=True)
class Finding:
    """An input that shows that something is not true. ``kind`` tells findings apart; ``told`` is for people."""

    target: str
    kind: str
    told: str
    steps: Steps

    @property
    def file_name(self) -> str:
        """The same for the same input."""
        return f"{self.target}-{sha256(repr(self.steps).encode()).hexdigest()[:10]}.hex"

    def text(self, found_by: str) -> str:
        """As it is kept in a file: comments, then a line for each step."""
        comments = [f"target: {self.target}", f"found by: {found_by}", *self.told.splitlines()]
        return "".join(f"# {line}\n" for line in comments) + "".join(f"{step.hex()}.\n" for step in self.steps)


def read(path: Path) -> tuple[str, Steps]:
    """The target and the input of a file. The full stop ends a step, so that an empty one is one, too."""
    lines = path.read_text(encoding="utf-8").splitlines()
    target = next(line.removeprefix("# target: ") for line in lines if line.startswith("# target: "))
    return target, tuple(bytes.fromhex(line.removesuffix(".")) for line in lines if line and not line.startswith("#"))


def input_of(target: Target, seed: int, number: int) -> Steps:
    """The input of this number: first the real ones, then changed ones."""
    if number < len(target.seeds):
        return target.seeds[number]
    return mutated(target.seeds, Random(f"{seed} {target.name} {number}"))


def attempt(target: Target, seed: int, number: int) -> Finding | None:
    """Play the input of this number."""
    steps = input_of(target, seed, number)
    if number % TRACED_EVERY == TRACED_EVERY - 1:
        return traced(target, steps)
    return judged(target, steps, weighing=number % WEIGHED_EVERY == 0)


def judged(target: Target, steps: Steps, weighing: bool = True) -> Finding | None:
    """What is not true when this input is played; None if all is."""
    try:
        with _watched():
            held = target.play(steps)
    except target.refuses:
        return None
    except TooSlow:
        return Finding(target.name, "too slow", f"takes more than {SLOWEST_CPU_S} s", steps)
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return Finding(target.name, _kind(error), "".join(traceback.format_exception(error)), steps)
    return _weighed(target, steps, held) if weighing else None


def traced(target: Target, steps: Steps) -> Finding | None:
    """The same, and how much memory it takes in between."""
    input_bytes = sum(map(len, steps))
    tracemalloc.start()
    try:
        finding = judged(target, steps, weighing=False)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    most = target.held_most(input_bytes) + PEAK_BYTES + PEAK_PER_BYTE * input_bytes
    if finding is None and peak_bytes > most:
        return Finding(target.name, "peak", f"takes {peak_bytes} bytes in between, at most {most}", steps)
    return finding


def _weighed(target: Target, steps: Steps, held: object) -> Finding | None:
    kept = held if isinstance(held, Kept) else Kept(held)
    size_bytes, most = size_of(kept.held, kept.apart), target.held_most(sum(map(len, steps)))
    if size_bytes <= most:
        return None
    return Finding(target.name, "too much held", f"{size_bytes} bytes are held, at most {most}", steps)


@contextmanager
def _watched() -> Iterator[None]:
    """Ends what takes too long; the time that others take on this machine does not count."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, SLOWEST_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _kind(error: Exception) -> str:
    """The same for the same mistake: what was raised, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/services/" in frame.filename or "/shared/" in frame.filename] or frames
    return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"


def shrunk(target: Target, finding: Finding) -> Finding:
    """The same finding with fewer and shorter steps, as far as ``SHRINKING`` attempts bring it."""
    left = SHRINKING
    check: Callable[[Target, Steps], Finding | None] = traced if finding.kind == "peak" else judged
    changed = True
    while changed and left > 0:
        changed = False
        for smaller in _smaller(finding.steps):
            left -= 1
            again = check(target, smaller)
            if again is not None and again.kind == finding.kind:
                finding, changed = again, True
                break
            if left <= 0:
                break
    return finding


def _smaller(steps: Steps) -> Iterator[Steps]:
    """Half, a quarter … of the steps left out, then of the bytes of each."""
    for first, last in _pieces(len(steps)):
        if len(steps) > last - first:
            yield steps[:first] + steps[last:]
    for at, step in enumerate(steps):
        for first, last in _pieces(len(step)):
            yield (*steps[:at], step[:first] + step[last:], *steps[at + 1 :])


def _pieces(length: int) -> Iterator[tuple[int, int]]:
    size = length // 2 or length
    while size:
        yield from ((first, min(first + size, length)) for first in range(0, length, size))
        size //= 2
