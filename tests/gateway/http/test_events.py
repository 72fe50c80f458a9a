from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.gateway import hub as hub_module
from services.gateway.entries import TokenEntry
from services.gateway.http.ports import Limits
from services.gateway.http.sse import frame
from services.gateway.hub import Missed, PublishedEvent
from services.gateway.live import Place
from services.gateway.stream_reader import Placed
from shared.ids import digest

PRODUCT = "/v1/products/thermo/events"
AT = datetime(2016, 2, 9, 14, 43, 5, 606_999, UTC)


def event(name: str = "temperature", data: str | None = "25.34", **changes: Any) -> PublishedEvent:
    fields: dict[str, Any] = {
        "ttl": 60,
        "published_at": AT,
        "coreid": "0123456789abcdef01234567",
        "product_id": 1000,
        "version": 7,
        "public": False,
    }
    return PublishedEvent(name, data, **{**fields, **changes})


def fields_of(written: bytes) -> Any:
    head, data, end = written.split(b"\n", 2)
    assert head.startswith(b"event: ")
    assert data.startswith(b"data: ")
    assert end == b"\n"
    return json.loads(data.removeprefix(b"data: "))


@pytest.fixture
def limits(request: pytest.FixtureRequest) -> Limits:
    return getattr(request, "param", Limits())


def opened(world: Any, api: Any, path: str = PRODUCT, **options: Any) -> Any:
    return world.Stream(api, path, **options)


async def started(stream: Any) -> Any:
    status, headers = await stream.head()
    assert status == 200
    assert await stream.write() == b":ok\n\n"
    return headers


def test_a_frame_is_what_the_contract_shows() -> None:
    assert frame(event()) == (
        b"event: temperature\n"
        b'data: {"data":"25.34","ttl":60,"published_at":"2016-02-09T14:43:05.606Z",'
        b'"coreid":"0123456789abcdef01234567","productID":1000,"version":7,"public":false}\n\n'
    )


def test_a_team_is_told_whose_the_device_is_and_nobody_else() -> None:
    owned = replace(event(), owner_id="7" * 24)
    assert fields_of(frame(owned, owners=True))["userid"] == "7" * 24
    assert "userid" not in fields_of(frame(event(), owners=True))
    assert "userid" not in fields_of(frame(owned))


@pytest.mark.parametrize("data", ["ü €\U0001f600", "two\nlines\r\n\u2028", "", None])
def test_data_is_ascii_on_one_line_and_comes_back_as_it_was(data: str | None) -> None:
    written = frame(event(data=data))
    assert written.isascii()
    assert b"\r" not in written
    assert fields_of(written)["data"] == data


def test_a_name_cannot_break_out_of_its_line() -> None:
    assert frame(event(name="a\ndata: x\r\n\nb")).startswith(b"event: a data: x   b\ndata: {")


def test_missed_events_are_told_as_an_event() -> None:
    written = frame(Missed(17))
    assert written.startswith(b"event: flotilla/missed\n")
    assert fields_of(written)["data"] == "17"


def test_a_frame_has_its_place_behind_what_it_tells_and_a_place_alone_is_no_event() -> None:
    assert frame(Placed(event(), "abc")) == frame(event()).removesuffix(b"\n") + b"id: abc\n\n"
    assert frame(Placed(None, "abc")) == b"id: abc\n\n"


def test_what_nobody_can_tell_any_more_is_told_without_a_number() -> None:
    assert fields_of(frame(Missed(None)))["data"] is None
    assert [fields_of(frame(Missed(count)))["reason"] for count in (3, None)] == ["slow", "history"]


@pytest.mark.parametrize("limits", [Limits(stream_queue=1)], indirect=True)
@pytest.mark.parametrize("headers", [{}, {"Last-Event-ID": "garbage"}, {"Accept": "text/event-stream"}])
def test_customers_see_nothing_of_our_name_in_what_they_missed(
    api: Any, world: Any, runner: Any, headers: dict[str, str]
) -> None:
    async def scenario() -> None:
        entry = replace(api.directory.tokens[digest(world.MEMBER_TOKEN)], subject="customer", product_id=1000)
        api.directory.tokens[digest(world.MEMBER_TOKEN)] = replace(entry, customer_id=world.MEMBER, role=None)
        owned = replace(world.device_entry(world.DEVICE, 1000), owner_id=world.MEMBER)
        api.directory.devices[world.DEVICE] = owned
        stream = opened(world, api, "/v1/devices/events", headers=headers)
        await started(stream)
        await asyncio.sleep(0.01)
        for _ in range(5):
            api.hub.publish(event())
        written = b""
        while b"missed" not in written:
            written += await stream.write()
        assert b"event: events/missed\n" in written
        assert b"flotilla" not in written
        await stream.leave()

    runner.run(scenario())


