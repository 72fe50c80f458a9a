"""Services and gateways that build their views anew, and their past, read the mirror that FLOTILLA_MIRROR names."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deploy.composition import embedded
from deploy.views import projectors
from shared.bus.calls import blocking_client
from shared.bus.local import LocalTransport
from shared.context import Context
from shared.errors import Refused
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported, DeviceLocked
from shared.events.gateway import FirmwareReported
from shared.events.orgs import ProductCreated
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY

DEVICES = 12
VIEWS = {
    "views/orgs.db": ("products", 1),
    "views/devices.db": ("fleet", DEVICES),
    "views/firmware.db": ("runs", 1),
    "gateway-a/directory.db": ("devices", DEVICES),
}
PRODUCT = ProductCreated(1000, "b" * 24, "acme", "Lamp", "lamp", "", "mqtt", 65535, "Consumer", "")
IMPORTED = [DeviceImported(f"{number:024x}", 1000, False) for number in range(DEVICES)]
REPORTED = FirmwareReported(IMPORTED[0].device_id, 1000, 1000, 3, "", "", "a", 1, 1)
LAST = DeviceLocked(IMPORTED[0].device_id, 1000, 4, False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation whose views are of an older release, and whose store alone could not give what was there."""
    data, mirror = tmp_path / "data", tmp_path / "mirror.db"
    (data / "gateway-a").mkdir(parents=True)
    found = Settings.load(
        {"FLOTILLA_PAYMENTS": "off:"},
        data=data,
        http_port=0,
        mqtt_port=0,
        particle_tcp_port=0,
        particle_udp_port=0,
        mirror=f"sqlite://{mirror}",
    )
    with closing(open_store(found.store)) as store:
        for number, event in enumerate([PRODUCT, *IMPORTED, REPORTED, LAST]):
            new = CONTRACTS.encode(event, 0, Context.new("account:ada", "test"))
            store.append(f"stream-{number}", ANY, [new])
    shutil.copy(data / "events.db", mirror)
    with projectors(found) as all_of_them:
        for projector in all_of_them.values():
            projector.catch_up()
    _by_hand(data / "events.db", "DELETE FROM events WHERE pos < (SELECT max(pos) FROM events)")
    for file in VIEWS:
        _by_hand(data / file, "UPDATE checkpoints SET version = 0 WHERE name LIKE 'view/%'")
    return found


def _by_hand(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(sql).rowcount > 0
        connection.commit()


def _rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        [count] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


@pytest.fixture
def bus(settings: Settings) -> Iterator[LocalTransport]:
    runtime, _ = embedded(settings)
    runtime.start()
    [transport] = [part for part in runtime.parts if isinstance(part, LocalTransport)]
    yield transport
    runtime.stop()


def test_views_of_an_older_release_are_built_anew_from_the_mirror(settings: Settings, bus: LocalTransport) -> None:
    assert {file: _rows(settings.data / file, table) for file, (table, _) in VIEWS.items()} == {
        file: rows for file, (_, rows) in VIEWS.items()
    }


def test_the_past_is_built_from_the_mirror(bus: LocalTransport) -> None:
    client: Any = blocking_client(bus, {}, 10.0)
    deadline = time.monotonic() + 20
    while "building" in (answer := client.devices.statistics(product_id=1000, as_of="6")):
        assert time.monotonic() < deadline
    assert answer["as_of"]["position"] == 6
    assert client.devices.list_devices(product_id=1000, as_of="6")["meta"]["total"] == 5


def test_a_platform_does_not_start_with_a_mirror_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "mirror.db").unlink()
    with pytest.raises(Refused, match="FLOTILLA_MIRROR"):
        embedded(settings)
