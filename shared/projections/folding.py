"""Folding events over the rows that they touch. Pure."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

from shared.errors import Misuse
from shared.projections.view import Counter, Key, Row, Set, View
from shared.store.port import Recorded

After = dict[Key, Row | None]
"""Rows that are other than the stored ones; None for one that is gone."""

_UNTOUCHED: Final[Any] = object()


@dataclass(frozen=True, slots=True)
class Changes:
    """What events make of a view: rows that are other or new, rows that are gone, counters by how much; and of sets
    who came and who went, as scope, item and key."""

    written: dict[Key, Row]
    gone: list[Key]
    counted: dict[Counter, int]
    joined: list[Key] = field(default_factory=list)
    left: list[Key] = field(default_factory=list)

    @property
    def keys(self) -> list[Key]:
        """Whose rows changed."""
        return [*self.written, *self.gone]


def fold(
    view: View,
    events: Iterable[tuple[Any, Recorded, Iterable[Key]]],
    stored: Mapping[Key, Row],
    after: After,
) -> None:
    """Fold events, each with its envelope and the keys of its rows, in their order over ``stored`` and ``after``, and
    note in ``after`` what changed. Raises what the view's functions raise; ``after`` is then of no use."""
    step = view.fold
    for event, recorded, keys in events:
        for key in keys:
            row = after.get(key, _UNTOUCHED)
            if row is _UNTOUCHED:
                row = stored.get(key)
            now = step(row, event, recorded)
            if now is not row:
                after[key] = now


def changes(view: View, stored: Mapping[Key, Row], after: After) -> Changes:
    """All of ``after`` against the rows as ``stored``. Raises what the view's tally raises, and ``Misuse`` for a row
    that does not fit the view."""
    written = {key: row for key, row in after.items() if row is not None and row is not stored.get(key)}
    gone = [key for key, row in after.items() if row is None and key in stored]
    _check(view, written)
    before = [stored[key] for key in (*written, *gone) if key in stored]
    moved = _moved(view, stored, written, gone) if view.sets else ()
    return Changes(written, gone, _count(view, before, written.values()), *moved)


def _moved(
    view: View, stored: Mapping[Key, Row], written: Mapping[Key, Row], gone: Iterable[Key]
) -> tuple[list[Key], list[Key]]:
    """Members of sets that came, and that went."""
    joined: list[Key] = []
    left: list[Key] = []
    for key in (*written, *gone):
        before, after = _sets(view, stored.get(key)), _sets(view, written.get(key))
        if before is not after and before != after:
            joined += [(*one, *key) for one in after - before]
            left += [(*one, *key) for one in before - after]
    return joined, left


_NO_SETS: Final[frozenset[Set]] = frozenset()


def _sets(view: View, row: Row | None) -> frozenset[Set]:
    found = view.sets(row) if view.sets and row is not None else ()
    return frozenset(found) if found else _NO_SETS


def _check(view: View, written: Mapping[Key, Row]) -> None:
    width = len(view.columns)
    key_of = itemgetter(*view.key)
    single = len(view.key) == 1
    for key, row in written.items():
        if len(row) != width or (key[0] if single else key) != key_of(row):
            raise Misuse(f"view {view.name}: the row of {key} has another key, or not exactly the view's columns")


def _count(view: View, before: Iterable[Row], after: Iterable[Row]) -> dict[Counter, int]:
    if not view.counted:
        return {}
    names, values = _values(view)
    alike = Tally(map(values, after))
    alike.subtract(map(values, before))
    counted: Tally[Counter] = Tally()
    for common, rows in alike.items():
        if rows:
            for counter in view.tally(dict(zip(names, common, strict=True))):
                counted[counter] += rows
    return {counter: number for counter, number in counted.items() if number}


def _values(view: View) -> tuple[Sequence[str], Callable[[Row], tuple[Any, ...]]]:
    """The columns that are counted by, and a row's values in them; hashable."""
    lists = [name for name in view.counted if view.columns[name] is list]
    plain = [name for name in view.counted if name not in lists]
    if len(plain) < 2:
        return [*plain, *lists], lambda row: (*(row[name] for name in plain), *(tuple(row[name]) for name in lists))
    get = itemgetter(*plain)
    if not lists:
        return plain, get
    return [*plain, *lists], lambda row: (*get(row), *[tuple(row[name]) for name in lists])
