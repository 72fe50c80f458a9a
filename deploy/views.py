"""All views of an installation and where their tables are, for tools that look from outside.

A view is named as its service has it, ``fleet``, or with the service or gateway before it, ``devices/products``, which
several of one name need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from services.devices.bootstrap import VIEWS as DEVICES
from services.firmware.bootstrap import VIEWS as FIRMWARE
from services.gateway.directory_views import VIEWS as DIRECTORY
from services.orgs.views import VIEWS as ORGS
from shared.errors import NotFound, Refused
from shared.people.open import open_contracts
from shared.projections.database import Database
from shared.projections.history import History, Mirrored
from shared.projections.projector import Projector
from shared.projections.view import View
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import EventStore

SERVICE_VIEWS: Mapping[str, Sequence[View]] = {"orgs": ORGS, "devices": DEVICES, "firmware": FIRMWARE}


@contextmanager
def projectors(settings: Settings) -> Iterator[dict[str, Projector]]:
    """A projector, not started, for each service and each gateway directory of this data folder."""
    with ExitStack() as stack:
        store = open_store(settings.store)
        stack.callback(store.close)
        history = stack.enter_context(replayed(settings, store))
        contracts = stack.enter_context(open_contracts(settings.keys, store))
        found: dict[str, Projector] = {}
        for service, views in SERVICE_VIEWS.items():
            database = Database(settings.db, service)
            stack.callback(database.close)
            found[service] = _looking(Projector(service, store, database, views, contracts, history=history))
        for folder in sorted(settings.data.glob("gateway-*")):
            database = Database(f"sqlite:///{folder}", "directory")
            stack.callback(database.close)
            found[folder.name] = _looking(
                Projector(folder.name, store, database, DIRECTORY, contracts, history=history)
            )
        yield found


def find_view(found: Mapping[str, Projector], name: str) -> tuple[Projector, str]:
    """Who has the view of this name, and its name there. Raises ``NotFound``, and ``Refused("ambiguous_view")`` for one
    that several have."""
    named = [(owner, view.name) for owner, projector in found.items() for view in projector.status()]
    fitting = [pair for pair in named if name in (pair[1], "/".join(pair))]
    if not fitting:
        raise NotFound(f"there is no view {name!r}; `flotilla projections status` lists them")
    if len(fitting) > 1:
        choice = ", ".join("/".join(pair) for pair in fitting)
        raise Refused("ambiguous_view", f"several have a view {name!r}: say which of {choice}")
    [(owner, view)] = fitting
    return found[owner], view


@contextmanager
def replayed(settings: Settings, store: EventStore) -> Iterator[History]:
    """What replays read. Raises ``Refused`` for a mirror that is not there, or is not one of this store."""
    if not settings.mirror:
        yield store
        return
    path = Path("/" + settings.mirror.partition("?")[0].removeprefix("sqlite://").lstrip("/"))
    if not settings.mirror.startswith("sqlite:") or not path.is_file():
        reason = f"FLOTILLA_MIRROR is {settings.mirror!r}, and no such file is there; `flotilla events mirror` makes it"
        raise Refused("bad_setting", reason)
    mirror = open_store(settings.mirror)
    try:
        yield Mirrored(mirror, store)
    finally:
        mirror.close()


def _looking(projector: Projector) -> Projector:
    projector.look()
    return projector
