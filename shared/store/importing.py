"""From a verified archive into a store, which holds nothing of its streams, or exactly how they begin.

So an import that was interrupted is repeated, and goes on where it stopped. Anything else that is there is refused
before a single event is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import Refused
from shared.store.archive.reading import Archive, Contents, Told
from shared.store.carrying import Carrying
from shared.store.port import Position, Recorded, StreamNotFound, StreamTombstoned
from shared.store.walking import walk

BATCH = 4_000
"""Most events that are restored at once."""
BATCH_BYTES = 4 * 1_048_576


@dataclass(slots=True)
class Imported:
    """``events`` were stored, ``held`` were there already, ``forgotten`` were left out: their streams did not show them
    any more."""

    events: int = 0
    held: int = 0
    forgotten: int = 0


@dataclass(slots=True)
class _Held:
    """What the store holds of a stream: its last version, and a hash over its events."""

    version: int
    state: int = 0


class Import:
    """``look`` writes nothing and says whether it fits; ``run`` does it."""

    def __init__(self, archive: Archive, contents: Contents, store: Carrying) -> None:
        self._archive = archive
        self._contents = contents
        self._store = store
        self._held: dict[str, _Held] = {}

    def look(self, told: Told) -> None:
        """Raises ``Refused``: ``partial_archive`` for one of some types only, ``does_not_fit`` with stream and version
        for what is in the way."""
        if self._contents.header.types:
            reason = f"{self._archive.path} holds events of some types only: streams with holes cannot be imported"
            raise Refused("partial_archive", reason)
        head = self._store.head()
        if head is not None:
            self._held = _held(self._store, self._contents)
        self._check_ends()
        if head is not None:
            self._compare(head, told)

    def run(self, told: Told) -> Imported:
        """Store what is missing, durably. Repeated after any interruption, it goes on."""
        done = Imported()
        self._store.begin([*self._contents.forgotten.values()])
        batch: list[Recorded] = []
        size_bytes = 0
        for event in self._archive.events(told):
            if self._contents.is_forgotten(event):
                done.forgotten += 1
            elif self._is_held(event):
                done.held += 1
            else:
                batch.append(event)
                done.events += 1
                size_bytes += len(event.data) + len(event.meta)
            if len(batch) == BATCH or size_bytes > BATCH_BYTES:
                self._store.restore(batch)
                batch, size_bytes = [], 0
        if batch:
            self._store.restore(batch)
        return done

    def _is_held(self, event: Recorded) -> bool:
        held = self._held.get(event.stream)
        return held is not None and event.version <= held.version

    def _check_ends(self) -> None:
        """That no stream goes on behind its end in the archive, or ends before its beginning there."""
        for stream, held in self._held.items():
            last = self._contents.last[stream]
            if held.version > last:
                raise _in_the_way(self._store, stream, last + 1, f"the archive ends with version {last}")
        for stream, first in self._contents.begins.items():
            held_version = self._held[stream].version if stream in self._held else -1
            if stream not in self._contents.forgotten and held_version < first - 1:
                reason = f"the archive goes on from version {first}, and the store is at {held_version}"
                raise Refused("does_not_fit", f"stream {stream}: {reason}; import the archive before it first")
        for here in self._store.forgotten():
            there = self._contents.forgotten.get(here.stream)
            if there is None and here.stream not in self._contents.last:
                continue
            if (
                there is None
                or (here.forever and not there.forever)
                or not (there.forever or here.first <= there.first)
            ):
                reason = f"versions below {here.first} are forgotten here and not in the archive"
                raise Refused("does_not_fit", f"stream {here.stream}: {reason}; import into an empty store")

    def _compare(self, head: Position, told: Told) -> None:
        """Every event that is held with the one in the archive, and positions with the store's last."""
        states: dict[str, int] = {}
        misplaced: Recorded | None = None
        for event in self._archive.events(told):
            if self._contents.is_forgotten(event):
                continue
            if self._is_held(event):
                states[event.stream] = _hash(states.get(event.stream, 0), event, self._store)
                held = self._held[event.stream]
                if event.version == held.version and states[event.stream] != held.state:
                    raise self._difference(event.stream)
            elif misplaced is None and event.position <= head:
                misplaced = event
        if misplaced is not None and self._store.keeps_positions:
            raise Refused("does_not_fit", _not_behind(misplaced, head))

    def _difference(self, stream: str) -> Refused:
        """Where the stream is another than in the archive: looked up again, because it is only said once."""
        for event in self._archive.events(lambda _, __: None):
            if event.stream == stream and not self._contents.is_forgotten(event):
                found = self._store.read(stream, event.version, 1)
                if not found or _hash(0, found[0], self._store) != _hash(0, event, self._store):
                    return _in_the_way(self._store, stream, event.version, f"the archive has {event.type} {event.id}")
        return Refused("does_not_fit", f"stream {stream} is another than in the archive")


def _held(store: Carrying, contents: Contents) -> dict[str, _Held]:
    held: dict[str, _Held] = {}
    for event in walk(store):
        if event.stream in contents.last:
            one = held.setdefault(event.stream, _Held(event.version))
            one.version = event.version
            if event.version >= contents.begins.get(event.stream, 0):
                one.state = _hash(one.state, event, store)
    return held


def _hash(state: int, event: Recorded, store: Carrying) -> int:
    id_, kind, _, version, position, at_us, data, meta = event
    return hash((state, id_, kind, version, position if store.keeps_positions else 0, at_us, data, meta))


def _in_the_way(store: Carrying, stream: str, version: int, archive: str) -> Refused:
    try:
        found = store.read(stream, version, 1)
    except (StreamNotFound, StreamTombstoned):
        found = []
    here = f"the store has {found[0].type} {found[0].id} of {found[0].at}" if found else "the store has nothing there"
    return Refused("does_not_fit", f"stream {stream}, version {version}: {archive}, and {here}")


def _not_behind(event: Recorded, head: Position) -> str:
    what = f"stream {event.stream}, version {event.version} ({event.type}) is at position {event.position}"
    return f"{what}, and the store holds others up to position {head}; import into an empty store"
