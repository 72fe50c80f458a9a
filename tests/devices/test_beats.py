"""A gateway's old beats are forgotten, and a rebuild from zero gives the same view (EVT-2, DEV-7)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.devices.gateways import GATEWAYS
from services.gateway.life import Life
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.open import open_store
from shared.store.port import EventStore


def beats_left(store: EventStore) -> int:
    return sum(event.type == "GatewayBeat" for event in store.read_all(limit=10_000).events)


async def live(store: EventStore, beats: int) -> None:
    life = Life(store, "a", 60, kept_beats=16)
    await life.start()
    for _ in range(beats):
        await asyncio.to_thread(life._beat)
    await life.stop()


def test_a_view_rebuilt_after_beats_were_forgotten_is_the_same_to_the_byte(tmp_path: Path, views_url: str) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'events.db'}?durability=normal")
    database = Database(views_url, "devices")
    projector = Projector("devices", store, database, [GATEWAYS], CONTRACTS)
    for beats in (50, 3, 0, 40):
        asyncio.run(live(store, beats))
        projector.catch_up()
        before = database.digest(GATEWAYS)
        projector.rebuild("gateways")
        assert database.digest(GATEWAYS) == before
    assert beats_left(store) <= 2 + 18  # one of each earlier epoch that had any, and what is kept of the last
    database.close()
    store.close()
