"""The model of ``test_model.py`` beside the EventStoreDB adapter."""

from __future__ import annotations

from pathlib import Path

from shared.store.port import EventStore
from tests.shared.store import test_model
from tests.standins.eventstoredb import servers


class Store(test_model.Store):
    def opened(self) -> EventStore:
        return servers.server().open(Path(self.folder.name))


Store.TestCase.settings = test_model.Store.TestCase.settings
TestEsdb = Store.TestCase
