"""How much room things take on SQLite: bytes of each event in the store, of each device in the views and in a gateway's
directory, of each published event in the log. ``python -m tests.benchmarks.sizes``; the numbers of docs/operations.md.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.views import projectors
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported, DeviceTokenReplaced
from shared.events.gateway import (
    DeviceConnected,
    DeviceDisconnected,
    DevicePublished,
    FirmwareReported,
    GatewayBeat,
    UpdateAdvanced,
)
from shared.ids import digest
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY, NO_STREAM, Append, EventStore

DEVICES = int(os.environ.get("DEVICES", "20000"))
PAGE = 500
PRODUCT = 1000
NOW = datetime(2030, 1, 1, tzinfo=UTC)
TELEMETRY = json.dumps({"temperature": 21.5, "humidity": 40})

Make = Callable[[int, str], object]


def size_bytes(*paths: Path) -> int:
    """The size of SQLite files, with all that is still in their logs."""
    for path in paths:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(path.stat().st_size for path in paths)


def append(store: EventStore, stream: str, ids: list[str], make: Make) -> None:
    """One event a device, in batches as a gateway writes them."""
    for first in range(0, len(ids), PAGE):
        page = list(enumerate(ids[first : first + PAGE], first))
        contexts = [Context.new(f"device:{device_id}", "gateway:a") for _, device_id in page]
        new = [CONTRACTS.encode(make(n, one), 0, context) for (n, one), context in zip(page, contexts, strict=True)]
        store.append(stream, ANY, new)


def import_all(store: EventStore, ids: list[str]) -> None:
    """Each device in a stream of its own, with a token."""
    for first in range(0, len(ids), PAGE):
        appends = []
        for device_id in ids[first : first + PAGE]:
            stream, context = f"device-{device_id}", Context.new("account:0123456789ab", "devices")
            events = [
                DeviceImported(device_id, PRODUCT, False),
                DeviceTokenReplaced(device_id, PRODUCT, digest(device_id)),
            ]
            new = [CONTRACTS.encode(event, n, context, stream=stream) for n, event in enumerate(events)]
            appends.append(Append(stream, NO_STREAM, new))
        store.append_many(appends)


FACTS: dict[str, Make] = {
    "DeviceConnected": lambda n, one: DeviceConnected(
        one, PRODUCT, "a", 1, n, NOW, "mqtt/3.1.1", "203.0.113.77", True, one
    ),
    "FirmwareReported": lambda n, one: FirmwareReported(one, PRODUCT, PRODUCT, 7, "1000", "7", "a", 1, n),
    "UpdateAdvanced": lambda n, one: UpdateAdvanced(one, PRODUCT, 7, 1, "downloading", 50),
    "DeviceDisconnected": lambda n, one: DeviceDisconnected(
        one, PRODUCT, "a", 1, n, "connection_lost", 3600, 12_345, 2_345, 120, 60
    ),
    "GatewayBeat": lambda n, one: GatewayBeat("a", 1),
}


def published(_number: int, device_id: str) -> DevicePublished:
    """Telemetry of two values."""
    return DevicePublished(device_id, PRODUCT, "telemetry", TELEMETRY, "text", 60, False, NOW, None, 7)


def main() -> None:
    """Fill a folder and measure."""
    table = Table(title=f"{DEVICES} devices on SQLite")
    table.add_column("what")
    table.add_column("bytes each", justify="right")
    ids = [os.urandom(12).hex() for _ in range(DEVICES)]
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load({}, data=Path(folder))
        path = Path(folder) / "events.db"
        store = open_store(f"{settings.store}?durability=normal")
        before = size_bytes(path)

        def measured(what: str) -> None:
            nonlocal before
            after = size_bytes(path)
            table.add_row(what, f"{(after - before) / DEVICES:.0f}")
            before = after

        import_all(store, ids)
        measured("device: imported, with a token (2 events, a stream)")
        for name, make in FACTS.items():
            append(store, "connection-a.1-2030010100", ids, make)
            measured(f"event {name}")
        gateway = Path(folder) / "gateway-a"
        gateway.mkdir()
        with projectors(settings) as found:
            for projector in found.values():
                projector.catch_up()
        views = sorted((Path(folder) / "views").glob("*.db"))
        table.add_row("device in the views of all services", f"{size_bytes(*views) / DEVICES:.0f}")
        table.add_row("device in the directory of a gateway", f"{size_bytes(gateway / 'directory.db') / DEVICES:.0f}")
        log = open_store(f"{settings.log}?durability=normal")
        append(log, f"log-{PRODUCT}", ids, published)
        table.add_row("published event in the log", f"{size_bytes(gateway / 'log.db') / DEVICES:.0f}")
        log.close()
        store.close()
    Console().print(table)


if __name__ == "__main__":
    main()
