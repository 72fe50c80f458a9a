"""Readers of event streams who come back, over HTTP, to the same gateway or to another one (decision 25)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from services.gateway.bootstrap import Gateway, build
from services.gateway.history import AWAY_S
from shared.bus.open import open_transport
from shared.context import Context
from shared.events import devices as d
from shared.events import gateway as g
from shared.events import orgs as o
from shared.events.contracts import CONTRACTS
from shared.ids import digest
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, Position

Happen = Callable[..., Position]

ACCOUNT, ORG, OTHER_ORG, TOKEN, DEVICE, STRAY = "a" * 24, "b" * 24, "c" * 24, "d" * 24, "e" * 24, "5" * 24
BEARER = "f" * 40
FAR = datetime(2100, 1, 1, tzinfo=UTC)
PORTS = {"http_port": 0, "mqtt_port": -1, "particle_tcp_port": -1, "particle_udp_port": -1}
PRODUCT = "/v1/products/1000/events"


@pytest.fixture
def transport() -> Any:
    opened = open_transport("local:", name="test")
    opened.start()
    yield opened
    opened.stop()


@pytest.fixture(params=["local", pytest.param("amqp", marks=pytest.mark.broker)])
def bus_source(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("transport" if request.param == "local" else "amqp_url")


@pytest.fixture(autouse=True)
def fleet(happen: Happen) -> None:
    happen(
        o.AccountCreated(ACCOUNT, "ada@example.org", "hash", "", "", ""),
        o.OrganizationCreated(ORG, "Acme", "acme", "monthly", ACCOUNT, "ada@example.org"),
        o.MemberJoined(ORG, ACCOUNT, "ada@example.org", "administrator"),
        o.TokenIssued(TOKEN, ACCOUNT, "particle", digest(BEARER), "9" * 64, "ffff", None, FAR),
        o.ProductCreated(1000, ORG, "acme", "Lamp", "lamp", "", "mqtt", 65535, "Consumer", ""),
        o.ProductCreated(1001, ORG, "acme", "Bell", "bell", "", "mqtt", 65535, "Consumer", ""),
        o.ProductCreated(2000, OTHER_ORG, "others", "Theirs", "theirs", "", "mqtt", 65535, "Consumer", ""),
        d.DeviceImported(DEVICE, 1000, False),
        d.DeviceImported(STRAY, 1000, False),
    )


@dataclass
class Frame:
    event: str | None
    data: Any
    id: str | None


class Stream:
    """An event stream as a browser reads it."""

    def __init__(self, response: httpx.Response, last_id: str | None) -> None:
        self.lines = response.aiter_lines()
        self.last_id = last_id

    async def frame(self) -> Frame:
        """The next one that says anything."""
        found: dict[str, str] = {}
        async for line in self.lines:
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                found[name] = value
            elif found:
                self.last_id = found.get("id", self.last_id)
                return Frame(found.get("event"), json.loads(found.get("data", "null")), found.get("id"))
        raise EOFError

    async def names(self, count: int) -> list[str]:
        """The names of the next events."""
        names: list[str] = []
        while len(names) < count:
            frame = await self.frame()
            names += [] if frame.event is None else [frame.event]
        return names

    async def all_until(self, name: str) -> list[str]:
        names: list[str] = []
        while name not in names:
            names += await self.names(1)
        return names[:-1]


class Platform:
    """Gateways that come and go."""

    def __init__(self, store: EventStore, bus_source: Any, folder: Path, stack: AsyncExitStack) -> None:
        self.store, self.bus_source, self.folder, self.stack = store, bus_source, folder, stack
        self.gateways: dict[str, Gateway] = {}

    def log(self, name: str) -> EventStore:
        return open_store(self.settings(name).log)

    def settings(self, name: str) -> Settings:
        return Settings.load({}, data=self.folder, gateway=name, lease_s=3, drain_s=0.0, **PORTS)

    async def start(self, *names: str, bus_source: Any = None) -> None:
        for name in names:
            gateway = build(self.settings(name), self.store, bus_source or self.bus_source)
            await gateway.start()
            self.gateways[name] = gateway
            self.stack.push_async_callback(gateway.stop)

    async def stop(self, name: str) -> None:
        await self.gateways.pop(name).stop()

    def client(self, name: str) -> httpx.AsyncClient:
        url = f"http://127.0.0.1:{self.gateways[name].http_port}"
        headers = {"Authorization": f"Bearer {BEARER}"}
        return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=20)

    async def post(self, gateway: str, *names: str, path: str = PRODUCT) -> None:
        async with self.client(gateway) as client:
            for name in names:
                answer = await client.post(path, json={"name": name})
                assert answer.status_code == 200, answer.text

    @asynccontextmanager
    async def stream(
        self, gateway: str, path: str = PRODUCT, last_id: str | None = None, accept: str = "text/event-stream"
    ) -> AsyncIterator[Stream]:
        headers = {"Accept": accept} | ({} if last_id is None else {"Last-Event-ID": last_id})
        async with self.client(gateway) as client, client.stream("GET", path, headers=headers) as response:
            assert response.status_code == 200
            yield Stream(response, last_id)


@pytest.fixture
def play(store: EventStore, bus_source: Any, tmp_path: Path) -> Callable[..., None]:
    def run(scenario: Callable[[Platform], Coroutine[Any, Any, None]], seconds: float = 30) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(seconds), AsyncExitStack() as stack:
                await scenario(Platform(store, bus_source, tmp_path, stack))

        asyncio.run(bounded())

    return run


def test_a_reader_who_comes_back_to_another_gateway_gets_what_it_missed_once(play: Any) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a", "b")
        async with platform.stream("a") as stream:
            assert (await stream.frame()).id is not None
            await platform.post("a", "one")
            assert await stream.names(1) == ["one"]
            await platform.post("b", "two")
            assert await stream.names(1) == ["two"]
        await platform.post("a", "three", "four")
        await platform.post("b", "five", "six")
        async with platform.stream("b", last_id=stream.last_id) as again:
            missed = await again.names(4)
            assert sorted(missed) == ["five", "four", "six", "three"]
            assert [name for name in missed if name in ("three", "four")] == ["three", "four"]
            assert [name for name in missed if name in ("five", "six")] == ["five", "six"]
            await platform.post("a", "seven")
            await platform.post("b", "eight")
            assert sorted(await again.names(2)) == ["eight", "seven"]
        async with platform.stream("a", last_id=again.last_id) as third:
            await platform.post("a", "nine")
            assert await third.names(1) == ["nine"]

    play(scenario)


def test_a_reader_who_saw_nothing_gets_what_came_since_it_was_there(play: Any) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a")
        await platform.post("a", "before")
        async with platform.stream("a") as stream:
            await stream.frame()
        await platform.post("a", "between")
        async with platform.stream("a", last_id=stream.last_id) as again:
            assert await again.names(1) == ["between"]

    play(scenario)


def test_a_gateway_that_was_restarted_still_knows_what_a_reader_missed(play: Any) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a")
        async with platform.stream("a") as stream:
            await platform.post("a", "one", "two")
            assert await stream.names(2) == ["one", "two"]
            await platform.stop("a")
            with pytest.raises((EOFError, httpx.HTTPError)):
                await stream.names(1)
        await platform.start("a")
        await platform.post("a", "three")
        async with platform.stream("a", last_id=stream.last_id) as again:
            assert await again.names(1) == ["three"]

    play(scenario)


def test_what_a_gateway_has_that_is_away_comes_once_it_is_back_and_holds_nobody_up(play: Any) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a", "b")
        async with platform.stream("b") as stream:
            await platform.post("a", "one")
            assert await stream.names(1) == ["one"]
        await platform.post("a", "two")
        await platform.stop("a")
        await platform.post("b", "three")
        async with platform.stream("b", last_id=stream.last_id) as again:
            assert await again.names(1) == ["three"]
            await platform.post("b", "four")
            assert await again.names(1) == ["four"]
        async with platform.stream("b", last_id=again.last_id) as third:
            await platform.start("a")
            await platform.post("a", "five")
            assert await third.names(2) == ["two", "five"]

    play(scenario)


def test_the_past_of_a_device_is_told_in_the_words_of_the_contract(play: Any, happen: Happen) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a")
        device = f"/v1/products/1000/devices/{DEVICE}/events/spark"
        async with platform.stream("a", device) as stream:
            await stream.frame()
        happen(
            g.DeviceConnected(DEVICE, 1000, "x", 1, 1, FAR, "mqtt/3.1.1", "10.0.0.1:5", False, "c"),
            g.DeviceConnected(STRAY, 1000, "x", 1, 2, FAR, "mqtt/3.1.1", "10.0.0.1:5", False, "c"),
            g.DeviceDisconnected(DEVICE, 1000, "x", 1, 1, "connection_lost", 5, 1, 2, 3, 4),
        )
        async with platform.stream("a", device, last_id=stream.last_id) as again:
            told = [frame for frame in [await again.frame() for _ in range(4)] if frame.event]
            said = [(frame.event, frame.data["data"], frame.data["coreid"]) for frame in told]
            assert said == [("spark/status", "online", DEVICE), ("spark/status", "offline", DEVICE)]

    play(scenario)


def put(log: EventStore, name: str, device_id: str = DEVICE) -> None:
    event = g.DevicePublished(device_id, 1000, name, None, "text", 60, False, FAR, None, None)
    new = CONTRACTS.encode(event, 0, Context.new("system:test", "gateway:a"))
    log.append("log-1000", ANY, [new])


def test_the_past_of_ones_own_devices_begins_with_the_claim(play: Any, happen: Happen) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a")
        async with platform.stream("a", "/v1/devices/events") as stream:
            await stream.frame()
        log = platform.log("a")
        put(log, "secret")
        put(log, "others", STRAY)
        happen(d.DeviceClaimed(DEVICE, 1000, ACCOUNT))
        put(log, "mine")
        log.close()
        await platform.post("a", "said", path="/v1/devices/events")
        async with platform.stream("a", "/v1/devices/events", last_id=stream.last_id) as again:
            assert await again.names(2) == ["mine", "said"]
            await platform.post("a", "end", path="/v1/devices/events")
            assert await again.all_until("end") == []

    play(scenario)


def test_an_organizations_past_is_of_all_its_products_and_of_no_other(play: Any, happen: Happen) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a")
        async with platform.stream("a", "/v1/orgs/acme/events") as stream:
            await stream.frame()
        await platform.post("a", "lamp")
        await platform.post("a", "bell", path="/v1/products/1001/events")
        log = platform.log("a")
        event = g.DevicePublished("9" * 24, 2000, "theirs", None, "text", 60, False, FAR, None, None)
        log.append("log-2000", ANY, [CONTRACTS.encode(event, 0, Context.new("system:test", "gateway:a"))])
        log.close()
        await platform.post("a", "again")
        async with platform.stream("a", "/v1/orgs/acme/events", last_id=stream.last_id) as past:
            assert await past.names(3) == ["lamp", "bell", "again"]

    play(scenario)


def test_where_history_does_not_reach_the_reader_is_told(play: Any) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a")
        async with platform.stream("a") as stream:
            await platform.post("a", "one")
            assert await stream.names(1) == ["one"]
        await platform.post("a", "two", "three", "four")
        log = platform.log("a")
        log.truncate("log-1000", 3)
        log.close()
        async with platform.stream("a", last_id=stream.last_id) as again:
            frames = [await again.frame() for _ in range(4)]
            said = [(frame.event, frame.data["data"], frame.data.get("reason")) for frame in frames if frame.event]
            assert said == [("flotilla/missed", None, "history"), ("four", None, None)]

    play(scenario)


@pytest.mark.parametrize("last_id", ["17", "../../etc/passwd", "%00", "A" * 5_000, ""])
def test_an_id_that_is_none_begins_now(play: Any, last_id: str) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a")
        await platform.post("a", "before")
        async with platform.stream("a", last_id=last_id) as stream:
            await platform.post("a", "after")
            assert await stream.all_until("after") == (["flotilla/missed"] if last_id else [])

    play(scenario)


def test_a_client_that_says_nothing_of_event_streams_gets_no_ids(play: Any) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a")
        async with platform.stream("a", accept="*/*") as stream:
            await platform.post("a", "one")
            frame = await stream.frame()
            assert (frame.event, frame.id) == ("one", None)

    play(scenario)


def test_a_reader_who_missed_much_gets_all_of_it_in_order_while_it_hears_what_is_new(play: Any) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a", "b")
        async with platform.stream("b") as stream:
            await stream.frame()
        log = platform.log("a")
        events = [
            CONTRACTS.encode(
                g.DevicePublished(DEVICE, 1000, f"n{number}", None, "text", 60, False, FAR, None, None),
                0,
                Context.new("system:test", "gateway:a"),
            )
            for number in range(6_000)
        ]
        for first in range(0, 6_000, 1_000):
            log.append("log-1000", ANY, events[first : first + 1_000])
        log.close()
        async with platform.stream("b", last_id=stream.last_id) as again:
            await again.names(10)
            await platform.post("b", "new")
            between = await again.all_until("new")
            assert len(between) < 5_000
            rest = await again.names(5_990 - len(between))
            assert [*between, *rest] == [f"n{number}" for number in range(10, 6_000)]

    play(scenario)


async def logged(platform: Platform, gateway: str, query: str = "") -> list[tuple[list[str], bool]]:
    """The pages of the product's log: the names of the events, and whether something is left out."""
    pages = []
    following: str | None = ""
    async with platform.client(gateway) as client:
        while following is not None:
            before = f"&before={following}" if following else ""
            answer = await client.get(f"/v1/products/1000/logs?limit=2{query}{before}")
            assert answer.status_code == 200, answer.text
            meta = answer.json()["meta"]
            pages.append(([event["name"] for event in answer.json()["events"]], meta["incomplete"]))
            following = meta["next"]
    return pages


