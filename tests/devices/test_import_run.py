from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from services.devices.bootstrap import VIEWS
from services.devices.import_process import Order, run_apart
from services.devices.import_run import ImportRun
from services.devices.imports import IMPORT, CancelImport, StartImport, stream_of
from shared.blobs import Blobs, open_blobs
from shared.context import Context
from shared.errors import Unavailable, Unknown
from shared.events.contracts import CONTRACTS
from shared.events.devices import (
    DeviceForced,
    DeviceImported,
    DeviceKeySet,
    ImportAdvanced,
    ImportCancelled,
    ImportFinished,
    ImportStarted,
)
from shared.projections.database import Database
from shared.store.open import open_store
from shared.store.port import Append, Appended, EventStore
from shared.streams import Streams

P = 2000
KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjlM7b6C/e0YluzBmfAH7YH75+LioD+9bMAYocDGHsqNz6x294DMYNm0Gn4Om"
    "9ZAAU8c2M8sEGyHFXhqGwfQAtA=="
)
CHUNK, WINDOW = 3, 7
OTHER_PLATFORM = "e" * 24
NAMES = [f"{number * 7_919 % 101:024x}" for number in range(17)]
"""In no order."""
LINES = [f"{name},{KEY}" if index in (0, 8, 16) else name for index, name in enumerate(NAMES)]
LINES.insert(5, "bad")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/events.db?durability=normal"


@pytest.fixture
def store(url: str) -> Iterator[EventStore]:
    with closing(open_store(url)) as opened:
        yield opened


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return open_blobs(f"file://{tmp_path}/blobs")


def begin(store: EventStore, blobs: Blobs, lines: list[str], number: int = 1, *, forced: bool = False) -> str:
    import_id = f"{number:024x}"
    blob = blobs.put(["\n".join(lines).encode()])
    start = StartImport(import_id, P, blob.sha256, blob.size_bytes, len(lines), forced)
    Streams(store, CONTRACTS).handle(IMPORT, stream_of(import_id), start, Context.new("account:tester", "tests"))
    return import_id


def run(store: Any, blobs: Blobs, **options: Any) -> ImportRun:
    return ImportRun(store, CONTRACTS, blobs, of_another, chunk_lines=CHUNK, window_lines=WINDOW, **options)


def of_another(product_id: int, device_ids: Collection[str]) -> frozenset[str]:
    """Devices of this one ID are of another platform than any product."""
    return frozenset({OTHER_PLATFORM}).intersection(device_ids)


def told(store: EventStore, stream: str) -> list[Any]:
    return [CONTRACTS.decode(event) for event in store.read(stream)]


def must_be_whole(store: EventStore, import_id: str) -> None:
    """Every line was dealt with once, whatever happened on the way."""
    events = told(store, stream_of(import_id))
    assert [type(event) for event in events] == [ImportStarted, *[ImportAdvanced] * 8, ImportFinished]
    assert events[-1] == ImportFinished(import_id, P, 18, 17, 0, 1, 3)
    assert [event.lines_done for event in events[1:-1]] == [3, 6, 7, 10, 13, 14, 17, 18]
    assert [event.ahead for event in events[1:-1]] == [3, 6, 0, 3, 6, 0, 3, 0]
    assert [(one.line, one.code) for event in events[1:-1] for one in event.problems] == [(6, "malformed")]
    for index, name in enumerate(NAMES):
        key = [DeviceKeySet(name, P, "ecc", KEY, False)] if index in (0, 8, 16) else []
        assert told(store, f"device-{name}") == [DeviceImported(name, P, False), *key]


