"""Stored events for the handlers of one service once more (EVT-3): with the same ids, to their queues and no others.

A handler that repeats its command finds it done (``shared.streams``), so a replay changes nothing unless something was
missing. What it cannot repeat harmlessly is left out (``replay_plan``). It gives way to live events: as long as many
messages wait in a handler's queue it sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from time import monotonic, sleep

from shared.bus.messages import to_wire
from shared.bus.replay_plan import Done, Plan, between
from shared.bus.transport import REPLAYED_HEADER, Transport
from shared.clock import Clock, system_clock
from shared.errors import NotFound, Unavailable
from shared.store.port import EventStore, Only, Position, Recorded
from shared.times import iso

BATCH = 100
"""Events that may be under way, and messages that may wait in a queue before the next of them are sent."""
PATIENCE_S = 60.0
"""How long a handler may get nowhere before the replay gives up."""
LOOK_S = 0.05


class Replay:
    """One replay of the events behind ``after`` up to ``until``, in the calling thread."""

    def __init__(
        self,
        store: EventStore,
        transport: Transport,
        wanted: Plan,
        *,
        is_wanted: Callable[[], bool] = lambda: True,
        clock: Clock = system_clock,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._store = store
        self._transport = transport
        self._plan = wanted
        self._is_wanted = is_wanted
        self._marked = {REPLAYED_HEADER: iso(clock())}
        self._patience_s = patience_s

    def run(self, after: Position | None, until: Position, tell: Callable[[Done], None]) -> Done:
        """Send all of it, as long as it ``is_wanted``; ``tell`` hears of every batch. Raises ``NotFound`` if a handler
        has no queue, and ``Unavailable`` if one gets nowhere."""
        done = Done(sent=dict.fromkeys((target.handler for target in self._plan.targets), 0))
        for events, looked, _ in between(self._store, Only(types=self._plan.types), after, until):
            for start in range(0, len(events), BATCH):
                batch = events[start : start + BATCH]
                self._give_way()
                self._send(batch)
                if not self._is_wanted():
                    return done
                self._add(done, batch)
                tell(done)
            done.position = looked
            tell(done)
        return done

    def _add(self, done: Done, batch: Sequence[Recorded]) -> None:
        done.events += len(batch)
        done.position = batch[-1].position
        for event in batch:
            for target in self._plan.of(event.type):
                done.sent[target.handler] += 1

    def _give_way(self) -> None:
        """Wait until few messages wait in each queue, whoever they are from."""
        for queue in sorted({target.queue for target in self._plan.targets}):
            lowest, deadline = None, monotonic() + self._patience_s
            while self._is_wanted():
                waiting = self._depth(queue, deadline)
                if waiting is not None and waiting <= BATCH:
                    break
                if waiting is not None and (lowest is None or waiting < lowest):
                    lowest, deadline = waiting, monotonic() + self._patience_s
                if monotonic() >= deadline:
                    raise Unavailable(
                        f"{waiting} messages wait in {queue} and nobody takes them: does the service run?"
                    )
                sleep(LOOK_S)

    def _depth(self, queue: str, deadline: float) -> int | None:
        """None while the broker is away, for a while."""
        try:
            return self._transport.depth(queue).result(self._patience_s)
        except NotFound:
            raise NotFound(f"{self._plan.service} has no queue {queue}: it has not run on this bus yet") from None
        except (Unavailable, TimeoutError):
            if monotonic() >= deadline:
                raise
            return None

    def _send(self, batch: Sequence[Recorded]) -> None:
        """Until all of it is safe; what failed is sent again with all that came with it, so that order holds."""
        deadline = monotonic() + self._patience_s
        while self._is_wanted():
            futures = [
                self._transport.send(target.queue, body, {**headers, **self._marked})
                for event in batch
                for body, headers in [to_wire(event)]
                for target in self._plan.of(event.type)
            ]
            problem = self._outcome(futures)
            if problem is None:
                return
            if monotonic() >= deadline or not isinstance(problem, Unavailable):
                raise problem
            sleep(LOOK_S)

    def _outcome(self, futures: Sequence[Future[None]]) -> BaseException | None:
        """What the first that failed raised. Raises ``Unavailable`` when none of them gets on."""
        waiting = set(futures)
        deadline = monotonic() + self._patience_s
        while waiting and self._is_wanted():
            finished, waiting = wait(waiting, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            if finished:
                deadline = monotonic() + self._patience_s
            elif monotonic() >= deadline:
                raise Unavailable(f"{len(waiting)} replayed events are not handled: look for what their handlers log")
        return next((future.exception() for future in futures if future.done() and future.exception()), None)
