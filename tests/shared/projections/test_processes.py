"""Several processes run the same projection while events come, and one after the other is killed (EVT-2)."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.context import SpawnProcess
from pathlib import Path

import sqlalchemy as sa

from services.devices.fleet import FLEET
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceDescribed, DeviceImported
from shared.events.gateway import DeviceConnected, DeviceDisconnected, FirmwareReported
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.open import open_store
from shared.store.port import EventStore, Position
from tests.shared.projections.fleet import NOW, Log, device, wait_until

PROCESSES = 3
KILLS = 3
DEVICES = 400
AT_A_TIME = 20
_spawn = multiprocessing.get_context("spawn")


def _project(store_url: str, views_url: str, page_events: int) -> None:
    """Until it is killed."""
    database = Database(views_url, "fleet")
    projector = Projector("fleet", open_store(store_url), database, [FLEET], CONTRACTS, page_events=page_events)
    projector.start()
    while True:
        time.sleep(60)


def _told(number: int, session: int) -> list[object]:
    name, here = device(number), ("a", 1, session)
    connected = DeviceConnected(name, 1000, *here, NOW, "mqtt/3.1.1", "10.0.0.7:1883", True, "c")
    left = DeviceDisconnected(name, 1000, *here, "keepalive", 1, 2, 3, 4, 5)
    return [
        DeviceImported(name, 1000 + number % 2, False),
        DeviceDescribed(name, 1000, f"device {session}", ""),
        connected,
        FirmwareReported(name, 1000, 1000, session % 7, "kettle", "", *here),
        *([left] if session % 3 else []),
    ]


def _append(log: Log, dice: random.Random) -> None:
    numbers = [dice.randrange(DEVICES) for _ in range(AT_A_TIME)]
    log.add(*(event for number in numbers for event in _told(number, dice.randrange(1_000))))


def _position(database: Database) -> Position | None:
    return database.checkpoints().load("view/fleet")


def _killed_in_turn(
    log: Log, database: Database, processes: list[SpawnProcess], start: object, dice: random.Random
) -> None:
    assert callable(start)
    for _ in range(KILLS):
        reached = _position(database) or 0
        for _ in range(dice.randrange(3, 9)):
            _append(log, dice)
            time.sleep(dice.random() * 0.02)  # not for luck: where the kill falls is to be random
        assert wait_until(lambda: (_position(database) or 0) > reached)  # noqa: B023 - called at once
        victim = processes.pop(dice.randrange(len(processes)))
        victim.kill()
        victim.join(20)
        processes.append(start(dice.choice([3, 50, 1_000])))


def test_killed_processes_neither_lose_nor_repeat_an_event(tmp_path: Path, store: EventStore, views_url: str) -> None:
    log, dice = Log(store), random.Random()
    store_url = f"sqlite://{tmp_path}/events.db?durability=normal"
    database, fresh = Database(views_url, "fleet"), Database(views_url, "fresh")
    database.prepare([FLEET])
    processes: list[SpawnProcess] = []

    def start(page_events: int) -> SpawnProcess:
        process = _spawn.Process(target=_project, args=(store_url, views_url, page_events))
        process.start()
        return process

    try:
        processes += [start(page_events) for page_events in (3, 50, 1_000)][:PROCESSES]
        _append(log, dice)
        _killed_in_turn(log, database, processes, start, dice)
        head = log.store.head()
        assert wait_until(lambda: _position(database) == head)
    finally:
        for process in processes:
            process.kill()
            process.join(20)
    Projector("fresh", store, fresh, [FLEET], CONTRACTS).catch_up()
    assert database.digest(FLEET) == fresh.digest(FLEET)
    with database.connect() as connection:
        rows = [dict(row) for row in connection.execute(sa.select(database.table(FLEET))).mappings()]
        counted = {(scope, item): n for scope, item, n in connection.execute(sa.select(database.counts(FLEET)))}
    scanned: dict[tuple[str, str], int] = {}
    for row in rows:
        for counter in FLEET.tally(row):
            scanned[counter] = scanned.get(counter, 0) + 1
    assert counted == scanned
    database.close()
    fresh.close()
