"""What a gateway tells webhooks of its log, and what they may publish (decision 29)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.gateway.entries import DeviceEntry, ProductEntry
from services.gateway.history import History
from services.gateway.hook_feed import HOOKS, HookFeed
from services.gateway.stream_ids import Ids
from shared.context import Context
from shared.errors import Refused
from shared.events.contracts import CONTRACTS
from shared.events.gateway import DevicePublished, ServerPublished
from shared.store.open import open_store
from shared.store.port import ANY, EventStore
from shared.targets import Membership

NOW = datetime(2026, 5, 1, tzinfo=UTC)
OURS, THEIRS, JO = "a" * 24, "b" * 24, "c" * 24
CONTEXT = Context.new("system:hooks", "hooks")
NOBODYS: dict[str, Any] = {"product_id": None, "org_id": None, "account_id": None, "device_id": None, "prefix": "t"}


class Directory:
    """Devices by their first letter: ``1`` is Jo's, ``2`` nobody's, ``3`` in quarantine; all of product 1000."""

    def device(self, device_id: str) -> DeviceEntry | None:
        kind = device_id[:1]
        membership = Membership(product_id=1000, quarantined=kind == "3")
        blank = DeviceEntry(device_id, membership, None, None, "", "", True, None, None, 0, 0)
        return replace(blank, owner_id=JO if kind == "1" else None)

    def product(self, ref: str) -> ProductEntry | None:
        return ProductEntry(int(ref), OURS if ref == "1000" else THEIRS, "s", "n", "mqtt", 65535, None)

    def products_of(self, org_id: str) -> list[int]:
        return [1000] if org_id == OURS else [2000]

    def products_of_owner(self, owner_id: str) -> list[int]:
        return [1000] if owner_id == JO else []

    def owned_since(self, device_id: str, owner_id: str) -> datetime | None:
        return NOW - timedelta(days=1)

    def gateways(self) -> list[str]:
        return ["a"]


class Log:
    """Appends at once."""

    def __init__(self, store: EventStore) -> None:
        self.store = store

    async def post(self, event: ServerPublished, actor: str) -> None:
        self.append(f"log-{event.product_id}" if event.product_id else f"log-owner-{event.owner_id}", event, actor)

    def append(self, stream: str, event: object, actor: str = "somebody") -> None:
        self.store.append(stream, ANY, [CONTRACTS.encode_seen(event, actor, "gateway:a", uuid4())])


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}?durability=normal")
    yield Log(store)
    store.close()


@pytest.fixture
def feed(log: Log) -> HookFeed:
    history = History("a", Directory(), None, log.store, log.store, Ids(b"k" * 64))  # type: ignore[arg-type]
    return HookFeed(history, log, lambda: NOW)  # type: ignore[arg-type]


def device(kind: str, name: str, product_id: int = 1000) -> DevicePublished:
    return DevicePublished(kind * 24, product_id, name, "x", "text", 60, False, NOW, None, 7)


@pytest.fixture
def read(feed: HookFeed) -> Callable[..., Any]:
    def run(after: int | None = None, most: int = 50, **wanted: Any) -> Any:
        since = "2026-01-01T00:00:00+00:00"
        return asyncio.run(feed.read_for_hook(CONTEXT, {**NOBODYS, **wanted}, after, since, most))

    return run


def names(answer: Any) -> list[str]:
    return [event["name"] for event in answer["events"]]


def test_each_owner_gets_what_their_stream_would_show(log: Log, read: Any) -> None:
    for kind in "123":
        log.append("log-1000", device(kind, f"t{kind}"))
    log.append("log-1000", device("1", "other"))
    log.append("log-2000", device("2", "t4", 2000))
    log.append(f"log-owner-{JO}", ServerPublished(None, JO, "t5", None, 60, False, NOW))
    assert names(read(product_id=1000, org_id=OURS)) == ["t1", "t2"]
    assert names(read(product_id=1000, device_id="2" * 24)) == ["t2"]
    assert names(read(org_id=THEIRS)) == ["t4"]
    assert names(read(account_id=JO)) == ["t1", "t5"]
    assert names(read(account_id="d" * 24)) == []


def test_a_place_behind_the_last_one_is_where_to_go_on(log: Log, read: Any) -> None:
    for number in range(5):
        log.append("log-1000", device("1", f"t{number}"))
    first = read(product_id=1000, most=2)
    assert (names(first), first["end"]) == (["t0", "t1"], False)
    rest = read(after=first["looked"], product_id=1000)
    assert (names(rest), rest["end"], rest["gap"]) == (["t2", "t3", "t4"], True, False)
    assert names(read(after=rest["looked"], product_id=1000)) == []


def test_what_webhooks_publish_is_told_to_no_webhook_and_nothing_is_the_platforms_own(
    log: Log, feed: HookFeed, read: Any
) -> None:
    said = [{"name": "t-answer", "data": "x"}, {"name": "spark/status", "data": "online"}]
    published = asyncio.run(feed.publish_for_hook(CONTEXT, 1000, None, said))
    assert published == {"published": 1}
    assert [event.type for event in log.store.read("log-1000")] == ["ServerPublished"]
    assert names(read(product_id=1000)) == []
    log.append("log-1000", device("1", "t"), HOOKS + "x")
    assert names(read(product_id=1000)) == ["t"]


@pytest.mark.parametrize(
    "wanted", [{}, {"most": 0}, {"most": 1_000}, {"after": "x"}, {"product_id": "1000"}, {"more": 1}]
)
def test_nobody_gets_everybodys_events_and_garbage_is_refused(read: Any, wanted: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        read(**{"product_id": 1000, **wanted} if wanted else {})


def test_what_is_published_is_of_a_product_or_of_somebody(feed: HookFeed) -> None:
    for whose in ((None, None), (1000, JO)):
        with pytest.raises(Refused):
            asyncio.run(feed.publish_for_hook(CONTEXT, *whose, []))