def placed(position: int, **changes: Any) -> PublishedEvent:
    return event(f"e{position}", lane="a", place=Place(position), **changes)


def test_whoever_comes_back_gets_what_was_missed_and_what_is_new(api: Any, world: Any, runner: Any) -> None:
    async def scenario() -> None:
        api.history.past = [placed(1)]
        first = opened(world, api, headers={"Accept": "text/event-stream, */*"})
        await started(first)
        last_id = (await first.write()).decode().removeprefix("id: ").strip()
        await first.leave()
        api.history.past += [placed(2), placed(3)]
        second = opened(world, api, headers={"Last-Event-ID": last_id})
        await started(second)
        names = [(await second.write()).split(b"\n")[0] for _ in range(3)]
        assert names[0].startswith(b"id: ")
        assert names[1:3] == [b"event: e2", b"event: e3"]
        await asyncio.sleep(0.05)
        api.hub.publish(placed(3))
        api.hub.publish(placed(4))
        assert (await second.write()).startswith(b"event: e4\n")
        await second.leave()
        assert api.hub.readers == 0
        assert api.app.state.edge.slots.used(digest(world.MEMBER_TOKEN)) == 0

    runner.run(scenario())


@pytest.mark.parametrize("headers", [{}, {"Accept": "*/*"}, {"Accept": "application/json"}])
def test_the_official_clients_get_frames_without_places(
    api: Any, world: Any, runner: Any, headers: dict[str, str]
) -> None:
    async def scenario() -> None:
        stream = opened(world, api, headers=headers)
        await started(stream)
        api.hub.publish(placed(1))
        assert await stream.write() == frame(placed(1))
        await stream.leave()

    runner.run(scenario())


def test_a_stream_begins_at_once_and_brings_each_event_in_one_write(api: Any, world: Any, runner: Any) -> None:
    async def scenario() -> None:
        stream = opened(world, api, PRODUCT + "?nonce=5")
        headers = await started(stream)
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "no-cache"
        assert headers["x-accel-buffering"] == "no"
        assert "content-length" not in headers
        for number in range(3):
            api.hub.publish(event(name=f"e{number}"))
        assert [await stream.write() for _ in range(3)] == [frame(event(name=f"e{number}")) for number in range(3)]
        await stream.leave()
        assert api.hub.readers == 0

    runner.run(scenario())


@pytest.mark.parametrize(
    ("path", "heard"),
    [
        ("/v1/products/1000/events", ["temp/cellar", "spark/status", "temp/attic"]),
        ("/v1/products/1000/events/", ["temp/cellar", "spark/status", "temp/attic"]),
        ("/v1/products/1000/events/temp", ["temp/cellar", "temp/attic"]),
        ("/v1/products/1000/events/temp%2Fce", ["temp/cellar"]),
        ("/v1/products/1000/events/temp/ce", ["temp/cellar"]),
        ("/v1/products/1000/devices/0123456789ABCDEF01234567/events", ["temp/cellar", "spark/status"]),
        ("/v1/products/1000/devices/0123456789abcdef01234567/events/temp", ["temp/cellar"]),
        ("/v1/orgs/ours/events", ["temp/cellar", "spark/status", "temp/attic", "temp/gadget"]),
        ("/v1/orgs/ours/events/temp/g", ["temp/gadget"]),
        ("/v1/orgs/ours/devices/events", ["temp/cellar", "spark/status", "temp/attic", "temp/gadget"]),
        ("/v1/orgs/ours/devices/events/temp/g", ["temp/gadget"]),
        ("/v1/orgs/ours/products/thermo/events", ["temp/cellar", "spark/status", "temp/attic"]),
        (f"/v1/orgs/{'a' * 24}/products/1001/events/temp", ["temp/gadget"]),
    ],
)
def test_each_stream_brings_what_its_path_names(api: Any, world: Any, runner: Any, path: str, heard: list[str]) -> None:
    async def scenario() -> None:
        stream = opened(world, api, path)
        await started(stream)
        api.hub.publish(event("temp/cellar"))
        api.hub.publish(event("spark/status"))
        api.hub.publish(event("temp/attic", coreid="f" * 24))
        api.hub.publish(event("temp/gadget", product_id=1001, coreid="e" * 24))
        api.directory.products["1002"] = world.ProductEntry(1002, world.OTHER_ORG, "x", "X", "mqtt", 65_535, None)
        api.hub.publish(event("temp/gone", product_id=1002, coreid="d" * 24))
        names = [(await stream.write()).split(b"\n")[0].decode().removeprefix("event: ") for _ in heard]
        assert names == heard
        assert stream.messages.empty()
        await stream.leave()

    runner.run(scenario())


