from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from services.devices.attempts import ATTEMPTS, GIVEN_UP_AFTER
from services.devices.fleet import FLEET
from services.devices.gateways import GATEWAYS
from services.devices.presence import LOST_UPDATES, MAX_GAP, PAGE, Presence
from shared.context import Context
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported
from shared.events.gateway import (
    DeviceConnected,
    DeviceDisconnected,
    GatewayBeat,
    GatewayLost,
    GatewayStarted,
    GatewayStopped,
    UpdateAdvanced,
    UpdateFailed,
    UpdateInterrupted,
    UpdateStarted,
    UpdateSucceeded,
)
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.open import open_store
from shared.store.port import ANY, Position, StreamNotFound
from tests.prompt import prompt

LEASE_S = 15


class World:
    """A store, the two views, and sweeps at moments that the test chooses."""

    def __init__(self, folder: Path, views_url: str, clock: Any) -> None:
        self.clock = clock
        self.store = prompt(open_store(f"sqlite://{folder}/events.db?durability=normal", clock=clock))
        self.database = Database(views_url, "devices")
        self.projector = Projector(
            "devices", self.store, self.database, [FLEET, GATEWAYS, ATTEMPTS], CONTRACTS, page_events=100
        )
        self.presence = self.new_presence()

    def new_presence(self) -> Presence:
        return Presence(self.store, CONTRACTS, self.database, self.projector, self.clock)

    def record(self, stream: str, *events: object) -> None:
        new = [CONTRACTS.encode(event, 0, Context.new("system:tests", "tests", uuid4())) for event in events]
        self.store.append(stream, ANY, new)

    def started(self, gateway: str = "a", epoch: int = 1) -> None:
        self.record(f"gateway-{gateway}", GatewayStarted(gateway, epoch, LEASE_S))

    def beat(self, gateway: str = "a", epoch: int = 1) -> None:
        self.record(f"beat-{gateway}.{epoch}", GatewayBeat(gateway, epoch))

    def connect(self, count: int, gateway: str = "a", epoch: int = 1) -> None:
        sessions = [session(number, self.clock(), gateway, epoch) for number in range(count)]
        for first in range(0, count, 500):
            self.record(f"connection-{gateway}.{epoch}-1", *sessions[first : first + 500])

    def watch(self, seconds: int) -> int:
        """Sweep every second for so long; how many sessions were ended."""
        ended = 0
        for _ in range(seconds):
            self.clock.go_on(1)
            ended += self.presence.sweep()
        return ended

    def online(self) -> int:
        assert self.projector.wait_for(self.store.head() or Position(0), 5.0)
        fleet = self.database.table(FLEET)
        with self.database.connect() as connection:
            return connection.execute(
                sa.select(sa.func.count()).select_from(fleet).where(fleet.c.online.is_(True))
            ).scalar_one()

    def ends(self, gateway: str = "a", epoch: int = 1) -> list[Any]:
        return [CONTRACTS.decode(event) for event in self.store.read(f"connection-{gateway}.{epoch}-lost")]

    def lost_updates(self) -> list[Any]:
        try:
            return [CONTRACTS.decode(event) for event in self.store.read(LOST_UPDATES)]
        except StreamNotFound:
            return []


def session(number: int, at: datetime, gateway: str, epoch: int) -> DeviceConnected:
    return DeviceConnected(
        f"{number:024x}", None, gateway, epoch, number, at, "mqtt/3.1.1", "10.0.0.7", False, "client"
    )


@pytest.fixture
def world(tmp_path: Path, views_url: str, clock: Any) -> Iterator[World]:
    made = World(tmp_path, views_url, clock)
    made.projector.start()
    yield made
    made.projector.stop()
    made.database.close()
    made.store.close()


def test_a_gateway_that_misses_its_lease_is_given_up_and_its_sessions_end(world: World):  # DEV-7
    world.started()
    world.connect(PAGE + 100)
    assert world.watch(LEASE_S) == 0
    assert world.online() == PAGE + 100
    assert world.watch(2) == PAGE + 100
    assert world.online() == 0
    assert CONTRACTS.decode(world.store.read("gateway-a")[-1]) == GatewayLost("a", 1)
    ends = world.ends()
    assert len(ends) == PAGE + 100
    assert {(end.reason, end.duration_s) for end in ends} == {("gateway_lost", LEASE_S + 1)}