def test_the_log_of_a_product_is_that_of_all_gateways_and_says_when_one_is_away(play: Any) -> None:
    async def scenario(platform: Platform) -> None:
        await platform.start("a", "b")
        assert await logged(platform, "a") == [([], False)]
        for number, gateway in enumerate("abbab"):
            await platform.post(gateway, f"n{number}")
        await platform.post("a", "other", path="/v1/products/1001/events")
        whole = [(["n4", "n3"], False), (["n2", "n1"], False), (["n0"], False)]
        assert await logged(platform, "a") == whole
        assert await logged(platform, "b") == whole
        assert await logged(platform, "b", "&name=n3") == [(["n3"], False)]
        assert await logged(platform, "b", f"&deviceId={DEVICE}") == [([], False)]
        await platform.stop("a")
        assert await logged(platform, "b") == [(["n4", "n2"], True), (["n1"], True)]
        await platform.start("a")
        await asyncio.sleep(AWAY_S)
        assert await logged(platform, "b") == whole

    play(scenario)


class Wire:
    """The way to a broker, that can be cut."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._broker = (parts.hostname, parts.port)
        self._login, self._parts = parts.netloc.rpartition("@")[0], parts
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_cut = False

    async def open(self) -> str:
        """The address of the broker over this way."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return urlunsplit(self._parts._replace(netloc=f"{self._login}@127.0.0.1:{port}"))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.close()
            return
        there, here = await asyncio.open_connection(*self._broker)
        self._writers += [writer, here]
        for source, target in ((reader, here), (there, writer)):
            task = asyncio.create_task(self._copy(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
            target.close()

    def cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def mend(self) -> None:
        self._is_cut = False

    async def close(self) -> None:
        self.cut()
        self._server.close()
        await self._server.wait_closed()
        if self._tasks:
            await asyncio.wait(self._tasks)


@pytest.mark.broker
@pytest.mark.parametrize("bus_source", ["amqp"], indirect=True)
def test_what_was_published_while_the_broker_was_away_is_read_from_the_logs(play: Any) -> None:
    async def scenario(platform: Platform) -> None:
        wire = Wire(platform.bus_source)
        platform.stack.push_async_callback(wire.close)
        await platform.start("a")
        await platform.start("b", bus_source=await wire.open())
        async with platform.stream("b") as stream, platform.stream("b", accept="*/*") as plain:
            await platform.post("a", "one")
            assert await stream.names(1) == ["one"]
            assert await plain.names(1) == ["one"]
            wire.cut()
            await platform.post("a", "two", "three")
            async with platform.stream("b", last_id=stream.last_id) as late:
                await platform.post("a", "four")
                wire.mend()
                await platform.post("a", "five")
                assert await stream.names(4) == ["two", "three", "four", "five"]
                assert await late.names(4) == ["two", "three", "four", "five"]
                assert (await plain.names(1))[0] == "flotilla/missed"
                await platform.post("a", "six")
                assert await stream.names(1) == ["six"]
                assert await late.names(1) == ["six"]

    play(scenario)
