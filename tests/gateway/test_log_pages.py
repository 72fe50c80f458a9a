from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway import log_reading
from services.gateway.live import Cursor
from services.gateway.log_pages import DONE, merged
from services.gateway.log_reading import Wanted, read_newest
from services.gateway.stream_ids import Ids
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.gateway import DevicePublished, ServerPublished
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, Recorded

IDS = Ids(bytes(32))
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
DEVICES = ("a" * 24, "b" * 24)


def publish(store: EventStore, name: str, device_id: str = DEVICES[0]) -> None:
    event = DevicePublished(device_id, 1000, name, None, "text", 60, False, NOON, None, None)
    store.append("log-1000", ANY, [CONTRACTS.encode(event, 0, Context.new("system:t", "t"))])


def names(events: list[Recorded]) -> list[str]:
    return [CONTRACTS.decode(one).name for one in events]


def everything(stores: dict[str, EventStore], wanted: Wanted, limit: int) -> list[str]:
    """All pages, one after the other."""
    found: list[str] = []
    versions: dict[str, int | None] = dict.fromkeys(stores)
    for _ in range(500):
        going = {lane: before for lane, before in versions.items() if before != DONE}
        if not going:
            return found
        pages = {lane: read_newest(stores[lane], "log-1000", before, wanted, limit) for lane, before in going.items()}
        events, after = merged(pages, limit)
        assert len(events) <= limit
        found += names(events)
        again = IDS.versions(IDS.page_text(after))
        assert again == after
        versions = {**again}
    raise AssertionError("it never ends")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["x", "y"]), st.integers(0, 1)), max_size=25),
    st.sampled_from(["", "x", "y1", "z"]),
    st.sampled_from([None, *DEVICES]),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_all_pages_are_the_whole_log_the_newest_first_and_each_event_once(
    tmp_path_factory: Any,
    published: list[tuple[int, str, int]],
    prefix: str,
    device_id: str | None,
    limit: int,
    most_looked: int,
    at_once: int,
) -> None:
    folder: Path = tmp_path_factory.mktemp("logs")
    stores = {lane: open_store(f"sqlite:///{folder / lane}.db?durability=normal") for lane in "abc"}
    for number, (lane, name, device) in enumerate(published):
        publish(stores["abc"[lane]], f"{name}{number}", DEVICES[device])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_reading, "MOST_LOOKED", most_looked)
        patch.setattr(log_reading, "MOST_EVENTS", at_once)
        found = everything(stores, Wanted(prefix, device_id), limit)
    for store in stores.values():
        store.close()
    wanted = [
        f"{name}{number}"
        for number, (_, name, device) in enumerate(published)
        if f"{name}{number}".startswith(prefix) and device_id in (None, DEVICES[device])
    ]
    assert found == wanted[::-1]


def test_a_page_is_bounded_in_bytes_and_goes_on_where_it_ended(store: EventStore, monkeypatch: Any) -> None:
    for number in range(5):
        publish(store, f"n{number}")
    monkeypatch.setattr(log_reading, "MOST_BYTES", 1)
    page = read_newest(store, "log-1000", None, Wanted(), 10)
    assert (names([*page.events]), page.end) == (["n4"], False)
    assert everything({"a": store}, Wanted(), 10) == ["n4", "n3", "n2", "n1", "n0"]


def test_no_more_than_so_many_events_are_looked_at_for_a_page(store: EventStore, monkeypatch: Any) -> None:
    for number in range(30):
        publish(store, f"n{number}")
    monkeypatch.setattr(log_reading, "MOST_LOOKED", 10)
    page = read_newest(store, "log-1000", None, Wanted("nothing"), 10)
    assert (page.events, page.looked, page.end) == ([], 20, False)


def test_what_is_forgotten_is_the_end(store: EventStore) -> None:
    for number in range(5):
        publish(store, f"n{number}")
    store.truncate("log-1000", 3)
    assert everything({"a": store}, Wanted(), 10) == ["n4", "n3"]
    assert read_newest(store, "log-1001", None, Wanted(), 10).end


def test_what_somebody_published_over_http_is_of_no_device(store: EventStore) -> None:
    event = ServerPublished(1000, None, "said", None, 60, False, NOON)
    store.append("log-1000", ANY, [CONTRACTS.encode(event, 0, Context.new("system:t", "t"))])
    assert everything({"a": store}, Wanted("sa"), 10) == ["said"]
    assert everything({"a": store}, Wanted("sa", DEVICES[0]), 10) == []


@pytest.mark.parametrize("text", ["", "17", IDS.page_text({})[:-2], IDS.text(Cursor(NOON))])
def test_what_is_no_cursor_of_a_list_is_none(text: str) -> None:
    assert IDS.versions(text) is None
