"""The one table of who may do what: ``resource.verb`` to whom it is open; and ``judge``, the one function that asks it.
Pure.

Open to              means
===================  ===============================================================================================
``anonymous``        everybody
``holder``           whoever has a token that works, OAuth clients too
``person``           any account or customer (ACC-3, CUS-5)
``user``             any account
``customer``         customers of the product
``readonly`` …       the team of the organization that the thing belongs to, each role including those before it:
``support``          ``readonly`` looks, ``support`` deals with devices and customers, ``developer`` with firmware and
``developer``        products, ``administrator`` with everything, which is what members are unless it was said
``administrator``    otherwise (ORG-5); ``owner`` may the same
===================  ===============================================================================================

``keeper``: also whoever has claimed the device; without ``customers``, not a company's customer. ``people``: not for
OAuth clients, which otherwise may in their product what an administrator may. ``while_inactive``: the team may it
although the subscription is inactive, which closes everything else to it, and nothing to customers and keepers (BIL-7).
Whoever may not even see the thing is answered as if it did not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.errors import Misuse
from shared.events.orgs import Role

Open = Literal["anonymous", "holder", "person", "user", "customer", "readonly", "support", "developer", "administrator"]
Outcome = Literal["yes", "forbidden", "hidden", "closed"]
"""``forbidden``: may see it, but not do this; ``hidden``: it does not exist for this caller; ``closed``: may do it once
the subscription is active again."""

RANKS: Mapping[str, int] = {"readonly": 1, "support": 2, "developer": 3, "administrator": 4, "owner": 4}
OF_NOTHING: Mapping[str, tuple[str, ...]] = {
    "holder": ("account", "customer", "client"),
    "person": ("account", "customer"),
    "user": ("account",),
}
"""Who may what is about no thing but themselves."""
ONLY_CUSTOMERS = "customers:create"
"""The scope of a client that may create customers and nothing else (contract 4)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table."""

    to: Open
    keeper: bool = False
    people: bool = False
    customers: bool = True
    while_inactive: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``account_id``: the account, or for a customer the owner of their devices; a client has none.
    ``org_id``: the organization that an account is a member of (in ``role``), or that a customer's or client's product
    belongs to. ``product_id``: the one that a customer or client is limited to; without it, all of ``org_id``."""

    kind: Literal["anonymous", "account", "customer", "client"] = "anonymous"
    account_id: str | None = None
    org_id: str | None = None
    role: Role | None = None
    customer_id: str | None = None
    product_id: int | None = None
    client_id: str | None = None
    scope: str = ""

    @property
    def actor(self) -> str:
        """As events have it."""
        match self.kind:
            case "account":
                return f"account:{self.account_id}"
            case "customer":
                return f"customer:{self.customer_id}"
            case "client":
                return f"client:{self.client_id}"
            case _:
                return "anonymous"


ANONYMOUS = Caller()


@dataclass(frozen=True, slots=True)
class Thing:
    """What it is about: nothing in particular, or a thing of this organization, in this product, claimed by this
    owner. No ``org_id``: there is no such thing, or no team that it belongs to. ``inactive``: the subscription of the
    organization is inactive."""

    org_id: str | None = None
    product_id: int | None = None
    claimed_by: str | None = None
    inactive: bool = False


NOTHING = Thing()

