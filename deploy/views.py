"""All views of an installation and where their tables are, for tools that look from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from services.devices.bootstrap import VIEWS as DEVICES
from services.firmware.bootstrap import VIEWS as FIRMWARE
from services.gateway.directory_views import VIEWS as DIRECTORY
from services.orgs.views import VIEWS as ORGS
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.projections.view import View
from shared.settings import Settings
from shared.store.open import open_store

SERVICE_VIEWS: Mapping[str, Sequence[View]] = {"orgs": ORGS, "devices": DEVICES, "firmware": FIRMWARE}


@contextmanager
def projectors(settings: Settings) -> Iterator[dict[str, Projector]]:
    """A projector, not started, for each service and each gateway directory of this data folder."""
    with ExitStack() as stack:
        store = open_store(settings.store)
        stack.callback(store.close)
        found: dict[str, Projector] = {}
        for service, views in SERVICE_VIEWS.items():
            database = Database(settings.db, service)
            stack.callback(database.close)
            found[service] = _looking(Projector(service, store, database, views, CONTRACTS))
        for folder in sorted(settings.data.glob("gateway-*")):
            database = Database(f"sqlite:///{folder}", "directory")
            stack.callback(database.close)
            found[folder.name] = _looking(Projector(folder.name, store, database, DIRECTORY, CONTRACTS))
        yield found


def _looking(projector: Projector) -> Projector:
    projector.look()
    return projector