def test_public_events_come_with_the_callers_own_and_nothing_else(api: Any, world: Any, runner: Any) -> None:
    async def scenario() -> None:
        mine, other = world.device_entry(world.DEVICE, 1000), world.device_entry("f" * 24, 1000)
        api.directory.devices |= {mine.device_id: replace(mine, owner_id=world.LONER), other.device_id: other}
        stream = opened(world, api, "/v1/events/temp", token=world.LONER_TOKEN)
        await started(stream)
        api.hub.publish(event("temp/mine"))
        api.hub.publish(event("temp/mine/public", public=True))
        api.hub.publish(event("temp/secret", coreid="f" * 24))
        api.hub.publish(event("temp/public", coreid="f" * 24, public=True))
        api.hub.publish(event("humid", coreid="f" * 24, public=True))
        names = [(await stream.write()).split(b"\n")[0] for _ in range(3)]
        assert names == [b"event: temp/mine", b"event: temp/mine/public", b"event: temp/public"]
        assert stream.messages.empty()
        await stream.leave()
        assert api.hub.readers == 0

    runner.run(scenario())


@pytest.mark.parametrize("product_id", [1000, None])
def test_customers_hear_nothing_public_of_another_company(
    api: Any, world: Any, runner: Any, product_id: int | None
) -> None:
    async def scenario() -> None:
        entry = replace(api.directory.tokens[digest(world.MEMBER_TOKEN)], org_id=world.OUR_ORG, role=None)
        entry = replace(entry, subject="customer", customer_id=world.MEMBER, product_id=product_id)
        api.directory.tokens[digest(world.MEMBER_TOKEN)] = entry
        api.directory.products["1002"] = world.ProductEntry(1002, world.OTHER_ORG, "x", "X", "mqtt", 65_535, None)
        stream = opened(world, api, "/v1/events/temp")
        await started(stream)
        api.hub.publish(event("temp/theirs", product_id=1002, coreid="d" * 24, public=True))
        api.hub.publish(event("temp/ours", public=True))
        assert (await stream.write()).startswith(b"event: temp/ours\n")
        await stream.leave()

    runner.run(scenario())


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/"])
def test_everybodys_events_are_refused_without_a_prefix(api: Any, world: Any, path: str) -> None:
    told = world.error_of(api.get(path))
    assert told == (400, "event prefix filter is required", "Name the beginning of the events: /v1/events/PREFIX.")
    assert world.error_of(api.get(path, token=None))[:2] == (400, "invalid_request")


@pytest.mark.parametrize("org", ["others", "nobody", "x" * 100])
def test_a_product_has_no_stream_below_another_organization(api: Any, world: Any, org: str) -> None:
    answer = api.get(f"/v1/orgs/{org}/products/thermo/events")
    assert world.error_of(answer)[:2] == (404, "Product not found.")


@pytest.mark.parametrize("device", ["f" * 24, "cellar"])
def test_a_device_of_another_product_has_no_stream_here(api: Any, world: Any, device: str) -> None:
    api.directory.devices["f" * 24] = world.device_entry("f" * 24, 1001)
    answer = api.get(f"/v1/products/thermo/devices/{device}/events")
    assert world.error_of(answer)[:2] == (404, "Device not found for this product")


@pytest.mark.parametrize("limits", [Limits(keep_alive_s=0.01)], indirect=True)
def test_silence_is_filled_with_single_line_feeds(api: Any, world: Any, runner: Any) -> None:
    async def scenario() -> None:
        stream = opened(world, api)
        await started(stream)
        assert [await stream.write() for _ in range(3)] == [b"\n"] * 3
        await stream.leave()

    runner.run(scenario())


