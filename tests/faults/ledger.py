"""What the platform has acknowledged, noted by whoever was told so: all of it must be found in the store, once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Promise:
    """An acknowledged event. Without an id any event of that stream will do."""

    stream: str
    event_id: UUID | None


@dataclass
class Ledger:
    """Filled from many threads; looked at while nobody fills it.

    ``asked`` are the commands that were sent at all, acknowledged or not; ``jobs`` the device IDs of import jobs by
    stream; ``telemetry`` and ``reports`` what devices had acknowledged: (device, number) and (device, version).
    """

    promises: list[Promise] = field(default_factory=list)
    asked: set[UUID] = field(default_factory=set)
    jobs: dict[str, Sequence[str]] = field(default_factory=dict)
    uploaded: set[int] = field(default_factory=set)
    telemetry: set[tuple[str, int]] = field(default_factory=set)
    reports: set[tuple[str, int]] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def acknowledged(self) -> int:
        """How many acknowledgements there were, a line of an import being one."""
        in_jobs = sum(map(len, self.jobs.values()))
        return len(self.promises) + in_jobs + len(self.telemetry) + len(self.reports)

    def copy(self) -> Ledger:
        """As it is now, which it stays."""
        with self._lock:
            kept = {entry.name: copy(getattr(self, entry.name)) for entry in fields(self) if entry.init}
        return Ledger(**kept)

    def told(self, of: set[tuple[str, int]], what: tuple[str, int]) -> None:
        """A device was told so; ``of`` is ``telemetry`` or ``reports``."""
        with self._lock:
            of.add(what)

    def promise(self, promises: Collection[Promise]) -> None:
        """A command was acknowledged."""
        with self._lock:
            self.promises += promises

    def answered(self, answer: str) -> None:
        """Count an answer by its words."""
        with self._lock:
            self.answers[answer] += 1

    def surprised(self, text: str) -> None:
        """An answer that nobody should get, whatever is broken."""
        with self._lock:
            self.surprises.append(text)
