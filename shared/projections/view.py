"""What a view is: rows by key, folded from events, and counters tallied from the rows. Pure.

The projector loads the rows that a page of events touches, folds the page over them in memory, and writes each
changed row once, with the counters' differences and the position, in one transaction. Because counters are only ever
the difference of two tallies of a row, they always equal what a scan of the rows would count. The same is true of sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.errors import Misuse
from shared.store.port import Recorded

Key = tuple[str | int, ...]
Row = Mapping[str, Any]
"""Column name to value: str, int, float, bool, aware datetime, a list or dict of JSON values, or None. Never changed
in place: ``{**row, "online": True}``."""

Counter = tuple[str, str]
"""(scope, item), for example ``("product-1000/version", "7")``; scopes are looked up whole."""
Set = tuple[str, str]
"""(scope, item) of a set of rows, for example ``("product-1000/group", "beta")``."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index over columns. ``only``: rows in which this column says something (true, not None, not ``''``); what
    few rows have then costs the many nothing. Name it among the columns, too, or SQLite looks at each row again."""

    columns: tuple[str, ...]
    only: str | None = None


def _no_tally(row: Row) -> Iterable[Counter]:
    return ()


@dataclass(frozen=True, slots=True)
class View:
    """One view.

    ``columns`` gives each column's Python type (``str, int, float, bool, datetime, list, dict``), key columns among
    them; ``key`` names those. ``keys`` says which rows an event touches, ``fold`` what one of them is afterwards:
    the same object for "no change", None for "gone". A new ``version`` (any change of meaning) is a rebuild.
    ``tally`` gives the counters that a row adds to, from its columns ``counted`` alone: rows that are alike in those
    are tallied once for all of them, so few different values there make it cheap. A list comes as a tuple.
    ``indexes`` serve queries that name a value of their first column: rows in which that is None are not in them.
    ``parts``: what an event that tells of many rows is made into, and ``keys`` and ``fold`` take in place of it.
    ``sets`` says of which sets a row is a member: what a list in a column is searched by (see ``ViewTables.members``).
    ``by_envelope``: ``keys`` takes the envelope as well, ``keys(event, recorded)``. ``on_poison``: park an event that
    cannot be folded and go on, or stop there.
    """

    name: str
    version: int
    key: tuple[str, ...]
    columns: Mapping[str, type]
    events: tuple[type, ...]
    keys: Callable[..., Iterable[Key]]
    fold: Callable[[Row | None, Any, Recorded], Row | None]
    counted: tuple[str, ...] = ()
    tally: Callable[[Row], Iterable[Counter]] = _no_tally
    indexes: tuple[tuple[str, ...] | Index, ...] = ()
    sets: Callable[[Row], Iterable[Set]] | None = None
    on_poison: Literal["park", "stop"] = "park"
    by_envelope: bool = False
    parts: Callable[[Any], Iterable[Any]] | None = None
    event_types: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        if bool(self.counted) is (self.tally is _no_tally):
            raise Misuse(f"view {self.name}: a tally needs the columns that it counts by")
        object.__setattr__(self, "event_types", frozenset(event.__name__ for event in self.events))

    def divided(self, events: Sequence[Any], recorded: Sequence[Recorded]) -> tuple[Sequence[Any], Sequence[Recorded]]:
        """What is folded for these events, each with its envelope."""
        if self.parts is None:
            return events, recorded
        pairs = [
            (part, envelope) for event, envelope in zip(events, recorded, strict=True) for part in self.parts(event)
        ]
        return [part for part, _ in pairs], [envelope for _, envelope in pairs]

    def touched(self, events: Sequence[Any], recorded: Sequence[Recorded]) -> Iterator[tuple[Key, ...]]:
        """The keys of the rows that each of these events, or parts, touches."""
        return map(tuple, map(self.keys, events, recorded) if self.by_envelope else map(self.keys, events))
