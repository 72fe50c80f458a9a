from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.gateway.http.ports import Limits
from services.gateway.http.sse import frame
from services.gateway.hub import Missed, PublishedEvent
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