def test_the_official_clients_hear_something_before_they_give_up() -> None:
    assert Limits().keep_alive_s <= 9


@pytest.mark.parametrize("limits", [Limits(token_check_s=0.01)], indirect=True)
def test_a_stream_ends_once_its_token_is_revoked_and_reconnecting_is_401(api: Any, world: Any, runner: Any) -> None:
    async def scenario() -> None:
        stream = opened(world, api)
        await started(stream)
        del api.directory.tokens[digest(world.MEMBER_TOKEN)]
        assert await stream.write() == b""
        await asyncio.wait_for(stream.task, 5)
        assert api.hub.readers == 0

    runner.run(scenario())
    assert api.get(PRODUCT).status_code == 401


@pytest.mark.parametrize("limits", [Limits(token_check_s=0.01)], indirect=True)
@pytest.mark.parametrize("change", ["expires", "leaves the organization"])
def test_a_stream_ends_once_its_reader_may_no_longer(api: Any, world: Any, runner: Any, change: str) -> None:
    async def scenario() -> None:
        stream = opened(world, api)
        await started(stream)
        if change == "expires":
            api.clock.advance(90 * 86_400)
        else:
            api.directory.add_token(world.MEMBER_TOKEN, world.MEMBER, world.OTHER_ORG)
        assert await stream.write() == b""
        await asyncio.wait_for(stream.task, 5)

    runner.run(scenario())


@pytest.mark.parametrize("limits", [Limits(token_check_s=0.01)], indirect=True)
def test_a_teams_stream_ends_when_it_stops_paying_and_a_customers_does_not(api: Any, world: Any, runner: Any) -> None:
    token = "99" * 20  # BIL-7
    customer = TokenEntry("9" * 24, "9" * 24, "", "particle", None, world.OUR_ORG, None, "customer", "9" * 24, 1000)
    api.directory.tokens[digest(token)] = customer

    async def scenario() -> None:
        teams, theirs = opened(world, api), world.Stream(api, "/v1/devices/events", token)
        await started(teams)
        await started(theirs)
        ours = replace(api.directory.orgs["ours"], inactive=True)
        api.directory.orgs |= {"ours": ours, ours.org_id: ours}
        assert await teams.write() == b""
        await asyncio.wait_for(teams.task, 5)
        await asyncio.sleep(0.05)  # in which a customer's right is asked for, too
        assert not theirs.task.done()
        await theirs.leave()

    runner.run(scenario())
    assert api.get(PRODUCT).status_code == 402


@pytest.mark.parametrize("limits", [Limits(token_check_s=0.001, keep_alive_s=0.02)], indirect=True)
def test_a_busy_check_of_the_token_does_not_keep_the_stream_silent(api: Any, world: Any, runner: Any) -> None:
    async def scenario() -> None:
        stream = opened(world, api)
        await started(stream)
        assert await stream.write() == b"\n"
        api.hub.publish(event())
        while (written := await stream.write()) == b"\n":
            pass
        assert written == frame(event())
        await stream.leave()

    runner.run(scenario())


@pytest.mark.parametrize("limits", [Limits(streams_per_token=2)], indirect=True)
def test_a_token_has_so_many_streams_and_a_closed_one_makes_room(api: Any, world: Any, runner: Any) -> None:
    async def scenario() -> None:
        first, second = opened(world, api), opened(world, api)
        await started(first)
        await started(second)
        third = opened(world, api)
        assert (await third.head())[0] == 429
        await first.leave()
        fourth = opened(world, api)
        await started(fourth)
        for stream in (second, fourth):
            await stream.leave()
        assert api.app.state.edge.slots.used(digest(world.MEMBER_TOKEN)) == 0

    runner.run(scenario())


def become(api: Any, world: Any, kind: str, number: int) -> str:
    """A token of the team, of a customer of the company, of a person without a team, or of one of many logins."""
    token = f"{number:02}" * 20
    entry = replace(api.directory.tokens[digest(world.MEMBER_TOKEN)], expires_at=None)
    if kind == "customer":
        own = f"{number:02}" * 12
        entry = replace(entry, subject="customer", account_id=own, customer_id=own, product_id=1000, role=None)
    elif kind == "same customer":
        own = "9" * 24
        entry = replace(entry, subject="customer", account_id=own, customer_id=own, product_id=1000, role=None)
    elif kind == "loner":
        entry = replace(entry, account_id=world.LONER, org_id=None, role=None)
    api.directory.tokens[digest(token)] = entry
    return token


