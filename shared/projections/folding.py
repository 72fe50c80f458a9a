"""Folding a page of events over the rows that it touches. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from shared.errors import Misuse
from shared.projections.view import Counter, Key, Row, View
from shared.store.port import Recorded

Touch = tuple[Any, Recorded, tuple[Key, ...]]
"""An event, its envelope, and the keys of the rows that it touches."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a page makes of a view: rows that are other or new, rows that are gone, counters by how much."""

    written: dict[Key, Row]
    gone: list[Key]
    counted: dict[Counter, int]

    @property
    def keys(self) -> list[Key]:
        """Whose rows changed."""
        return [*self.written, *self.gone]


def fold(view: View, touches: Sequence[Touch], before: Mapping[Key, Row]) -> Changes:
    """Fold events in their order; ``before`` are the rows that exist. Raises what the view's functions raise, and
    ``Misuse`` for a row that does not fit the view."""
    step = view.fold
    after: dict[Key, Row | None] = dict(before)
    for event, recorded, keys in touches:
        for key in keys:
            after[key] = step(after.get(key), event, recorded)
    written: dict[Key, Row] = {}
    gone: list[Key] = []
    for key, row in after.items():
        old = before.get(key)
        if row is old:
            continue
        if row is None:
            gone.append(key)
        else:
            written[key] = row
    _check(view, written)
    return Changes(written, gone, _count(view, before, written, gone))


def _check(view: View, written: Mapping[Key, Row]) -> None:
    width = len(view.columns)
    key_of = itemgetter(*view.key)
    single = len(view.key) == 1
    for key, row in written.items():
        if len(row) != width or (key[0] if single else key) != key_of(row):
            raise Misuse(f"view {view.name}: the row of {key} has another key, or not exactly the view's columns")


def _count(
    view: View, before: Mapping[Key, Row], written: Mapping[Key, Row], gone: Sequence[Key]
) -> dict[Counter, int]:
    tally = view.tally
    counted: dict[Counter, int] = {}
    for row in written.values():
        for counter in tally(row):
            counted[counter] = counted.get(counter, 0) + 1
    for key in (*written, *gone):
        old = before.get(key)
        if old is not None:
            for counter in tally(old):
                counted[counter] = counted.get(counter, 0) - 1
    return {counter: number for counter, number in counted.items() if number}
