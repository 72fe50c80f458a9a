from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway import log_reading
from services.gateway.log_reading import Piece, read_behind
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.gateway import DevicePublished
from shared.store.port import ANY, EventStore, Position, Recorded

EVER = datetime(2000, 1, 1, tzinfo=UTC)
ALL = Position(0)


def publish(store: EventStore, product_id: int, *data: str) -> Position:
    events = [DevicePublished("a" * 24, product_id, "n", one, "text", 60, False, EVER, None, None) for one in data]
    new = [CONTRACTS.encode(one, 0, Context.new("system:t", "t")) for one in events]
    return store.append(f"log-{product_id}", ANY, new).position


def data(piece: Piece | list[Recorded]) -> list[str]:
    events = piece.events if isinstance(piece, Piece) else piece
    return [CONTRACTS.decode(one).data for one in events]


def everything(store: EventStore, streams: list[str], after: Position | None) -> tuple[list[str], bool]:
    found: list[str] = []
    gap = False
    for _ in range(1_000):
        piece = read_behind(store, streams, after, EVER)
        found += data(piece)
        gap = gap or piece.gap
        if piece.end:
            return found, gap
        assert piece.looked is not None
        assert after is None or piece.looked > after
        after = piece.looked
    raise AssertionError("it never ends")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.data(), st.integers(1, 5))
def test_page_by_page_it_is_all_that_is_behind_a_place_in_its_order(
    store: EventStore, products: list[int], drawn: st.DataObject, most: int
) -> None:
    begun = store.head()
    placed = [(1000 + product, publish(store, 1000 + product, str(number))) for number, product in enumerate(products)]
    after = drawn.draw(st.sampled_from([begun or ALL, *(position for _, position in placed)]))
    wanted = drawn.draw(st.lists(st.sampled_from([1000, 1001, 1002]), unique=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_reading, "MOST_EVENTS", most)
        found, gap = everything(store, [f"log-{product}" for product in wanted], after)
    behind = [(n, *one) for n, one in enumerate(placed) if one[1] > after]
    assert found == [str(n) for n, product, _ in behind if product in wanted]
    assert not gap


def test_without_a_place_it_begins_at_a_time(store: EventStore) -> None:
    publish(store, 1000, "0", "1")
    now = store.read("log-1000")[-1].at
    assert data(read_behind(store, ["log-1000"], None, now)) == ["0", "1"]
    assert data(read_behind(store, ["log-1000"], None, now + timedelta(microseconds=1))) == []


def test_a_log_that_never_held_anything_is_at_its_end(store: EventStore) -> None:
    piece = read_behind(store, ["log-1000"], None, EVER)
    assert (piece.events, piece.looked, piece.end, piece.gap) == ([], None, True, False)


def test_what_is_forgotten_behind_the_place_is_a_gap_and_before_it_none(store: EventStore) -> None:
    first = publish(store, 1000, "0")
    publish(store, 1000, *"123456")
    last = publish(store, 1000, "7")
    store.truncate("log-1000", 5)
    assert everything(store, ["log-1000"], first) == (list("567"), True)
    assert everything(store, ["log-1000"], None) == (list("567"), True)
    assert everything(store, ["log-1000"], last) == ([], False)
    fifth = store.read("log-1000")[0].position
    assert everything(store, ["log-1000"], fifth) == (list("67"), False)


def test_what_another_product_forgot_is_no_gap(store: EventStore) -> None:
    publish(store, 1001, *"0123456789")
    first = publish(store, 1000, "0")
    publish(store, 1000, "1")
    store.truncate("log-1001", 9)
    assert everything(store, ["log-1000", "log-1001"], first) == (["1"], False)


def test_a_place_beyond_the_log_is_one_of_another_log(store: EventStore) -> None:
    head = publish(store, 1000, "0", "1")
    piece = read_behind(store, ["log-1000"], Position(head + 10), EVER)
    assert (data(piece), piece.gap, piece.restarted, piece.end) == (["0", "1"], True, True, True)


def test_a_piece_has_a_bounded_size(store: EventStore, monkeypatch: Any) -> None:
    monkeypatch.setattr(log_reading, "MOST_BYTES", 1_000)
    publish(store, 1000, *("x" * 600 for _ in range(4)))
    piece = read_behind(store, ["log-1000"], ALL, EVER)
    assert (len(piece.events), piece.end) == (1, False)
    assert len(everything(store, ["log-1000"], ALL)[0]) == 4


def test_finding_the_place_takes_few_reads_however_long_the_log(store: EventStore) -> None:
    publish(store, 1000, *(str(number) for number in range(1_500)))
    middle = store.read("log-1000", 1_400, 1)[0].position
    reads: list[int] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            reads.append(1)
            return getattr(store, name)

    piece = read_behind(Counting(), ["log-1000"], middle, EVER)  # type: ignore[arg-type]
    assert data(piece) == [str(number) for number in range(1_401, 1_500)]
    assert len(reads) <= 15
