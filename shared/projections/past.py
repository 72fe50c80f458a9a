"""The views of one service as they were at past moments (EVT-3).

A copy is folded from the events up to its moment, from the nearest earlier copy or from the first event, and kept until
too many others were used since. The views that are asked together are copied together, so that an answer never mixes
two moments. Whoever asks waits a moment; what takes longer is built on one thread, and told about.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from uuid import uuid4

from shared.clock import Clock, system_clock
from shared.errors import Refused, Unavailable
from shared.events.contracts import Registry
from shared.projections.database import Database
from shared.projections.history import History
from shared.projections.parked import describe
from shared.projections.past_copies import PastCopies, signature
from shared.projections.past_filling import UpTo, fill, first_behind
from shared.projections.past_keeping import Keeping
from shared.projections.past_moments import Copy, Moment, check_past, nearest
from shared.projections.past_places import Places
from shared.projections.view import View
from shared.store.port import EventStore

log = logging.getLogger(__name__)

DEFAULT_COPIES = 8
MIN_COPIES = 2
"""To compare two moments both must be there."""
PATIENCE_S = 2.0
"""How long a query waits for its copy before it tells how far that is."""
MAX_PATIENT = 2
"""Most queries of a process that wait so; further ones are told at once, so that there are workers for the present."""
POLL_S = 0.05
IDLE_S = 5.0
"""How often the thread looks for what other processes want, or left behind."""
TELL_S = 0.5
"""How often progress is written down."""
STOP_S = 30.0
STOPPING = "the platform stops; ask again"

OnProgress = Callable[[int, int], None]
"""Called with ``events_done`` and ``events_total`` of a copy that is being built."""


@dataclass(frozen=True, slots=True)
class Building:
    """A copy that is not ready yet, counted as ``Copy`` says."""

    events_done: int
    events_total: int


class Past:
    """A part that builds and keeps copies; without ``start`` it does so only in ``obtain``, for tools.

    ``database`` has the views of the present; ``blank`` are further ones whose tables are there for queries that join
    them, and empty: what is personal is not copied (EVT-5). ``history`` is what is replayed, if not the store itself.
    Safe from any thread; any number of processes share the copies.
    """

    def __init__(
        self,
        service: str,
        store: EventStore,
        database: Database,
        views: Sequence[View],
        contracts: Registry,
        *,
        blank: Sequence[View] = (),
        history: History | None = None,
        keep: int = DEFAULT_COPIES,
        clock: Clock = system_clock,
    ) -> None:
        if keep < MIN_COPIES:
            raise Refused("bad_setting", f"FLOTILLA_PAST_COPIES must be at least {MIN_COPIES}, not {keep}")
        self.name = f"past {service}"
        self._store = store
        self._history = history or store
        self._views = tuple(views)
        self._contracts = contracts
        self._clock = clock
        self._places = Places(database.url, service, [*views, *blank])
        self._copies = PastCopies(database, signature(views), keep, str(uuid4()))
        self._keeping = Keeping(database, self._copies, self._places)
        self._patient = threading.BoundedSemaphore(MAX_PATIENT)
        self._stopping = threading.Event()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._prepared = False

    # life

    def start(self) -> None:
        """Drop what is of no use any more, and begin to build what is asked for. Raises ``Unavailable``."""
        if self._thread is not None:
            return
        self._stopping.clear()
        self._prepare()
        self._keeping.clear_up_after_others()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, which leaves what it was building, and let go of the copies. Raises ``Unavailable`` if it is
        still busy after ``STOP_S``."""
        self._stopping.set()
        self._wanted.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(STOP_S)
            if thread.is_alive():
                raise Unavailable(f"{self.name} is still busy")
        self._keeping.close()

    def _prepare(self) -> None:
        if not self._prepared:
            self._copies.prepare()
            self._prepared = True

    # questions

    def find(self, moment: Moment, *, patience_s: float = PATIENCE_S, name: str = "as_of") -> Copy | Building:
        """The copy of a moment, or how far it is after ``patience_s``. Raises ``Refused`` (``invalid_request`` for the
        future, with ``name`` as what it was asked as; ``too_many_requests``) and ``Unavailable``."""
        total = self._check(moment, name)
        found = self._look(moment, total)
        if isinstance(found, Copy):
            return found
        self._wanted.set()
        if not self._patient.acquire(blocking=False):
            return found
        try:
            deadline = time.monotonic() + patience_s
            while isinstance(found, Building) and time.monotonic() < deadline and not self._stopping.wait(POLL_S):
                found = self._look(moment, total)
            return found
        finally:
            self._patient.release()

    def obtain(self, moment: Moment, told: OnProgress = lambda done, total: None, *, name: str = "as_of") -> Copy:
        """The copy of a moment, built in the calling thread unless another process does. Raises as ``find``."""
        total = self._check(moment, name)
        while not isinstance(found := self._look(moment, total), Copy):
            told(found.events_done, found.events_total)
            taken = self._copies.take(self._clock(), moment)
            if taken is not None:
                self._build(taken, told)
            if self._stopping.wait(0 if taken else POLL_S):
                raise Unavailable(STOPPING)
        return found

    def open(self, copy: Copy) -> Database:
        """The database of a ready copy, for reading; it stays open as long as the copy is kept."""
        return self._keeping.open(copy)

    def _check(self, moment: Moment, name: str) -> int:
        self._prepare()
        head = self._store.head()
        check_past(moment, self._clock(), head, name)
        self._keeping.clear_up(self._clock())
        return moment.position if moment.position is not None else head or 0

    def _look(self, moment: Moment, total: int) -> Copy | Building:
        now = self._clock()
        found = self._copies.want(moment, total, now)
        if found.state != "ready":
            return Building(found.events_done, found.events_total)
        return found if self._copies.touch(found, now) else Building(0, total)

    # building

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wanted.clear()
            wait_s = IDLE_S
            try:
                while (taken := self._copies.take(self._clock())) is not None:
                    self._build(taken)
                self._keeping.clear_up(self._clock())
                if any(copy.state == "waiting" for copy in self._copies.all()):
                    wait_s = POLL_S  # for its moment to be settled
            except Exception as error:  # noqa: BLE001 - it is tried again; whoever asks hears of it
                log.warning("%s waits: %s", self.name, describe(error))
            self._wanted.wait(wait_s)

    def _build(self, copy: Copy, told: OnProgress = lambda done, total: None) -> None:
        """Build a copy that was taken; an error is noted in its row. Raises ``Unavailable`` when that cannot be."""
        started = time.monotonic()
        try:
            base = nearest(self._copies.all(), copy.wanted)
            if base is None or not self._is_still(base, copy):
                history = self._fill(copy, base, told)
                self._copies.ready(copy, history.last, history.next, self._clock())
        except Exception as error:  # noqa: BLE001 - kept in the row, for whoever asked
            log.warning("%s: as of %s was not built: %s", self.name, copy.wanted, describe(error))
            self._give_up(copy, error)
            return
        log.info("%s: as of %s is ready after %.1f s", self.name, copy.wanted, time.monotonic() - started)
        self._keeping.clear_up(self._clock())

    def _is_still(self, base: Copy, copy: Copy) -> bool:
        """Whether nothing happened between a ready copy and the wanted moment; the ready one then stands for both."""
        behind = first_behind(self._history, self._views, base.last.position) if base.last else None
        if behind is not None and copy.wanted.includes(behind):
            return False
        self._copies.extend(base, copy.wanted, behind)
        self._keeping.drop([copy.number])
        return True

    def _fill(self, copy: Copy, base: Copy | None, told: OnProgress) -> UpTo:
        teller = _Teller(lambda done: self._note(copy.number, done), copy.events_total, told)
        if base is not None and self._copies.hold(base.number, copy.number, self._clock()):
            self._places.clone(base.number, copy.number, teller.alive)
        else:
            base = None
            self._places.create(copy.number)
        history = UpTo(self._history, copy.wanted, base.last if base else None)
        with closing(self._places.open(copy.number)) as database:
            fill(
                database,
                self._views,
                history,
                self._contracts,
                clock=self._clock,
                told=teller.reached,
                stopping=self._stopping,
            )
        teller.reached(copy.events_total)
        teller.write()
        self._places.finish(copy.number)
        return history

    def _note(self, number: int, done: int) -> None:
        if self._stopping.is_set():
            raise Unavailable(STOPPING)
        self._copies.progress(number, done, self._clock())

    def _give_up(self, copy: Copy, error: Exception) -> None:
        if self._stopping.is_set():
            self._keeping.drop([copy.number])
        else:
            self._copies.failed(copy.number, describe(error), self._clock())


class _Teller:
    """Tells of progress at each step, and writes it down now and then."""

    def __init__(self, write: Callable[[int], None], total: int, told: OnProgress) -> None:
        self._write = write
        self._total = total
        self._told = told
        self._done = 0
        self._written_at = time.monotonic()

    def reached(self, position: int) -> None:
        self._done = min(position, self._total)
        self._told(self._done, self._total)
        self.alive()

    def alive(self) -> None:
        if time.monotonic() - self._written_at > TELL_S:
            self.write()

    def write(self) -> None:
        self._written_at = time.monotonic()
        self._write(self._done)