@pytest.mark.parametrize("limits", [Limits(streams_per_token=2, streams_per_organization=3)], indirect=True)
@pytest.mark.parametrize(
    ("kind", "most", "told"),
    [
        ("member", 3, "Your team has 3 event streams open on this gateway; close one first."),
        ("customer", 3, "All customers have 3 event streams open on this gateway; close one first."),
        ("same customer", 2, "Your logins together have 2 event streams open on this gateway; close one first."),
        ("loner", 2, "Your logins together have 2 event streams open on this gateway; close one first."),
    ],
)
def test_so_many_streams_are_open_of_a_team_of_its_customers_and_of_somebody_with_many_logins(
    api: Any, world: Any, runner: Any, kind: str, most: int, told: str
) -> None:
    async def scenario() -> None:
        tokens = [become(api, world, kind, number) for number in range(10, 11 + most)]
        streams = [opened(world, api, "/v1/devices/events", token=token) for token in tokens]
        for stream in streams[:-1]:
            await started(stream)
        status, headers = await streams[-1].head()
        assert (status, headers["retry-after"]) == (429, "5")
        body = json.loads((await streams[-1].messages.get())["body"])
        assert body == {"ok": False, "error": "too_many_requests", "error_description": told}
        await streams[0].leave()
        again = opened(world, api, "/v1/devices/events", token=tokens[-1])
        await started(again)
        other = opened(world, api, "/v1/devices/events", token=become(api, world, "customer", 40))
        if kind != "customer":
            await started(other)
        for stream in [*streams, again, other]:
            await stream.leave()
        assert len(api.app.state.edge.slots) == 0

    runner.run(scenario())


def test_a_stream_that_cannot_be_opened_takes_no_slot(api: Any, world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(hub_module, "MAX_SUBSCRIPTIONS", 0)
    for headers in ({}, {"Accept": "text/event-stream"}):
        assert api.get(PRODUCT, headers=headers).status_code == 503
    assert len(api.app.state.edge.slots) == 0


@pytest.mark.parametrize("limits", [Limits(stream_queue=3)], indirect=True)
def test_a_slow_reader_is_told_how_many_events_it_missed(api: Any, world: Any, runner: Any) -> None:
    async def scenario() -> None:
        stream = opened(world, api)
        await started(stream)
        for number in range(10):
            api.hub.publish(event(name=f"e{number}"))
        names = [(await stream.write()).split(b"\n")[0] for _ in range(4)]
        assert names[:3] == [b"event: e0", b"event: e1", b"event: e2"]
        assert names[3] == b"event: flotilla/missed"
        await stream.leave()

    runner.run(scenario())


@pytest.mark.parametrize("limits", [Limits(stalled_reader_s=0.01)], indirect=True)
def test_a_reader_that_takes_nothing_is_let_go(api: Any, world: Any, runner: Any) -> None:
    async def scenario() -> None:
        async def full(message: Any) -> None:
            """What the server's flow control does once a reader's buffers are full."""
            if message["type"] != "http.response.start":
                await asyncio.Event().wait()

        stream = opened(world, api, send=full)
        await asyncio.wait_for(stream.task, 5)
        assert api.hub.readers == 0
        assert api.app.state.edge.slots.used(digest(world.MEMBER_TOKEN)) == 0

    runner.run(scenario())


def test_a_stream_ends_in_order_when_the_hub_closes(api: Any, world: Any, runner: Any) -> None:
    async def scenario() -> None:
        stream = opened(world, api)
        await started(stream)
        api.hub.close()
        assert await stream.write() == b""
        await asyncio.wait_for(stream.task, 5)

    runner.run(scenario())


def test_head_of_a_stream_opens_none(api: Any) -> None:
    answer = api.request("HEAD", PRODUCT)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert api.hub.readers == 0


def test_errors_come_as_json_before_the_stream(api: Any, world: Any) -> None:
    assert world.error_of(api.get(PRODUCT, token=None))[:2] == (400, "invalid_request")
    assert world.error_of(api.get(PRODUCT, token=world.STRANGER_TOKEN))[:2] == (404, "Product not found.")
