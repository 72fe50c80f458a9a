from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.gateway.entries import TokenEntry
from services.gateway.http import sse
from services.gateway.hub import EventFilter, PublishedEvent
from services.gateway.live import posted
from shared.events.gateway import ServerPublished
from shared.ids import digest

EVENT = {"name": "doors/open", "data": "3"}
CUSTOMER, CUSTOMER_TOKEN = "c" * 24, "cc" * 20


@pytest.fixture(autouse=True)
def customer(api: Any, world: Any) -> None:
    entry = TokenEntry("c" * 24, CUSTOMER, "jo@example.org", "lamp-1234", None, world.OUR_ORG, None, "customer")
    api.directory.tokens[digest(CUSTOMER_TOKEN)] = replace(entry, customer_id=CUSTOMER, product_id=1000)


def test_an_event_is_published_to_ones_own_and_is_private_unless_it_is_said(api: Any, world: Any) -> None:
    assert api.post("/v1/devices/events", json=EVENT, token=world.LONER_TOKEN).json() == {"ok": True}
    ((event, actor),) = api.log.posted
    assert (event.product_id, event.owner_id, actor) == (None, world.LONER, f"account:{world.LONER}")
    assert (event.name, event.data, event.ttl_s, event.public) == ("doors/open", "3", 60, False)
    assert event.published_at == world.NOW


def test_an_event_is_published_to_a_product_by_its_team(api: Any, world: Any) -> None:
    form = {"name": "doors/open", "private": "false", "ttl": "5"}
    assert api.post("/v1/products/thermo/events", data=form).status_code == 200
    ((event, _),) = api.log.posted
    assert (event.product_id, event.owner_id, event.public, event.ttl_s, event.data) == (1000, None, True, 5, None)
    assert api.post("/v1/products/thermo/events", json=EVENT, token=CUSTOMER_TOKEN).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 65},
        {"name": "\u00fc" * 33},
        {"name": "a\nb"},
        {"name": "spark/status"},
        {"name": "Particle/x"},
        {"name": "x", "data": "\u00fc" * 513},
        {"name": "x", "data": 5},
        {"name": "x", "ttl": -1},
    ],
)
def test_what_is_no_event_is_refused(api: Any, world: Any, body: Any) -> None:
    assert world.error_of(api.post("/v1/devices/events", json=body))[:2] == (400, "invalid_request")
    assert api.log.posted == []


def test_a_flood_of_events_is_refused_and_costs_nobody_else_anything(api: Any, world: Any) -> None:
    statuses = [api.post("/v1/devices/events", json=EVENT).status_code for _ in range(110)]
    assert (statuses[0], statuses[-1]) == (200, 429)
    assert api.post("/v1/devices/events", json=EVENT, token=world.LONER_TOKEN).status_code == 200


def published(device_id: str, product_id: int, name: str = "temp") -> PublishedEvent:
    return PublishedEvent(name, "1", 60, datetime(2026, 3, 1, tzinfo=UTC), device_id, product_id, 7, True)


@pytest.mark.parametrize(
    ("path", "token", "heard"),
    [
        ("/v1/devices/events", "CUSTOMER", ["mine"]),
        ("/v1/devices/events/mi", "CUSTOMER", ["mine"]),
        ("/v1/devices/events/other", "CUSTOMER", []),
        ("/v1/devices/{mine}/events", "CUSTOMER", ["mine"]),
        ("/v1/devices/{mine}/events", "MEMBER", ["mine"]),
        ("/v1/devices/events", "LONER", []),
    ],
)
def test_each_hears_the_devices_that_are_theirs_and_no_others(
    api: Any, world: Any, runner: Any, path: str, token: str, heard: list[str]
) -> None:  # LOG-2, CUS-5
    mine, gone, elsewhere = "1" * 24, "2" * 24, "3" * 24
    owned = {mine: (1000, CUSTOMER), gone: (1000, None), elsewhere: (1001, CUSTOMER)}
    for device_id, (product_id, owner_id) in owned.items():
        entry = world.device_entry(device_id, product_id)
        api.directory.devices[device_id] = replace(entry, owner_id=owner_id)
    secret = CUSTOMER_TOKEN if token == "CUSTOMER" else getattr(world, f"{token}_TOKEN")

    async def listen() -> list[str]:
        stream = world.Stream(api, path.format(mine=mine), secret)
        assert (await stream.head())[0] == 200
        assert await stream.write() == b":ok\n\n"
        await asyncio.sleep(0)
        for device_id, (product_id, _) in owned.items():
            name = {mine: "mine", gone: "gone", elsewhere: "elsewhere"}[device_id]
            api.hub.publish(published(device_id, product_id, name))
        names = [(await stream.write()).decode().split("\n")[0].removeprefix("event: ") for _ in heard]
        assert stream.messages.empty()
        await stream.leave()
        return names

    assert runner.run(listen()) == heard


