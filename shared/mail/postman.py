"""Tells of queued events, one after the other: reads the event, writes the letter, has it delivered.

What is personal is opened at that moment alone, so that nobody is written to who was forgotten meanwhile (EVT-5), and a
server that is down holds nothing up but mail.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from shared.errors import Unavailable
from shared.mail.delivery import Delivery, NotNow, Undeliverable
from shared.mail.letters import Letter, Letters
from shared.mail.pace import Pace
from shared.mail.queue import Entry, MailQueue
from shared.store.port import EventStore, Recorded, StreamNotFound, StreamTombstoned

IDLE_S = 5.0
"""How long it sleeps when nothing is due and nobody wakes it."""
TIDY_S = 600.0
"""How often what is kept too long, or too much, is removed."""
END_S = 5.0
"""So long a message that is in hand may take when we are to end; then it is left for later."""

log = logging.getLogger(__name__)

Untold = Literal["over", "forgotten"]
"""Why nobody is told: there is nothing to tell any more, or nobody."""


@dataclass(frozen=True, slots=True)
class Several:
    """These people are told, each by a letter of their own."""

    persons: tuple[str, ...]


Compose = Callable[[Recorded, str | None], Letter | Several | Untold]
"""Whom an event tells what: ``Several``, and then the letter for each person of those; or the only letter there is."""


class Postman:
    """A part of a service: one thread."""

    name = "postman"

    def __init__(
        self,
        queue: MailQueue,
        store: EventStore,
        letters: Letters,
        delivery: Delivery,
        compose: Compose,
        *,
        pace: Pace | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._store = store
        self._letters = letters
        self._delivery = delivery
        self._compose = compose
        self._pace = pace or Pace(0)
        self._monotonic = monotonic
        self._tidy_s = monotonic()
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._queue.prepare()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, at once or after the message that is in hand."""
        self._ending.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(END_S)
            if self._thread.is_alive():
                self._delivery.abort()
            self._thread.join()
            self._thread = None

    def post(self, recorded: Recorded) -> None:
        """Have this event told of."""
        self._queue.add(recorded)
        self._wake.set()

    def forget(self, person: str) -> None:
        """Remove what is kept of mail that says something of this person."""
        self._delivery.forget(person)

    def _run(self) -> None:
        while not self._ending.is_set():
            self._wake.clear()
            try:
                self._deliver_all()
                self._tidy()
            except Unavailable as error:
                log.warning("mail waits: %s", error)
            except Exception:
                log.exception("mail waits for an error of ours")
            self._wake.wait(IDLE_S)

    def _deliver_all(self) -> None:
        while not self._ending.is_set() and self.deliver_one():
            self._ending.wait(self._pace.pause_s())

    def _tidy(self) -> None:
        if self._monotonic() >= self._tidy_s:
            self._tidy_s = self._monotonic() + TIDY_S
            self._queue.tidy()
            self._delivery.tidy()

    def deliver_one(self) -> bool:
        """Deal with the next event that is due; whether there was one. Raises ``Unavailable`` of the queue."""
        entry = self._queue.take()
        if entry is None:
            return False
        try:
            self._deliver(entry)
        except (NotNow, Unavailable) as reason:
            log.warning("mail for %s waits: %s", entry.type, reason)
            self._queue.later(entry, str(reason))
        except (Undeliverable, ValueError) as reason:
            log.error("mail for %s %s is parked: %s", entry.type, entry.event_id, reason)
            self._queue.done(entry, "parked", str(reason))
        except Exception as error:  # of ours, which a later version may not have; others shall not wait for that
            log.exception("mail for %s %s waits for an error of ours", entry.type, entry.event_id)
            self._queue.later(entry, f"{type(error).__name__}: {error}")
        return True

    def _deliver(self, entry: Entry) -> None:
        try:
            found = self._store.read(entry.stream, entry.version, limit=1)
        except (StreamNotFound, StreamTombstoned):
            found = []
        letter = self._compose(found[0], entry.person) if found else "forgotten"
        if isinstance(letter, Several):
            self._queue.address(entry, letter.persons)
        elif isinstance(letter, Letter):
            self._delivery.send(self._letters.write(letter, found[0], entry.event_id), letter.persons, entry.event_id)
            self._forget_again(letter, found[0], entry.person)
            self._queue.done(entry, "sent")
        else:
            self._queue.done(entry, letter)

    def _forget_again(self, letter: Letter, recorded: Recorded, person: str | None) -> None:
        """Whoever was forgotten while we wrote was looked for before there was anything to find (EVT-5)."""
        now = self._compose(recorded, person)
        if now != "over":
            still = now.persons if isinstance(now, Letter) else ()
            for person in set(letter.persons).difference(still):
                self._delivery.forget(person)
