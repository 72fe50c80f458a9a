"""The one table of who may do what: ``resource.verb`` → the least role that it takes. Pure.

Roles, each including those before it: ``anonymous``; ``user``, any account (ACC-3); ``member``, an account of the
organization that owns the thing (ORG-5). Whoever may not is answered as if the thing did not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.errors import Misuse

Role = Literal["anonymous", "user", "member"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; no ``account_id``: anonymous; no ``org_id``: an account without an organization."""

    account_id: str | None = None
    org_id: str | None = None


ANONYMOUS = Caller()

PERMISSIONS: Mapping[str, Role] = {
    "api.read": "anonymous",
    "users.create": "anonymous",
    "users.read": "user",
    "tokens.issue": "anonymous",
    "tokens.revoke": "anonymous",  # knowing the token is the authority (contract 2.3)
    "tokens.read": "user",
    "tokens.revoke_own": "user",
    "orgs.create": "user",
    "orgs.list": "user",
    "orgs.read": "member",
    "products.list": "user",
    "products.create_own": "user",
    "products.create": "member",
    "products.read": "member",
    "devices.read": "member",
    "devices.import": "member",
    "devices.update": "member",
    "devices.remove": "member",
    "devices.issue_tokens": "member",
    "firmware.read": "member",
    "firmware.upload": "member",
    "firmware.release": "member",
    "events.read": "member",
}


def role_for(permission: str) -> Role:
    """The least role that this permission takes. Raises ``Misuse`` for one that is not in the table."""
    try:
        return PERMISSIONS[permission]
    except KeyError:
        raise Misuse(f"{permission!r} is in no table of permissions") from None


def allowed(permission: str, caller: Caller, owner_org: str | None) -> bool:
    """Whether this caller may do it to a thing of ``owner_org``; None for what nobody owns or what does not exist."""
    match role_for(permission):
        case "anonymous":
            return True
        case "user":
            return caller.account_id is not None
        case "member":
            return caller.account_id is not None and owner_org is not None and caller.org_id == owner_org
