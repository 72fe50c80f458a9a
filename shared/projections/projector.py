"""Keeps the views of one service up to date with the event store, on one thread.

Longer than other modules because it is the one door to all that can be done with a service's views; each of those is
a module of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from shared.clock import Clock, system_clock
from shared.errors import Misuse, NotFound, Unavailable
from shared.events.contracts import Registry
from shared.projections.database import Database
from shared.projections.faults import PoisonError
from shared.projections.history import History
from shared.projections.parked import Parked, ParkedEvents, describe
from shared.projections.rebuild import Rebuilt, rebuild
from shared.projections.refold import Refolded, refold
from shared.projections.replay import Progress
from shared.projections.runner import ViewRunner
from shared.projections.status import ViewStatus
from shared.projections.tools import Tools
from shared.projections.verify import Verified, verify
from shared.projections.view import Key, View
from shared.store.port import EventStore, Position, Recorded, StreamNotFound, StreamTombstoned

log = logging.getLogger(__name__)

IDLE_S = 0.25
"""Longest wait in the store: how long ``stop`` may take."""
STOP_S = 30.0
AFTER_BUG_S = 5.0

OnApplied = Callable[[View, Sequence[Key]], None]


class Projector:
    """A part that projects a service's views.

    ``on_applied`` is called after each commit with the keys whose rows changed, from the thread that applied them;
    no keys means that any row may have changed (a rebuild was swapped in, or another process moved the view).
    ``history`` is what rebuilds and other replays read, if that is not the store itself.
    """

    def __init__(
        self,
        service: str,
        store: EventStore,
        database: Database,
        views: Sequence[View],
        contracts: Registry,
        *,
        page_events: int = 1_000,
        clock: Clock = system_clock,
        on_applied: OnApplied | None = None,
        history: History | None = None,
    ) -> None:
        if len({view.name for view in views}) != len(views):
            raise Misuse(f"{service}: two views have the same name")
        self.name = f"projector {service}"
        self._views = list(views)
        self._store = store
        self._database = database
        self._clock = clock
        self._on_applied = on_applied
        self._stopping = threading.Event()
        self._moved = threading.Condition()
        self._thread: threading.Thread | None = None
        self._opened = False
        self._opening = threading.Lock()
        self._parked = ParkedEvents(database, clock)
        self._parked_counts: dict[str, int] = {}
        self._tools = Tools(store, database, contracts, self._parked, page_events, self._stopping, history)
        self._runners = {view.name: self._runner(view) for view in views}
        self._outdated: set[str] = set()

    def _runner(self, view: View) -> ViewRunner:
        return ViewRunner(
            self._tools, self._database.tables(view), lambda keys: self._applied(view, keys), self._wake_waiters
        )

    # life

    def start(self) -> None:
        """Create what is missing, rebuild the views whose version changed, and begin to follow the store.

        Raises ``Unavailable``. It does not wait for the views to reach the end; ``wait_for`` does.
        """
        if self._thread is not None:
            return
        self._stopping.clear()
        self._open()
        for name in sorted(self._outdated):
            try:
                self._rebuild_outdated(self._runners[name])
            except PoisonError as error:  # shown in the status and tried again; the other views go on
                self._runners[name].failed(error)
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Read how far the views are without following the store, for ``status`` of tools. Raises ``Unavailable``."""
        self._open()

    def stop(self) -> None:
        """End the thread and save how far the views have looked. Raises ``Unavailable`` if it is still busy after
        ``STOP_S``."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.join(STOP_S)
        if thread.is_alive():
            raise Unavailable(f"{self.name} is still busy")
        self._save()

    def catch_up(self) -> None:
        """Step all views to the end in the calling thread. Raises the first error that kept one from getting there,
        after the others have."""
        self._open()
        errors: list[Exception] = []
        for runner in self._runners.values():
            try:
                if runner.view.name in self._outdated:
                    self._rebuild_outdated(runner)
                while runner.step(patient=False):
                    pass
                runner.settle()
            except Exception as error:  # noqa: BLE001 - raised below, when the other views are done
                errors.append(error)
        if errors:
            raise errors[0]

    def _open(self) -> None:
        with self._opening:
            if self._opened:
                return
            self._database.prepare(self._views)
            for runner in self._runners.values():
                runner.load()
                if runner.stored_version != runner.view.version:
                    self._outdated.add(runner.view.name)
            self._opened = True

    def _save(self) -> None:
        for runner in self._runners.values():
            if runner.error is None:
                try:
                    runner.settle()
                except Unavailable as error:
                    log.info("view %s looks at its last events again after a restart: %s", runner.view.name, error)

    # following the store

    def _run(self) -> None:
        while not self._stopping.is_set():
            more = [self._attempt(runner) for runner in self._runners.values()]
            if not any(more):
                self._idle()

    def _attempt(self, runner: ViewRunner) -> bool:
        if runner.view.name not in self._outdated:
            return runner.attempt()
        if time.monotonic() >= runner.due_at:
            try:
                self._rebuild_outdated(runner)
            except Exception as error:  # noqa: BLE001 - shown in the status and tried again; the other views go on
                runner.failed(error)
        return False

    def _rebuild_outdated(self, runner: ViewRunner) -> None:
        log.info("view %s: version %s becomes %s", runner.view.name, runner.stored_version, runner.view.version)
        rebuild(runner, afresh=False)
        self._outdated.discard(runner.view.name)

    def _idle(self) -> None:
        """Wait for an event behind what all views at the end have looked at, or for the next attempt of the others."""
        now = time.monotonic()
        at_end = [runner for runner in self._runners.values() if runner.at_end and runner.error is None]
        others = [runner.due_at - now for runner in self._runners.values() if runner not in at_end]
        timeout_s = min([IDLE_S, *others])
        if timeout_s <= 0:
            return
        if not at_end:
            self._stopping.wait(timeout_s)
            return
        looked = [runner.looked for runner in at_end]
        after = None if None in looked else min(position for position in looked if position is not None)
        try:
            self._store.wait(after, timeout_s)
        except Unavailable:  # the views' own steps report it
            self._stopping.wait(timeout_s)
        except Exception:
            log.exception("%s: waiting for events failed", self.name)
            self._stopping.wait(AFTER_BUG_S)

    def _applied(self, view: View, keys: Sequence[Key]) -> None:
        if self._on_applied is None:
            return
        try:
            self._on_applied(view, keys)
        except Exception:
            log.exception("view %s: on_applied failed; its rows are written", view.name)

    def _wake_waiters(self) -> None:
        with self._moved:
            self._moved.notify_all()

    # questions

    def wait_for(self, position: Position | None, timeout_s: float) -> bool:
        """Block until all views have looked at least up to ``position`` or the time is over; whether they have."""
        if position is None:
            return True

        def reached() -> bool:
            return all(runner.looked is not None and runner.looked >= position for runner in self._runners.values())

        if reached():
            return True
        with self._moved:
            return self._moved.wait_for(reached, timeout_s)

    def status(self) -> list[ViewStatus]:
        """How far each view is, in the order of the views; never raises ``Unavailable``."""
        head, known = self._head()
        parked = self._count_parked()
        now = self._clock()
        return [self._status_of(runner, head, known, parked, now) for runner in self._runners.values()]

    def _head(self) -> tuple[Position | None, bool]:
        try:
            return self._store.head(), True
        except Unavailable:  # told by ``head`` being None
            return None, False

    def _count_parked(self) -> dict[str, int]:
        if not self._opened:
            return {}
        try:
            self._parked_counts = self._parked.count()
        except Unavailable:  # the numbers of the last time; the views' own errors tell why
            return self._parked_counts
        return self._parked_counts

    def _status_of(
        self, runner: ViewRunner, head: Position | None, known: bool, parked: dict[str, int], now: datetime
    ) -> ViewStatus:
        looked, oldest_at = runner.looked, runner.oldest_at
        lag_events = max(0, (head or 0) - (looked or 0)) if known else None
        lag_s = None if oldest_at is None else max(0.0, (now - oldest_at).total_seconds())
        return ViewStatus(
            name=runner.view.name,
            version=runner.view.version,
            position=looked,
            head=head,
            lag_events=lag_events,
            lag_s=0.0 if lag_events == 0 else lag_s,
            parked=parked.get(runner.view.name, 0),
            error=runner.error,
        )

    # repairs

    def rebuild(self, view_name: str, progress: Progress | None = None, *, comparing: bool = False) -> Rebuilt:
        """Build a view anew from the first event, in the calling thread, and swap it in; until then the old one is
        served and followed. ``comparing``: compare the two before. Raises ``NotFound``, ``Unavailable`` and
        ``PoisonError``."""
        runner = self._find(view_name)
        self._open()
        rebuilt = rebuild(runner, afresh=True, comparing=comparing, progress=progress)
        self._outdated.discard(view_name)
        return rebuilt

    def verify(self, view_name: str, progress: Progress | None = None) -> Verified:
        """Fold a view once more beside the live one, in the calling thread, and compare the two at one position; the
        live one is not touched. Raises ``NotFound``, ``Refused("scratch_in_use")``, ``Unavailable`` and
        ``PoisonError``."""
        runner = self._find(view_name)
        self._open()
        return verify(self._tools, runner.tables, progress)

    def refold(
        self,
        view_name: str,
        after: Position | None = None,
        until: Position | None = None,
        progress: Progress | None = None,
    ) -> Refolded:
        """Fold the rows that the events behind ``after`` and up to ``until`` touch once more from their whole history,
        in the calling thread, and put right those that are other than that; no event is applied twice. ``None``: from
        the first event, to the last. Raises ``NotFound``, ``Refused`` (``too_many_rows``, ``scratch_in_use``),
        ``Unavailable`` and ``PoisonError``; then nothing has changed."""
        runner = self._find(view_name)
        self._open()
        return refold(runner, after, until, self._recorded, progress)

    def parked(self, view_name: str | None = None) -> list[Parked]:
        """Events that a view (or any) went on without, the oldest 1 000 first."""
        self._open()
        return self._parked.listed(set(self._runners) if view_name is None else {self._find(view_name).view.name})

    def retry(self, parked_id: int) -> bool:
        """Fold a parked event on the rows as they are now; whether it is unparked. Otherwise its error is the new
        one. Raises ``NotFound`` and ``Unavailable``."""
        self._open()
        found = self._parked.find(parked_id)
        if found is None or found.view not in self._runners:
            raise NotFound(f"no event is parked under {parked_id}")
        try:
            recorded = self._recorded(found)
            return self._runners[found.view].fold_parked(found.id, recorded)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - kept with the event, which stays parked
            self._parked.failed_again(parked_id, error)
            log.warning("view %s: parked event %s failed again: %s", found.view, parked_id, describe(error))
            return False

    def _recorded(self, parked: Parked) -> Recorded:
        try:
            events = self._store.read(parked.stream, parked.version, 1)
        except (StreamNotFound, StreamTombstoned):
            events = []
        if not events or str(events[0].id) != parked.event_id:
            raise NotFound("the event is no longer in the store")
        return events[0]

    def _find(self, view_name: str) -> ViewRunner:
        if view_name not in self._runners:
            raise NotFound(f"{self.name} has no view {view_name}")
        return self._runners[view_name]
