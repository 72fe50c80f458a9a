"""Streams that are folded once, and of which only what is new is read from then on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from services.firmware.rollouts.course import Course
from services.firmware.rollouts.moments import Moments, moved
from services.firmware.versions import VERSIONS, Versions, stream_of
from shared.context import Context
from shared.events.contracts import Registry
from shared.store.port import NO_STREAM, Appended, EventStore, Expected, Position, Recorded, StreamNotFound

PAGE = 1_000


class Followed:
    """One stream; ``fold`` is called with each event, once. Not safe from several threads."""

    def __init__(
        self, store: EventStore, contracts: Registry, stream: str, fold: Callable[[Any, Recorded], None]
    ) -> None:
        self._store = store
        self._contracts = contracts
        self._stream = stream
        self._fold = fold
        self._version = -1
        self.position: Position | None = None

    @property
    def _expected(self) -> int | Expected:
        return NO_STREAM if self._version < 0 else self._version

    def refresh(self) -> None:
        """Fold what is new. Raises ``Unavailable``."""
        while True:
            try:
                page = self._store.read(self._stream, self._version + 1, PAGE)
            except StreamNotFound:
                return
            for recorded in page:
                self._fold(self._contracts.decode(recorded), recorded)
                self._version, self.position = recorded.version, recorded.position
            if len(page) < PAGE:
                return

    def append(self, events: Sequence[object], context: Context) -> Appended:
        """Append right behind what is folded; ``refresh`` folds it. Raises ``Conflict`` if the stream moved on."""
        new = [self._contracts.encode(event, index, context, stream=self._stream) for index, event in enumerate(events)]
        return self._store.append(self._stream, self._expected, new)


class Decided:
    """What was decided in a product, and when. Not safe from several threads."""

    def __init__(self, store: EventStore, contracts: Registry, product_id: int) -> None:
        self._state = Versions()
        self._moments: dict[str, Moments] = {}
        self._stream = Followed(store, contracts, stream_of(product_id), self._fold)

    def of(self, rollout_id: str) -> tuple[Course | None, Moments]:
        """A roll-out as it is now. Raises ``Unavailable``."""
        self._stream.refresh()
        return self._state.rollouts.get(rollout_id), self._moments.get(rollout_id, Moments())

    def _fold(self, event: Any, recorded: Recorded) -> None:
        self._state = VERSIONS.evolve(self._state, event)
        rollout_id = getattr(event, "rollout_id", None)
        if rollout_id is not None:
            self._moments[rollout_id] = moved(self._moments.get(rollout_id, Moments()), event, recorded)