PERMISSIONS: Mapping[str, Rule] = {
    "api.read": Rule("anonymous"),
    "users.create": Rule("anonymous"),
    "users.read": Rule("user"),
    "users.change": Rule("user"),
    "users.verify": Rule("anonymous"),  # who has the mailed link proves that
    "users.reset": Rule("anonymous"),
    "invitations.read": Rule("user"),
    "invitations.answer": Rule("user"),
    "clients.own": Rule("user"),
    "clients.read": Rule("developer", people=True),
    "clients.change": Rule("administrator", people=True),
    "team.read": Rule("readonly", people=True),
    "team.change": Rule("administrator", people=True),
    "team.leave": Rule("readonly", people=True, while_inactive=True),  # of others, team.change is asked, too
    "tokens.issue": Rule("anonymous"),
    "tokens.revoke": Rule("anonymous"),  # knowing the token is the authority (contract 2.3)
    "tokens.read": Rule("user"),
    "tokens.read_own": Rule("holder"),
    "tokens.revoke_own": Rule("holder"),
    "tokens.revoke_all": Rule("person"),
    "orgs.create": Rule("user"),
    "orgs.list": Rule("user"),
    "orgs.read": Rule("readonly", people=True, while_inactive=True),
    "authorities.read": Rule("readonly", people=True),
    "orgs.configure": Rule("administrator", people=True),
    "billing.read": Rule("readonly", people=True, while_inactive=True),
    "billing.change": Rule("administrator", people=True, while_inactive=True),
    "billing.page": Rule("anonymous"),  # whoever logs in on it is asked billing.change
    "billing.tell": Rule("anonymous"),  # the provider's signature is checked
    "audit.read": Rule("administrator", people=True),
    "products.list": Rule("person"),
    "products.create_own": Rule("user"),
    "products.create": Rule("developer", people=True),
    "products.read": Rule("readonly"),
    "products.configure": Rule("developer"),
    "products.remove": Rule("administrator"),
    "devices.read": Rule("readonly"),
    "devices.import": Rule("developer"),
    "devices.update": Rule("support"),
    "devices.remove": Rule("developer"),
    "devices.issue_tokens": Rule("developer"),
    "devices.set_credentials": Rule("developer"),
    "devices.unclaim": Rule("support"),
    "devices.call": Rule("support"),
    "devices.flash": Rule("developer"),
    "own_devices.list": Rule("person"),
    "own_devices.read": Rule("readonly", keeper=True),
    "own_devices.events": Rule("readonly", keeper=True),
    "own_events.read": Rule("person"),
    "own_events.publish": Rule("person"),
    "events.publish": Rule("support"),
    "own_devices.update": Rule("support", keeper=True),
    "own_devices.call": Rule("support", keeper=True),
    "own_devices.flash": Rule("developer", keeper=True, customers=False),
    "own_devices.set_key": Rule("developer", keeper=True),
    "own_devices.unclaim": Rule("support", keeper=True),
    "claims.create": Rule("person"),
    "transfers.answer": Rule("anonymous"),  # who has the mailed link is the owner
    "claims.create_as_customer": Rule("customer"),
    "customers.create": Rule("anonymous"),  # a client's credentials are checked, or customers.change is asked
    "customers.reset": Rule("anonymous"),
    "customers.read": Rule("support"),
    "customers.change": Rule("support"),
    "beta.read": Rule("support"),
    "beta.change": Rule("support"),
    "firmware.read": Rule("readonly"),
    "firmware.upload": Rule("developer"),
    "firmware.release": Rule("developer"),
    "firmware.change": Rule("developer"),
    "firmware.remove": Rule("developer"),
    "firmware.signing": Rule("administrator", people=True),
    "groups.read": Rule("readonly"),
    "groups.change": Rule("developer"),
    "events.read": Rule("readonly"),
    "webhooks.own": Rule("user"),
    "webhooks.read": Rule("developer"),
    "webhooks.change": Rule("developer"),
}


def rule_of(permission: str) -> Rule:
    """The row of this permission. Raises ``Misuse`` for one that is not in the table."""
    try:
        return PERMISSIONS[permission]
    except KeyError:
        raise Misuse(f"{permission!r} is in no table of permissions") from None


def judge(permission: str, caller: Caller, thing: Thing = NOTHING) -> Outcome:
    """Whether this caller may do it to this thing."""
    rule = rule_of(permission)
    if rule.to == "anonymous":
        return "yes"
    if caller.kind == "anonymous":
        return "hidden"
    outcome = _of_anybody(rule, caller) if rule.to in OF_NOTHING else _of_a_thing(rule, caller, thing)
    is_narrow = ONLY_CUSTOMERS in caller.scope.split() and permission != "customers.create"
    return "forbidden" if outcome in ("yes", "closed") and is_narrow else outcome


def _of_anybody(rule: Rule, caller: Caller) -> Outcome:
    return "yes" if caller.kind in OF_NOTHING[rule.to] else "forbidden"


def _of_a_thing(rule: Rule, caller: Caller, thing: Thing) -> Outcome:
    has_claimed = caller.account_id is not None and caller.account_id == thing.claimed_by
    if rule.keeper and has_claimed and reaches(caller, thing):
        return "yes" if rule.customers or caller.kind != "customer" else "forbidden"
    if thing.org_id is None:
        return "hidden"
    match caller.kind:
        case "customer":
            if rule.keeper or not reaches(caller, thing):
                return "hidden"
            return "yes" if rule.to == "customer" else "forbidden"
        case "client":
            if not reaches(caller, thing):
                return "hidden"
            may = rule.to in RANKS and not rule.people and thing.product_id is not None
            return _unless_inactive(rule, thing) if may else "forbidden"
        case _:
            if caller.org_id != thing.org_id or caller.role is None:
                return "hidden"
            may = rule.to in RANKS and RANKS[caller.role] >= RANKS[rule.to]
            return _unless_inactive(rule, thing) if may else "forbidden"


def _unless_inactive(rule: Rule, thing: Thing) -> Outcome:
    return "closed" if thing.inactive and not rule.while_inactive else "yes"


def reaches(caller: Caller, thing: Thing) -> bool:
    """Whether it is a thing of what a customer or client is limited to: a product with its organization, or all
    products of the organization. Nothing limits an account."""
    if caller.kind == "account":
        return True
    in_org = caller.org_id is not None and caller.org_id == thing.org_id
    return in_org and (caller.product_id is None or thing.product_id in (None, caller.product_id))


def refusal(permission: str) -> str:
    """What somebody is told who may see a thing, but not do this."""
    rule = rule_of(permission)
    if rule.to in RANKS:
        return f"This takes the role {rule.to} in the team" + (", and a person." if rule.people else ".")
    whom = {"customer": "customers of the product", "user": "accounts"}.get(rule.to, "people")
    return f"This is for {whom} only."
