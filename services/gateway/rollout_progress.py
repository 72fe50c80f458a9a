"""Who watches a roll-out is told how it stands, as soon as anything of it moves (FW-6).

Every gateway hears the events of roll-outs from the bus. Those of a roll-out that somebody watches here have it asked
for once, for all its readers, at most every ``PACE_S``; who reads slowly is told the newest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from shared.context import Context
from shared.errors import NotFound, Unavailable
from shared.events import rollouts
from shared.store.port import Position

log = logging.getLogger(__name__)

PACE_S = 0.5
TYPES = tuple(
    event.__name__
    for event in (
        rollouts.RolloutStageBegan,
        rollouts.RolloutStageSized,
        rollouts.RolloutHeld,
        rollouts.RolloutApproved,
        rollouts.RolloutPaused,
        rollouts.RolloutResumed,
        rollouts.RolloutCancelled,
        rollouts.RolloutRolledBack,
        rollouts.RolloutCompleted,
        rollouts.RolloutRegrouped,
        rollouts.RolloutTurnsGiven,
        rollouts.RolloutTurnsEnded,
    )
)
OVER = ("completed", "cancelled", "rolled_back")

Shown = Mapping[str, Any]
"""A roll-out in the shape of the API."""


class Bus(Protocol):
    """What is needed of the bus."""

    async def call(
        self, service: str, method: str, context: Context, *, timeout_s: float = 10.0, **arguments: Any
    ) -> Any: ...

    async def listen(
        self,
        source: str,
        handler: Callable[[dict[str, Any]], None],
        *,
        types: Sequence[str] | None = None,
        wanted: Callable[[], bool],
        hears: Callable[[bool], None],
    ) -> None: ...


@dataclass(slots=True)
class _Topic:
    """A roll-out that somebody watches."""

    product_id: int
    newest: Shown
    readers: set[Watch] = field(default_factory=set)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    after: Position | None = None
    asking: asyncio.Task[None] | None = None


class RolloutProgress:
    """All methods belong to the gateway's loop."""

    def __init__(self, gateway: str, pace_s: float = PACE_S) -> None:
        self._source = f"gateway:{gateway}"
        self._pace_s = pace_s
        self._bus: Bus | None = None
        self._topics: dict[str, _Topic] = {}

    async def listen(self, bus: Bus) -> None:
        """Hear of roll-outs from now on."""
        self._bus = bus
        await bus.listen(
            "firmware", self.heard, types=TYPES, wanted=lambda: bool(self._topics), hears=self._heard_again
        )

    def heard(self, message: Mapping[str, Any]) -> None:
        """An event of a roll-out."""
        topic = self._topics.get(message["data"]["rollout_id"])
        if topic is not None:
            topic.after = Position(max(int(message["position"]), topic.after or 0))
            topic.moved.set()

    def watch(self, product_id: int, rollout_id: str, now: Shown) -> Watch:
        """Iterates over how the roll-out stands, beginning with ``now``, or what is known to be newer."""
        topic = self._topics.get(rollout_id)
        if topic is None:
            topic = self._topics[rollout_id] = _Topic(product_id, now)
            topic.asking = asyncio.ensure_future(self._ask(rollout_id, topic))
            topic.moved.set()  # it may have moved since it was looked at
        watch = Watch(topic.newest, lambda: self._leave(rollout_id, watch))
        topic.readers.add(watch)
        return watch

    def _heard_again(self, hears: bool) -> None:
        if hears:
            for topic in self._topics.values():
                topic.moved.set()

    def _leave(self, rollout_id: str, watch: Watch) -> None:
        topic = self._topics.get(rollout_id)
        if topic is None:
            return
        topic.readers.discard(watch)
        if not topic.readers:
            del self._topics[rollout_id]
            if topic.asking is not None:
                topic.asking.cancel()

    async def _ask(self, rollout_id: str, topic: _Topic) -> None:
        while True:
            await topic.moved.wait()
            topic.moved.clear()
            try:
                topic.newest = await self._look(rollout_id, topic)
            except (Unavailable, NotFound) as error:
                log.debug("roll-out %s cannot be looked at now: %s", rollout_id, error)
                topic.moved.set()
            else:
                for reader in topic.readers:
                    reader.tell(topic.newest)
            await asyncio.sleep(self._pace_s)

    async def _look(self, rollout_id: str, topic: _Topic) -> Shown:
        assert self._bus is not None
        context = Context.new("system:gateway", self._source)
        context = replace(context, after=topic.after)
        found = await self._bus.call(
            "firmware", "get_rollout", context, product_id=topic.product_id, rollout_id=rollout_id
        )
        shown: Shown = found["rollout"]
        return shown


class Watch:
    """Iterates over one roll-out, as it is now first, until it is over."""

    def __init__(self, now: Shown, leave: Callable[[], None]) -> None:
        self._next: Shown | None = now
        self._told: Shown | None = None
        self._moved = asyncio.Event()
        self._leave = leave

    def tell(self, newest: Shown) -> None:
        """How it stands now."""
        self._next = newest
        self._moved.set()

    def __aiter__(self) -> AsyncIterator[Shown]:
        return self

    async def __anext__(self) -> Shown:
        if self._told is not None and self._told["state"] in OVER:
            raise StopAsyncIteration
        while (found := self._next) is None or found == self._told:
            await self._moved.wait()
            self._moved.clear()
        self._told = found
        return found

    def close(self) -> None:
        """Hear nothing more."""
        self._leave()
