"""What a store can do beside the everyday port, so that its streams can be carried to another store (EVT-3).

Carried are events as they were recorded, and what the events alone do not tell: which beginnings were forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.store.port import EventStore, Recorded


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A stream of which the versions below ``first`` are forgotten. ``gone``: none is left, so ``first`` is the version
    that its next event gets; ``forever``: there will be none."""

    stream: str
    first: int
    gone: bool = False
    forever: bool = False


class Carrying(EventStore, Protocol):
    """A store that streams can be carried from and to. Nobody else may write to the streams that are carried."""

    @property
    def keeps_positions(self) -> bool:
        """Whether ``restore`` gives events their original positions; else they get new ones, in the same order."""
        ...

    def forgotten(self) -> Iterator[Forgotten]:
        """All streams of which something was forgotten, in order of their names."""
        ...

    def begin(self, streams: Sequence[Forgotten]) -> None:
        """Let streams begin behind what was forgotten of them; before their events are restored. May be repeated.
        Raises ``Refused`` for a stream of which more is forgotten here than there."""
        ...

    def restore(self, events: Sequence[Recorded]) -> None:
        """Store events with their original ids, types, streams, versions, times, data and metadata, durably.
        Raises ``Refused`` for the first that does not fit behind what there is, and stores nothing of it or behind."""
        ...