class Hindered:
    """A store that does something else at the n-th write, before or behind it."""

    def __init__(self, store: EventStore, write: int, hinder: Callable[[], None], *, behind: bool) -> None:
        self._store = store
        self._left = write
        self._hinder = hinder
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def append(self, *args: Any) -> Appended:
        return self._hindered(lambda: self._store.append(*args))

    def append_many(self, appends: list[Append]) -> list[Appended | Exception]:
        outcomes: list[Appended | Exception] = self._hindered(lambda: self._store.append_many(appends))
        return outcomes

    def _hindered(self, write: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._behind:
            self._hinder()
        written = write()
        if self._left == 0 and self._behind:
            self._hinder()
        return written


def raising(error: BaseException) -> Callable[[], None]:
    def hinder() -> None:
        raise error

    return hinder


@pytest.mark.parametrize("behind", [False, True])
def test_an_import_that_is_cut_anywhere_goes_on_without_doubles(  # DEV-1
    tmp_path: Path, blobs: Blobs, behind: bool
) -> None:
    """By the end of its process, or a store that does not answer, or leaves open what happened. Eight chunks and the
    end are 17 writes, and those that read what exists (``likely_new``) write once more."""
    cuts = (KeyboardInterrupt(), Unavailable("away"), Unknown("perhaps"))
    for write in range(1, 18):
        cut = cuts[write % 3]
        with closing(open_store(f"sqlite:///{tmp_path}/{write}.db?durability=normal")) as store:
            import_id = begin(store, blobs, LINES)
            with suppress(KeyboardInterrupt, Unavailable, Unknown):  # an unknown outcome is repeated at once
                run(Hindered(store, write, raising(cut), behind=behind), blobs).carry_out(import_id)
            run(store, blobs).carry_out(import_id)
            run(store, blobs).carry_out(import_id)
            must_be_whole(store, import_id)


def test_two_workers_at_one_import_make_no_doubles(store: EventStore, blobs: Blobs) -> None:
    """The other one begins, and gets to the end, in the middle of this one's chunk."""
    import_id = begin(store, blobs, LINES)
    other = run(store, blobs)
    run(Hindered(store, 4, lambda: other.carry_out(import_id), behind=False), blobs).carry_out(import_id)
    must_be_whole(store, import_id)


def test_a_cancelled_import_ends_behind_the_chunk_in_hand_and_says_what_it_did(store: EventStore, blobs: Blobs) -> None:
    import_id = begin(store, blobs, LINES)

    def cancel() -> None:
        context = Context.new("account:tester", "tests")
        Streams(store, CONTRACTS).handle(IMPORT, stream_of(import_id), CancelImport(P), context)

    run(Hindered(store, 3, cancel, behind=True), blobs).carry_out(import_id)  # the second chunk's devices are written
    events = told(store, stream_of(import_id))
    expected = [ImportStarted, ImportAdvanced, ImportCancelled, ImportAdvanced, ImportFinished]
    assert [type(event) for event in events] == expected
    members = [event for event in store.read_all().events if event.type == "DeviceImported"]
    assert events[-1] == ImportFinished(import_id, P, 6, len(members), 0, 1, events[-1].keys_set)


def test_an_import_that_was_stopped_goes_on_at_its_line(store: EventStore, blobs: Blobs) -> None:
    import_id = begin(store, blobs, LINES)
    for chunks in range(9):
        asked = iter([False] * (2 + chunks % 2))
        run(store, blobs, is_over=lambda asked=asked: next(asked, True)).carry_out(import_id)
    run(store, blobs).carry_out(import_id)
    must_be_whole(store, import_id)


def test_an_import_begun_in_the_order_of_its_file_goes_on_where_it_was(store: EventStore, blobs: Blobs) -> None:
    """As releases did that knew no windows: everything up to the offset was dealt with."""
    import_id = begin(store, blobs, LINES)
    run(store, blobs).carry_out(begin(store, blobs, LINES[:4], 2))
    done = ImportAdvanced(import_id, P, sum(len(line) + 1 for line in LINES[:4]), 4, 4, 0, 0, [], 1)
    new = CONTRACTS.encode(done, 0, Context.new("account:tester", "tests"))
    store.append(stream_of(import_id), 0, [new])
    run(store, blobs).carry_out(import_id)
    events = told(store, stream_of(import_id))
    assert events[-1] == ImportFinished(import_id, P, 18, 17, 0, 1, 3)
    assert [(one.line, one.text) for event in events[1:-1] for one in event.problems] == [(6, "bad")]
    assert {name: len(told(store, f"device-{name}")) for name in NAMES} == {
        name: 1 + (index in (0, 8, 16)) for index, name in enumerate(NAMES)
    }


def test_files_that_overlap_make_each_device_a_member_once(store: EventStore, blobs: Blobs) -> None:
    """Also the same line twice in one file, the same file twice, and another one in the middle of the first."""
    first = begin(store, blobs, [*NAMES[:10], NAMES[0].upper(), NAMES[1]], 1)
    second = begin(store, blobs, NAMES[5:], 2)
    run(Hindered(store, 4, lambda: run(store, blobs).carry_out(second), behind=True), blobs).carry_out(first)
    again = begin(store, blobs, NAMES, 3, forced=True)
    run(store, blobs).carry_out(again)
    for name in NAMES:
        assert told(store, f"device-{name}") == [DeviceImported(name, P, False), DeviceForced(name, P)]
    ends = [told(store, stream_of(one))[-1] for one in (first, second, again)]
    assert [end.lines_done for end in ends] == [12, 12, 17]
    assert ends[0].updated + ends[1].updated == 17
    assert (ends[2].updated, ends[2].existing) == (0, 17)


def test_a_device_of_another_platform_is_refused_alone(store: EventStore, blobs: Blobs) -> None:
    import_id = begin(store, blobs, [NAMES[0], OTHER_PLATFORM.upper(), NAMES[1]])
    run(store, blobs).carry_out(import_id)
    advanced, finished = told(store, stream_of(import_id))[1:]
    assert [(one.line, one.text, one.code) for one in advanced.problems] == [(2, OTHER_PLATFORM, "wrong_platform")]
    assert (finished.updated, finished.refused) == (2, 1)


def test_a_long_import_runs_in_a_process_of_its_own(url: str, store: EventStore, blobs: Blobs, tmp_path: Path) -> None:
    """And what keeps it from its end is told."""
    import_id = begin(store, blobs, LINES)
    views = f"sqlite:///{tmp_path}/views"
    with closing(Database(views, "devices")) as database:
        database.prepare(VIEWS)
    order = Order(url, f"file://{tmp_path}/nothing", views, import_id)
    with pytest.raises(Unavailable, match="No file"):
        run_apart(order, lambda: False)
    run_apart(Order(url, f"file://{tmp_path}/blobs", views, import_id), lambda: False)
    assert told(store, stream_of(import_id))[-1] == ImportFinished(import_id, P, 18, 17, 0, 1, 3)
