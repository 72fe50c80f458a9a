"""View ``audit``: what was commanded from outside of an organization's things, a row a command: who did what to what,
when, from where and under which token. Folded from the events of all services. Pure.

Nothing personal is opened here: people are ids, and a person's address stays sealed, so that forgetting somebody needs
no change of a row (EVT-5). Not in it: what devices and the services themselves do; log-ins, which are in the lists of
tokens; and what is published, which is in the log with its own end (LOG-1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from shared.events import customers, devices, firmware, groups, oauth, orgs, rollouts, transfers
from shared.events.fields import Event
from shared.events.gateway import FlashAsked, FunctionCalled
from shared.events.metadata import Metadata, metadata
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded

MAX_KINDS = 8
"""Different events of a command that are named."""
MAX_THINGS = 10
"""Things of a command that are named; ``events`` counts all."""
LEFT_OUT: frozenset[type[Event]] = frozenset(
    {
        orgs.NameReserved,  # one half of what another event says
        orgs.OrganizationFounded,
        orgs.TokenIssued,
        orgs.TokenRevoked,
        oauth.AuthorizationGranted,
        oauth.AuthorizationUsed,
        oauth.AuthorizationReplayed,
        rollouts.RolloutTurnsGiven,  # the platform's, never a person's
        rollouts.RolloutTurnsEnded,
    }
)
_NESTED = frozenset(
    {
        devices.ImportProblem,
        firmware.ModuleDependency,
        firmware.ReadModule,
        rollouts.RolloutStage,
        rollouts.RolloutWindow,
        rollouts.RolloutGates,
    }
)
_OUTSIDE = ("account:", "customer:", "client:", "anonymous")
_THINGS: Mapping[str, str] = {
    "device_id": "device",
    "import_id": "import",
    "rollout_id": "roll-out",
    "key_id": "signing key",
    "client_id": "client",
    "customer_id": "customer",
    "authority_id": "authority",
    "account_id": "account",
    "invitation_id": "invitation",
    "invitee_id": "invitee",
    "version": "version",
    "product_id": "product",
    "org_id": "organization",
}
"""Fields that say what an event is about, and of what kind that is; the first that an event has counts."""


def _events() -> tuple[type[Event], ...]:
    found = {
        kind
        for module in (orgs, customers, oauth, transfers, devices, groups, firmware, rollouts)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind.__module__ == module.__name__
    }
    return (*sorted(found - LEFT_OUT - _NESTED, key=lambda kind: kind.__name__), FlashAsked, FunctionCalled)


def whose(event: Any, meta: Metadata) -> tuple[str | None, int | None]:
    """The organization and product whose team may see it; no organization: nobody's."""
    org_id, _, number = (meta.about or "").partition("/")
    product_id: int | None = getattr(event, "product_id", None)
    if product_id is None and number.isdecimal():
        product_id = int(number)
    return org_id or getattr(event, "org_id", None), product_id


def keys(event: Any, recorded: Recorded) -> Iterable[Key]:
    """The command, if somebody outside gave it, and it is some organization's."""
    meta = metadata(recorded)
    is_commanded = meta.actor.startswith(_OUTSIDE) and whose(event, meta)[0] is not None
    return ((meta.correlation,),) if is_commanded else ()


def thing(event: Any) -> str:
    """What the event is about: its kind and id."""
    if type(event).__module__ == groups.__name__:
        return f"group {event.name}"
    for name, kind in _THINGS.items():
        found = getattr(event, name, None)
        if found is not None:
            return f"{kind} {found}"
    return ""


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The command after one more of its events."""
    meta, kind, about = metadata(recorded), type(event).__name__, thing(event)
    org_id, product_id = whose(event, meta)
    if row is None:
        return {
            "command": meta.correlation,
            "org_id": org_id,
            "product_id": product_id,
            "at": recorded.at,
            "position": recorded.position,
            "actor": meta.actor,
            "token": meta.token,
            "address": meta.address,
            "what": [kind],
            "things": [about] if about else [],
            "events": 1,
        }
    what, things = row["what"], row["things"]
    return {
        **row,
        "product_id": product_id if row["product_id"] is None else row["product_id"],
        "what": what if kind in what or len(what) >= MAX_KINDS else [*what, kind],
        "things": things if not about or about in things or len(things) >= MAX_THINGS else [*things, about],
        "events": row["events"] + 1,
    }


AUDIT = View(
    name="audit",
    version=3,
    key=("command",),
    columns={
        "command": str,
        "org_id": str,
        "product_id": int,
        "at": datetime,
        "position": int,
        "actor": str,
        "token": str,
        "address": str,
        "what": list,
        "things": list,
        "events": int,
    },
    events=_events(),
    keys=keys,
    fold=fold,
    indexes=(("org_id", "at", "position"), ("product_id", "at", "position")),
    by_envelope=True,
)
