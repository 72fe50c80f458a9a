"""One view, stepped page by page: rows, counters and position move in one transaction, or none of them does.

The position moves by compare-and-set, so of several processes that run the same view each page is applied by one. Who
loses stands by: it follows the position of the other and takes over when that has not moved for ``TAKE_OVER_S``.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from shared.errors import Unavailable
from shared.projections.content import Content, Draft
from shared.projections.faults import LostRace, PoisonError, is_poison
from shared.projections.garbage import no_search
from shared.projections.parked import describe
from shared.projections.positions import Checkpoint, advance_statement, repair, stored
from shared.projections.tables import ViewTables
from shared.projections.tools import Tools
from shared.projections.view import Key
from shared.store.port import Only, Page, Position, Recorded
from shared.turns import turn

log = logging.getLogger(__name__)

TAKE_OVER_S = 1.0
"""A stand-by takes over when the other has not moved for so long although there is something to do."""
STANDBY_POLL_S = 0.05
SAVE_S = 5.0
"""A position that moved without any matching event is saved this often; after a crash it is looked for again."""
BACK_OFF_S = (0.1, 5.0)


@dataclass(frozen=True, slots=True)
class Stretch:
    """How many pages at most are folded before their rows are written, far from the end, and about for how long: what
    many events change is then written once."""

    most_pages: int
    most_s: float


LIVE = Stretch(8, 0.2)
BULK = Stretch(64, 5.0)
"""For tables that nobody waits for."""

OnChanged = Callable[[Sequence[Key]], None]


class ViewRunner:
    """Steps the tables of one view. ``lock`` is held while it steps; what it says about itself may be read without.

    ``looked`` is how far it has looked, ``position`` what of it is saved, ``oldest_at`` the time of an event that is
    not later than the first that it has not applied, ``error`` what keeps it from going on.
    """

    def __init__(
        self,
        tools: Tools,
        tables: ViewTables,
        changed: OnChanged,
        moved: Callable[[], None],
        *,
        stretch: Stretch = LIVE,
    ) -> None:
        self.tools = tools
        self._stretch = stretch
        self.tables = tables
        self.view = tables.view
        self.lock = threading.RLock()
        self.looked: Position | None = None
        self.position: Position | None = None
        self.epoch = 0
        self.at_end = False
        self.oldest_at: datetime | None = None
        self.error: str | None = None
        self.due_at = 0.0
        self.stored_version = self.view.version
        self._content = Content(tools.database, tables, tools.contracts)
        self._advance = advance_statement(tools.database.dialect)
        self._pages = 1
        self._only = Only(types=self.view.event_types)
        self._forgetting = tools.contracts.forgetting_types & self.view.event_types
        self._forgot = False
        self._changed = changed
        self._moved = moved
        self._failures = 0
        self._saved_at = time.monotonic()
        self._standing_by = False
        self._take_over_at = 0.0

    # what is stored

    def stored(self, connection: sa.Connection, *, hold: bool = False) -> Checkpoint | None:
        """The stored checkpoint of these tables."""
        return stored(connection, self.tables.checkpoint, hold=hold)

    def load(self) -> bool:
        """Take over what is stored; whether that was something else. Raises ``Unavailable`` if nothing is."""
        with self.tools.database.connect() as connection:
            found = self.stored(connection)
        if found is None:
            raise Unavailable(f"view {self.tables.name} is not prepared")
        before = (self.position, self.epoch)
        self._content.known.forget(empty=found.position is None)
        self.position, self.epoch, self.stored_version = found.position, found.epoch, found.version
        if found.version != self.view.version:
            self.looked = None
        elif self.looked is None or (found.position is not None and found.position > self.looked):
            self.looked = found.position
        return (self.position, self.epoch) != before

    def reload(self) -> bool:
        """``load``, and tell it if somebody else had moved it."""
        moved = self.load()
        if moved:
            self._changed(())
            self._moved()
        return moved

    def advance(self, connection: sa.Connection, new: Position | None) -> None:
        """Move the stored position in this transaction. Raises ``LostRace`` if it is not where this runner left it."""
        moved = connection.exec_driver_sql(self._advance, (new, self.tables.checkpoint, self.epoch, self.position))
        if moved.rowcount != 1:
            raise LostRace(self.tables.name)

    def save(self) -> None:
        """Store how far it has looked. Raises ``LostRace``."""
        if self.looked != self.position:
            with self.tools.database.writing() as connection:
                self.advance(connection, self.looked)
            self.position = self.looked
        self._saved_at = time.monotonic()

    def settle(self) -> None:
        """``save``, unless somebody else runs the view."""
        with self.lock:
            try:
                if not self._standing_by:
                    self.save()
            except LostRace:
                self._standing_by = True

    def fold_parked(self, parked_id: int, recorded: Recorded) -> bool:
        """Fold one parked event on the rows as they are, and unpark it; False if somebody else just did. Raises what
        kept it from being folded."""
        with self.lock:
            self._check_version()
            self._content.known.forget()  # another process may run the view
            draft = self._content.draft()
            with self.tools.database.writing() as connection:
                found = self.stored(connection, hold=True)
                if not self.tools.parked.remove(connection, parked_id):
                    return False
                draft.fold([recorded], connection)
                draft.write(connection)
                repair(connection, self.tables.checkpoint)
            if found is not None and (found.position, found.epoch) == (self.position, self.epoch):
                self.epoch += 1
            self._changed(draft.commit())
            self._content.known.forget()
        return True

    # stepping

    def attempt(self) -> bool:
        """One step, if it is due; whether there may be more to do at once. Never raises: an error is kept in
        ``error``, logged once, and the next attempt is put off by a growing time."""
        if time.monotonic() < self.due_at:
            return False
        try:
            more = self.step()
        except Exception as error:  # noqa: BLE001 - it is shown and tried again; the other views go on
            self.failed(error)
            return False
        if self.error is not None:
            log.info("view %s goes on", self.tables.name)
        self.error, self._failures = None, 0
        return more

    def failed(self, error: Exception) -> None:
        """Note an error and put the next attempt off."""
        text = describe(error)
        if self.error is None:
            log.warning("view %s waits: %s", self.tables.name, text)
        self.error, self.at_end = text, False
        least, most = BACK_OFF_S
        delay_s = min(most, least * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self.due_at = time.monotonic() + delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads retries

    def step(self, *, patient: bool = True) -> bool:
        """Read and apply one page; whether there may be more to do at once. Not ``patient``: takes over at once from
        whoever else runs it. Raises ``Unavailable``, ``PoisonError`` and errors of the database."""
        with self.lock:
            self._check_version()
            if self._standing_by and self.reload():
                self._take_over_at = time.monotonic() + TAKE_OVER_S
            try:
                if self._forgot:  # what was told of somebody is overwritten by now (EVT-5)
                    self._forgot = not self.tools.database.scrub()
                return self._page(patient)
            except LostRace:
                return self._lost()
            except BaseException:
                self._content.known.forget()
                raise

    def _lost(self) -> bool:
        """Stand by for whoever moved the position; go on if it is where it was, and only the rows were changed."""
        position = self.position
        self.reload()
        if self.position != position:
            self._standing_by = True
            self._take_over_at = time.monotonic() + TAKE_OVER_S
        return True

    def _check_version(self) -> None:
        if self.stored_version != self.view.version:
            self.reload()
        if self.stored_version != self.view.version:
            raise Unavailable(f"stored is version {self.stored_version}, this process has {self.view.version}")

    def _page(self, patient: bool) -> bool:
        page = self._read(self.looked)
        if not page.events:
            self._look(page.looked)
        elif patient and self._standing_by and time.monotonic() < self._take_over_at:
            self.at_end, self.due_at = False, time.monotonic() + STANDBY_POLL_S
            return False
        else:
            self._standing_by = False
            self.oldest_at = page.events[0].at
            page = self._process(page)
        self.at_end = page.end
        self.oldest_at = page.events[-1].at if page.events and not page.end else None
        return not page.end

    def _read(self, after: Position | None) -> Page:
        return self.tools.store.read_all(after, self.tools.page_events, self._only)

    def _look(self, looked: Position | None) -> None:
        if looked == self.looked:
            return
        self.looked = looked
        if not self._standing_by and time.monotonic() - self._saved_at > SAVE_S:
            self.save()
        self._moved()

    def _process(self, page: Page) -> Page:
        """Apply a page and, far from the end, some more of them; the last one. If an event is poison, halve its page
        until that event is alone."""
        pages, self._pages = self._pages, 1
        try:
            with turn(len(page.events)):
                page = self._apply(page, pages)
        except Exception as error:
            if not is_poison(error):
                raise
            if pages == 1:
                self._halve(page.events, page.looked, error)
                return page
            return Page([], self.looked, end=False)  # once more, page by page
        self._pages = 1 if page.end else min(2 * pages, self._stretch.most_pages)
        return page

    def _halve(self, events: Sequence[Recorded], looked: Position | None, error: Exception) -> None:
        if len(events) == 1:
            self._poison(events[0], looked, error)
            return
        middle = len(events) // 2
        for half, end in ((events[:middle], events[middle - 1].position), (events[middle:], looked)):
            try:
                self._apply(Page(list(half), end, end=False), 1)
            except Exception as reason:
                if not is_poison(reason):
                    raise
                self._halve(half, end, reason)

    def _apply(self, page: Page, pages: int) -> Page:
        """Apply this page and what follows, up to ``pages`` in all, in one transaction; the last one."""
        draft, until = self._content.draft(), time.monotonic() + self._stretch.most_s
        with no_search():
            self._fold(draft, page)
            while not page.end and (pages := pages - 1) and time.monotonic() < until:
                page = self._read(page.looked)
                self._fold(draft, page)
            with self.tools.database.writing() as connection:
                self.advance(connection, page.looked)
                draft.write(connection)
        changed = draft.commit()
        self._reached(page.looked)
        if changed:
            self._changed(changed)
        return page

    def _fold(self, draft: Draft, page: Page) -> None:
        draft.fold(page.events)
        if self._forgetting:
            self._forgot = self._forgot or any(event.type in self._forgetting for event in page.events)

    def _poison(self, recorded: Recorded, looked: Position | None, error: Exception) -> None:
        if self.view.on_poison == "stop":
            raise PoisonError(self.tables.name, recorded, error) from error
        with self.tools.database.writing() as connection:
            self.advance(connection, looked)
            self.tools.parked.add(connection, self.tables.name, recorded, error)
        self._reached(looked)
        log.warning(
            "view %s parked %s %s/%s: %s",
            self.tables.name,
            recorded.type,
            recorded.stream,
            recorded.version,
            describe(error),
        )

    def _reached(self, looked: Position | None) -> None:
        self.position = self.looked = looked
        self._saved_at = time.monotonic()
        self._moved()
