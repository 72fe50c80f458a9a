"""What this gateway saw, appended in batches to ``connection-<gateway>.<epoch>-<YYYYMMDDHH>`` (UTC hour).

Nobody else writes these streams, so every append expects the exact version that is known here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

from services.gateway.batch import Attempt, Batcher, BatchLimits, Storing
from services.gateway.seen_ids import SeenIds
from shared.clock import Clock, system_clock
from shared.context import Context
from shared.errors import Conflict
from shared.events.contracts import CONTRACTS, Registry
from shared.store.port import NO_STREAM, EventStore, Expected, New, StreamNotFound

log = logging.getLogger(__name__)

_CONFLICTS = 3
LIMITS = BatchLimits(waiting_items=500_000, waiting_bytes=256 * 1024 * 1024)
"""As many facts as all sessions of a gateway may leave behind when they end at the same moment."""


def size_of(event: New) -> int:
    """What an event counts towards the largest append (``MAX_APPEND_BYTES``)."""
    return len(event.data) + len(event.meta) + 2 * len(event.type)


class Facts:
    """Records facts of one epoch of one gateway; in the loop's thread."""

    def __init__(
        self,
        store: EventStore,
        gateway: str,
        epoch: int,
        *,
        contracts: Registry = CONTRACTS,
        clock: Clock = system_clock,
        limits: BatchLimits | None = None,
    ) -> None:
        self._store = store
        self._prefix = f"connection-{gateway}.{epoch}"
        self._source = f"gateway:{gateway}"
        self._contracts = contracts
        self._clock = clock
        self._ids = SeenIds()
        self._tail = _Tail(store)
        self.batcher: Batcher[New] = Batcher(f"facts-{gateway}.{epoch}", self._begin, limits or LIMITS)

    def start(self) -> None:
        """Begin to append; in a running loop."""
        self.batcher.start()

    async def stop(self) -> None:
        """Append what waits; nothing is recorded any more."""
        await self.batcher.stop()

    def record(self, event: object, *, actor: str, context: Context | None = None) -> Storing:
        """Done when the fact is durable; ``Unavailable`` after 10 s, or at once when too much waits. Facts keep their
        order. ``context``: it is of what somebody asked for, and not only seen. Raises ``Misuse`` for an event that
        breaks its contract."""
        id_ = self._ids.take()
        if context is None:
            new = self._contracts.encode_seen(event, actor, self._source, id_)
        else:
            new = self._contracts.encode(event, 0, replace(context, command_id=id_, source=self._source))
        return self.batcher.put(new, size_of(new))

    def _begin(self, events: Sequence[New]) -> Attempt:
        # The hour is that of the first attempt: a repeat must go to the same stream.
        stream = f"{self._prefix}-{self._clock().astimezone(UTC):%Y%m%d%H}"

        def attempt() -> Sequence[Exception | None]:
            self._tail.append(stream, events)
            return [None] * len(events)

        return attempt


class _Tail:
    """The last version of the stream that is being written; used by one thread at a time."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._stream = ""
        self._expected: int | Expected = NO_STREAM

    def append(self, stream: str, events: Sequence[New]) -> None:
        """Append once, whatever became of an earlier attempt with the same events."""
        if stream != self._stream:
            self._stream, self._expected = stream, NO_STREAM
        for _ in range(_CONFLICTS):
            try:
                self._expected = self._store.append(stream, self._expected, events).version
            except Conflict:
                # An earlier batch was given up although the store had taken it.
                if self._find(stream, events):
                    return
            else:
                return
        raise Conflict(stream, str(self._expected))

    def _find(self, stream: str, events: Sequence[New]) -> bool:
        """Learn the last version anew; whether these events are what it ends with."""
        try:
            recorded = self._store.read(stream, -1, limit=len(events), backwards=True)
        except StreamNotFound:
            recorded = []
        self._expected = recorded[0].version if recorded else NO_STREAM
        log.warning("%s: continued behind version %s", stream, self._expected)
        return [event.id for event in reversed(recorded)] == [event.id for event in events]