def test_a_gateway_that_beats_keeps_its_sessions(world: World):
    world.started()
    world.connect(3)
    for _ in range(10):
        assert world.watch(LEASE_S // 3) == 0
        world.beat()
    assert world.online() == 3


def test_a_beat_that_the_views_have_not_seen_counts_too(world: World):
    world.started()
    world.connect(1)
    assert world.watch(LEASE_S) == 0
    world.projector.stop()
    world.clock.go_on(2)
    world.beat()
    assert (
        Presence(world.store, CONTRACTS, world.database, Always(), world.clock)._give_up(
            {"gateway": "a", "epoch": 1, "last_beat_at": world.clock() - timedelta(seconds=LEASE_S + 2)}, world.clock()
        )
        is False
    )
    world.projector.start()


class Always:
    """Views that say they have seen everything."""

    def wait_for(self, position: Position | None, timeout_s: float) -> bool:
        return True


def test_sweeping_again_or_by_another_process_makes_no_doubles(world: World):
    world.started()
    world.connect(3)
    other = world.new_presence()
    for _ in range(LEASE_S + 3):
        world.clock.go_on(1)
        world.presence.sweep()
        other.sweep()
    assert world.online() == 0
    assert len(world.ends()) == 3
    assert [event.type for event in world.store.read("gateway-a")] == ["GatewayStarted", "GatewayLost"]


def test_a_newer_epoch_ends_the_sessions_of_older_ones_at_once(world: World):  # DEV-7
    world.started()
    world.connect(5)
    world.started(epoch=2)
    world.clock.go_on(1)
    world.record("connection-a.2-1", session(0, world.clock(), "a", 2))
    assert world.presence.sweep() == 4  # one came back already
    assert world.online() == 1
    assert world.presence.sweep() == 0


def test_a_gateway_that_ended_leaves_no_session_behind(world: World):
    world.started()
    world.connect(2)
    world.record("gateway-a", GatewayStopped("a", 1))
    assert world.presence.sweep() == 2


def test_another_gateway_is_not_touched(world: World):
    world.started("a")
    world.started("b")
    world.connect(2, "b")
    for _ in range(LEASE_S + 2):
        world.beat("b")
        world.watch(1)
    assert world.online() == 2
    assert CONTRACTS.decode(world.store.read("gateway-a")[-1]) == GatewayLost("a", 1)


def test_sessions_of_a_gateway_that_nobody_knows_are_left_alone(world: World):
    world.connect(2, "ghost")
    assert world.watch(LEASE_S + 2) == 0
    assert world.online() == 2


def test_facts_of_an_epoch_that_was_given_up_are_ended_too(world: World):
    world.started()
    world.connect(1)
    assert world.watch(LEASE_S + 1) == 1
    world.record("connection-a.1-1", session(7, world.clock(), "a", 1))
    world.beat()
    assert world.watch(1) == 1
    assert world.online() == 0


@pytest.mark.parametrize("slept", [MAX_GAP + timedelta(seconds=1), timedelta(hours=8), timedelta(seconds=-60)])
def test_after_a_sleep_gateways_get_a_whole_lease_again(world: World, slept: timedelta):
    world.started()
    world.connect(2)
    assert world.watch(5) == 0
    world.clock.now += slept
    assert world.watch(LEASE_S) == 0
    world.beat()
    assert world.watch(LEASE_S) == 0
    assert world.online() == 2


def test_a_service_that_has_just_started_watches_for_a_lease_first(world: World):
    world.started()
    world.connect(1)
    world.clock.go_on(3_600)
    assert world.watch(LEASE_S) == 0
    assert world.watch(2) == 1


def test_nothing_is_judged_by_views_that_are_behind(world: World):
    world.started()
    world.connect(1)
    world.presence.sweep()
    world.projector.stop()
    world.clock.go_on(1)
    world.started(epoch=2)
    behind = Presence(world.store, CONTRACTS, world.database, Behind(), world.clock)
    assert behind.sweep() == 0
    world.projector.start()
    assert world.presence.sweep() == 1


class Behind:
    """Views that never catch up."""

    def wait_for(self, position: Position | None, timeout_s: float) -> bool:
        return False


def test_an_outage_of_the_store_is_no_fault_of_a_gateway(world: World):
    world.started()
    world.connect(1)
    assert world.watch(10) == 0
    store = Broken(world.store)
    world.presence._store = store  # type: ignore[assignment]
    world.clock.go_on(1)
    with pytest.raises(Unavailable):
        world.presence.sweep()
    store.is_broken = False
    assert world.watch(LEASE_S) == 0
    assert world.watch(2) == 1


class Broken:
    """A store that does not answer for a while."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.is_broken = True

    def __getattr__(self, name: str) -> Any:
        if self.is_broken:
            raise Unavailable("no store")
        return getattr(self._store, name)


def test_the_service_ends_older_sessions_when_a_gateway_starts_anew(platform: Any):  # DEV-7
    platform.record("gateway-a", GatewayStarted("a", 1, LEASE_S))
    platform.record("connection-a.1-1", session(1, platform.clock(), "a", 1))
    platform.record("gateway-a", GatewayStarted("a", 2, LEASE_S))
    ended = platform.wait_for_event("connection-a.1-lost", DeviceDisconnected)
    assert CONTRACTS.decode(ended).reason == "gateway_lost"


def test_an_update_under_way_is_interrupted_when_its_gateway_is_lost(world: World):  # FW-7
    world.started()
    now = world.clock()
    member = [
        DeviceConnected(f"{number:024x}", 1000, "a", 1, number, now, "mqtt/3.1.1", "10.0.0.7", False, "client")
        for number in range(3)
    ]
    world.record("connection-a.1-1", *member)
    for number in range(3):
        world.record(f"device-{number:024x}", DeviceImported(f"{number:024x}", 1000, False))
    tried = [f"{number:024x}" for number in range(2)]
    world.record("connection-a.1-1", *(UpdateStarted(device, 1000, 7, 2, "release", 1_000) for device in tried))
    world.record("connection-a.1-1", UpdateAdvanced(tried[0], 1000, 7, 2, "downloading", 40))
    world.record("connection-a.1-1", UpdateAdvanced(tried[1], 1000, 7, 2, "applying", 100))
    assert world.watch(LEASE_S + 2) == 3
    fates = [end for end in world.ends() if isinstance(end, UpdateInterrupted)]
    assert fates == [
        UpdateInterrupted(tried[0], 1000, 7, 2, 40, "release")
    ]  # what is applied may still succeed elsewhere
    assert world.watch(2) == 0


def test_an_update_whose_device_never_came_back_ends_after_all(world: World):  # FW-7
    gone, back, cut = (f"{number:024x}" for number in (1, 2, 3))
    for device_id in (gone, back, cut):
        world.record("device-" + device_id, DeviceImported(device_id, 1000, False))
        world.record(
            "connection-a.1-1",
            UpdateStarted(device_id, 1000, 7, 1, "release", 100),
            UpdateFailed(device_id, 1000, 7, 1, "stalled", "", 1),
            UpdateStarted(device_id, 1000, 7, 2, "release", 100),
            UpdateAdvanced(device_id, 1000, 7, 2, "downloading" if device_id == cut else "applying", 60),
        )
    world.record("connection-b.1-1", UpdateSucceeded(back, 1000, 7, 2))
    world.clock.go_on(GIVEN_UP_AFTER.total_seconds() - 1)
    world.presence.sweep()
    assert not world.lost_updates()
    world.clock.go_on(2)
    for _ in range(3):
        world.presence.sweep()
    assert world.lost_updates() == [
        UpdateFailed(gone, 1000, 7, 2, "did_not_come_back", "", 2, "release"),
        UpdateInterrupted(cut, 1000, 7, 2, 60, "release"),
    ]
