"""All views of an installation and where their tables are, for tools that look from outside.

A view is named as its service has it, ``fleet``, or with the service or gateway before it, ``devices/products``, which
several of one name need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager

from services.billing.views import VIEWS as BILLING
from services.devices.bootstrap import VIEWS as DEVICES
from services.firmware.bootstrap import VIEWS as FIRMWARE
from services.gateway.directory_views import VIEWS as DIRECTORY
from services.hooks.hook_views import VIEWS as HOOKS
from services.orgs.views import VIEWS as ORGS
from shared.errors import NotFound, Refused
from shared.people.open import open_contracts
from shared.projections.database import Database
from shared.projections.history import open_history
from shared.projections.projector import Projector
from shared.projections.view import View
from shared.settings import Settings
from shared.store.open import open_existing

SERVICE_VIEWS: Mapping[str, Sequence[View]] = {
    "orgs": ORGS,
    "billing": BILLING,
    "devices": DEVICES,
    "firmware": FIRMWARE,
    "hooks": HOOKS,
}


@contextmanager
def projectors(settings: Settings) -> Iterator[dict[str, Projector]]:
    """A projector, not started, for each service and each gateway directory of this data folder."""
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_existing(settings.store)))
        history = stack.enter_context(closing(open_history(settings.mirror, store, alone=True)))
        contracts = stack.enter_context(open_contracts(settings.keys, store))
        found: dict[str, Projector] = {}
        for service, views in SERVICE_VIEWS.items():
            database = stack.enter_context(closing(Database(settings.db, service)))
            found[service] = _looking(Projector(service, store, database, views, contracts, history=history))
        for folder in sorted(settings.data.glob("gateway-*")):
            database = stack.enter_context(closing(Database(f"sqlite:///{folder}", "directory")))
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


def _looking(projector: Projector) -> Projector:
    projector.look()
    return projector
