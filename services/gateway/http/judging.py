"""Whether a caller may, by the table of permissions and by whether the organization's subscription is paid (BIL-7)."""

from __future__ import annotations

from dataclasses import replace

from services.gateway.http.errors import forbidden
from services.gateway.http.ports import Directory
from shared.auth.permissions import Caller, Outcome, Thing, judge
from shared.errors import NotFound, Refused

INACTIVE = (
    "The organization's subscription is inactive; re-activate it to go on. Devices and customers are not affected."
)


def outcome(directory: Directory, permission: str, caller: Caller, thing: Thing) -> Outcome:
    """What the table says, of an organization as this gateway knows it now."""
    org = None if thing.org_id is None else directory.org(thing.org_id)
    return judge(permission, caller, thing if org is None else replace(thing, inactive=org.inactive))


def insist(outcome: Outcome, permission: str, missing: NotFound | Refused) -> None:
    """Raises ``Refused`` for what the caller may see and not do, ``subscription_inactive`` for what it may do once that
    is paid again, and ``missing`` for what it may not see."""
    match outcome:
        case "hidden":
            raise missing
        case "forbidden":
            raise forbidden(permission)
        case "closed":
            raise Refused("subscription_inactive", INACTIVE)
