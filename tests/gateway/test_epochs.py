from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.gateway import epochs
from services.gateway.directory import OnChange
from services.gateway.epochs import Epochs, Port
from services.gateway.facts import Facts
from services.gateway.life import Life
from shared.context import Context
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.gateway import DeviceDisconnected, GatewayBeat, GatewayLost, GatewayStarted, GatewayStopped
from shared.store.port import ANY, EventStore

Events = Callable[[str], list[object]]
DEVICE = "a" * 24
DISCONNECTED = DeviceDisconnected(DEVICE, 1000, "a", 1, 1, "draining", 1, 1, 1, 1, 1)


@dataclass
class FakeListener:
    """Has one session, whose end it records when it is drained."""

    epoch: int
    facts: Facts
    log: list[str]
    refuse: list[Exception] = field(default_factory=list)
    draining: float = 0.0

    @property
    def sessions(self) -> Any:
        return self

    def directory_changed(self, device_ids: frozenset[str], product_ids: frozenset[int]) -> None:
        self.log.append(f"changed in {self.epoch}")

    async def start(self, host: str, port: Port) -> int:
        self.log.append(f"start {self.epoch} on {port.number}")
        if self.refuse:
            raise self.refuse.pop()
        return 40_000

    async def drain(self, seconds: float) -> None:
        self.log.append(f"drain {self.epoch} in {seconds:g}")
        await asyncio.sleep(self.draining)
        self.facts.record(DISCONNECTED, actor="system:test")

    async def stop(self) -> None:
        self.log.append(f"stop {self.epoch}")

    def status(self) -> dict[str, Any]:
        return {"sessions": 1}


class Gateway:
    """The device side of a gateway over a fake listener."""

    def __init__(self, store: EventStore) -> None:
        self.log: list[str] = []
        self.refuse: list[Exception] = []
        self.draining = 0.0
        self.callbacks: list[OnChange] = []
        self.epochs = Epochs(
            store,
            "a",
            1,
            self._listen,
            self._on_change,
            host="127.0.0.1",
            ports=[Port("mqtt", 0)],
            drain_s=3,
            on_superseded=self._give_up_the_name,
        )

    def _listen(self, life: Life, facts: Facts) -> FakeListener:
        return FakeListener(life.epoch, facts, self.log, self.refuse, self.draining)

    async def _give_up_the_name(self) -> None:
        self.log.append("name given up")

    def _on_change(self, callback: OnChange) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def append(store: EventStore, event: object) -> None:
    store.append("gateway-a", ANY, [CONTRACTS.encode(event, 0, Context.new("system:devices", "test"))])


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_a_gateway_that_stops_closes_its_sessions_before_it_ends_its_epoch(
    store: EventStore, events_of: Events
) -> None:
    async def scenario() -> None:
        gateway = Gateway(store)
        await gateway.epochs.start()
        assert gateway.epochs.ports == [40_000]
        status = gateway.epochs.status()
        assert (status["ok"], status["epoch"], status["devices"]) == (True, 1, {"sessions": 1})
        for callback in gateway.callbacks:
            callback(frozenset({DEVICE}), frozenset())
        await gateway.epochs.stop()
        await gateway.epochs.stop()
        assert gateway.log == ["start 1 on 0", "changed in 1", "drain 1 in 3", "stop 1"]
        assert gateway.callbacks == []
        assert gateway.epochs.ports == [-1]
        assert not gateway.epochs.status()["ok"]

    run(scenario)
    written = [recorded.type for recorded in store.read_all().events]
    assert written == ["GatewayStarted", "DeviceDisconnected", "GatewayStopped"]


def test_draining_may_take_longer_than_other_things_may_take_to_end(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "END_S", 0.5)

    async def scenario() -> None:
        gateway = Gateway(store)
        gateway.draining = 0.7  # of the 3 s that it may take
        await gateway.epochs.start()
        await gateway.epochs.stop()

    run(scenario)
    written = [recorded.type for recorded in store.read_all().events if recorded.type != "GatewayBeat"]
    assert written == ["GatewayStarted", "DeviceDisconnected", "GatewayStopped"]


def test_a_gateway_that_was_given_up_closes_its_sessions_and_begins_another_epoch(
    store: EventStore, events_of: Events
) -> None:
    async def scenario() -> None:
        gateway = Gateway(store)
        await gateway.epochs.start()
        append(store, GatewayLost("a", 1))
        await until(lambda: "start 2 on 40000" in gateway.log and gateway.epochs.status()["ok"])
        assert gateway.log == ["start 1 on 0", "drain 1 in 0", "stop 1", "start 2 on 40000"]
        assert len(gateway.callbacks) == 1
        await gateway.epochs.stop()

    run(scenario)
    life = [event for event in events_of("gateway-a") if not isinstance(event, GatewayBeat)]
    assert life == [GatewayStarted("a", 1, 1), GatewayLost("a", 1), GatewayStarted("a", 2, 1), GatewayStopped("a", 2)]


def test_a_new_epoch_is_begun_however_often_it_takes(store: EventStore) -> None:
    async def scenario() -> None:
        gateway = Gateway(store)
        await gateway.epochs.start()
        gateway.refuse.append(OSError("the port is still in use"))
        append(store, GatewayLost("a", 1))
        await until(lambda: gateway.epochs.status()["ok"] and gateway.epochs.status()["epoch"] == 3)
        await gateway.epochs.stop()

    run(scenario)


def test_a_gateway_whose_name_another_process_took_serves_no_devices_any_more(
    store: EventStore, events_of: Events
) -> None:
    async def scenario() -> None:
        gateway = Gateway(store)
        await gateway.epochs.start()
        append(store, GatewayStarted("a", 2, 15))
        await until(lambda: gateway.log[-1] == "name given up")
        assert "stop 1" in gateway.log
        assert gateway.epochs.status() == {"ok": False, "state": "superseded", "beating": False}
        await gateway.epochs.stop()

    run(scenario)
    assert events_of("gateway-a")[-1] == GatewayStarted("a", 2, 15)


@pytest.mark.parametrize("error", [OSError("in use"), Unavailable("away")])
def test_a_gateway_that_cannot_listen_does_not_start_and_leaves_no_epoch_behind(
    store: EventStore, events_of: Events, error: Exception
) -> None:
    async def scenario() -> None:
        gateway = Gateway(store)
        gateway.refuse.append(error)
        with pytest.raises(type(error)):
            await gateway.epochs.start()
        await gateway.epochs.stop()

    run(scenario)
    assert events_of("gateway-a") == [GatewayStarted("a", 1, 1), GatewayStopped("a", 1)]
