"""What comes in and goes out about many devices at once."""

from __future__ import annotations

import marshmallow as ma

from services.gateway.http.fields import NULL, Document, Flag, Line, Request, flag, list_of, of, string, whole
from shared.bounded_list import BoundedList

ACTIONS = ("approve", "deny", "forgive", "change", "group", "remove")
OUTCOMES = ("done", "unchanged", "refused")
_MOST_NAMES = 100


class DevicesAction(Request):
    """``approve`` (with ``force``), ``deny`` and ``forgive`` are for devices in quarantine; ``change`` needs
    ``development`` or ``notes``, ``group`` needs ``add`` or ``remove``."""

    action = Line(16, required=True, metadata={"description": ", ".join(ACTIONS)})
    devices = BoundedList(Line(64, 1), 1_000, 1, required=True)
    force = Flag(metadata={"description": "what is approved counts as the product's whatever it reports"})
    development = Flag()
    notes = Line(4_000)
    add = BoundedList(Line(64, 1), _MOST_NAMES)
    remove = BoundedList(Line(64, 1), _MOST_NAMES)

    @ma.validates("action")
    def known_action(self, value: str, **kwargs: object) -> None:
        if value not in ACTIONS:
            raise ma.ValidationError(f"Must be one of {', '.join(ACTIONS)}.")


class Outcome(Document):
    id = string()
    outcome = string(validate=ma.validate.OneOf(OUTCOMES))
    code = string(**NULL)
    reason = string(**NULL)


class Outcomes(Document):
    ok = flag()
    done = whole()
    unchanged = whole()
    refused = whole()
    outcomes = list_of(of(Outcome))