def test_a_stream_of_somebody_elses_device_does_not_exist(api: Any, world: Any) -> None:
    answer = api.get(f"/v1/devices/{world.DEVICE}/events", token=world.LONER_TOKEN)
    assert world.error_of(answer)[:2] == (403, "Permission Denied")


def test_what_is_published_over_http_is_heard_where_it_belongs(api: Any, world: Any, runner: Any) -> None:
    own = ServerPublished(None, CUSTOMER, "note", "x", 60, False, world.NOW)
    product = ServerPublished(1000, None, "all", "y", 60, False, world.NOW)

    async def listen() -> list[tuple[str, list[str]]]:
        readers = {
            "owner": api.hub.subscribe(EventFilter(owner_id=CUSTOMER), 10),
            "product": api.hub.subscribe(EventFilter(product_id=1000), 10),
            "org": api.hub.subscribe(EventFilter(org_id=world.OUR_ORG), 10),
            "other": api.hub.subscribe(EventFilter(owner_id=world.LONER), 10),
        }
        for event in (own, product):
            api.hub._hear_server(event, posted(event), None)
        heard = []
        for name, reader in readers.items():
            names = []
            while reader._waiting:
                names.append((await anext(reader)).name)
            heard.append((name, names))
        return heard

    assert runner.run(listen()) == [("owner", ["note"]), ("product", ["all"]), ("org", ["all"]), ("other", [])]
    frame = json.loads(sse.frame(posted(product)).decode().split("data: ", 1)[1])
    assert frame["coreid"] == "api"


def test_what_a_customer_publishes_says_as_whose(api: Any, world: Any) -> None:
    api.post("/v1/devices/events", json=EVENT, token=CUSTOMER_TOKEN)
    api.post("/v1/devices/events", json=EVENT)
    told = [(event.owner_id, event.for_org_id, event.for_product_id) for event, _ in api.log.posted]
    assert told == [(CUSTOMER, world.OUR_ORG, 1000), (world.MEMBER, None, None)]


def test_one_account_at_two_companies_is_two_customers(api: Any, world: Any, runner: Any) -> None:  # CUS-5, CUS-7
    theirs = world.OTHER_ORG
    tokens = {"ours": (world.OUR_ORG, 1000), "all ours": (world.OUR_ORG, None), "theirs": (theirs, None)}
    entry = api.directory.tokens[digest(CUSTOMER_TOKEN)]
    for name, (org_id, product_id) in tokens.items():
        api.directory.tokens[digest(name * 8)] = replace(entry, org_id=org_id, product_id=product_id)
    api.directory.tokens[digest("account")] = replace(
        entry, org_id=None, subject="account", customer_id=None, product_id=None
    )
    api.directory.products["1002"] = world.ProductEntry(1002, theirs, "x", "X", "mqtt", 65_535, None)
    for device_id, product_id in (("1" * 24, 1000), ("2" * 24, 1001), ("3" * 24, 1002)):
        owned = replace(world.device_entry(device_id, product_id), owner_id=CUSTOMER)
        api.directory.devices[device_id] = owned
    posts = {
        "as ours": (world.OUR_ORG, 1000),
        "as all ours": (world.OUR_ORG, None),
        "as ours of another": (world.OUR_ORG, 1001),
        "as theirs": (theirs, None),
        "as myself": (None, None),
    }

    async def listen() -> dict[str, list[str]]:
        streams = {name: world.Stream(api, "/v1/devices/events", name * 8) for name in tokens}
        streams["account"] = world.Stream(api, "/v1/devices/events", "account")
        for stream in streams.values():
            assert (await stream.head())[0] == 200
            await stream.write()
        await asyncio.sleep(0)
        for device_id, product_id in (("1" * 24, 1000), ("2" * 24, 1001), ("3" * 24, 1002)):
            api.hub.publish(published(device_id, product_id, f"of {product_id}"))
        for name, (org_id, product_id) in posts.items():
            event = ServerPublished(None, CUSTOMER, name, "x", 60, False, world.NOW, org_id, product_id)
            api.hub._hear_server(event, posted(event), None)
        api.hub.publish(published("1" * 24, 1000, "end"))
        api.hub.publish(published("3" * 24, 1002, "end"))
        heard: dict[str, list[str]] = {}
        for name, stream in streams.items():
            names: list[str] = []
            while "end" not in names:
                names += [
                    line[7:] for line in (await stream.write()).decode().split("\n") if line.startswith("event: ")
                ]
            heard[name] = names[: names.index("end")]
            await stream.leave()
        return heard

    assert runner.run(listen()) == {
        "ours": ["of 1000", "as ours", "as all ours"],
        "all ours": ["of 1000", "of 1001", "as ours", "as all ours", "as ours of another"],
        "theirs": ["of 1002", "as theirs"],
        "account": ["of 1000", "of 1001", "of 1002", *posts],
    }


@pytest.mark.parametrize("path", ["/v1/build_targets?featured=true", "/v1/device-os/versions"])
def test_what_official_clients_ask_for_and_is_not_here_is_empty(api: Any, path: str) -> None:  # contract 15
    assert api.get(path, token=None).status_code == 200
