"""What callers may send: checked and trimmed, or refused with a sentence about the field. Pure."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import get_args

from services.orgs.names import LONGEST_SLUG, comparable, like_an_id
from services.orgs.oauth.tokens import DEFAULT_LIFE_S, LONGEST_LIFE_S
from services.orgs.products.products import ChangeProduct, ProductType
from shared.errors import NotFound, Refused
from shared.events.orgs import Plan, Role

LONGEST_EMAIL = 254
LONGEST_TITLE = 128
LONGEST_DESCRIPTION = 4_000
LONGEST_CLIENT = 64
LONGEST_HARDWARE_VERSION = 64

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_RECORD_ID = re.compile(r"[0-9a-f]{24}")
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def refused(code: str, reason: str) -> Refused:
    """A refusal whose reason older clients find in ``errors`` too (contract 1.6)."""
    return Refused(code, reason, json.dumps({"errors": [reason]}))


def text(field: str, value: object, longest: int, *, shortest: int = 0, lines: bool = False) -> str:
    """The text without blanks around it; None counts as empty. Control characters are refused, line breaks and tabs
    only where ``lines`` says so."""
    if value is not None and not isinstance(value, str):
        raise Refused("invalid_request", f"{field} must be text.")
    trimmed = (value or "").strip()
    if len(trimmed) < shortest:
        raise Refused("invalid_request", f"{field} is missing.")
    if len(trimmed) > longest:
        raise Refused("invalid_request", f"{field} has more than {longest} characters.")
    allowed = "\n\r\t" if lines else ""
    if any(unicodedata.category(sign) in ("Cc", "Cs") and sign not in allowed for sign in trimmed):
        raise Refused("invalid_request", f"{field} has control characters in it.")
    return trimmed


def record_id(value: object, missing: str) -> str:
    """24 lower-case hex digits; anything else names nothing, so it is not found."""
    if not isinstance(value, str) or not _RECORD_ID.fullmatch(value):
        raise NotFound(missing)
    return value


def title(field: str, value: object) -> str:
    """A name that people read, 1 to 128 characters."""
    return text(field, value, LONGEST_TITLE, shortest=1)


def email(value: object) -> str:
    """An e-mail address as it was written, trimmed, and without what nobody sees: two addresses that look alike are
    taken for one by whoever invites. Refuses with ``invalid_username``."""
    try:
        trimmed = text("username", value, LONGEST_EMAIL, shortest=1)
    except Refused as refusal:
        raise refused("invalid_username", refusal.reason) from None
    if not all(_EMAIL.fullmatch(form) and len(form) <= LONGEST_EMAIL for form in (trimmed, comparable(trimmed))):
        raise refused("invalid_username", "username must be an e-mail address.")
    if any(unicodedata.category(sign) == "Cf" for sign in trimmed):
        raise refused("invalid_username", "username has invisible characters in it.")
    return trimmed


def password(value: object) -> str:
    """Any text; its length is judged where it is hashed. Refuses with ``invalid_password``."""
    if not isinstance(value, str):
        raise refused("invalid_password", "password must be text.")
    return value


def account_info(value: object) -> tuple[str, str, str]:
    """First name, last name and company; whatever else it holds is ignored."""
    if value is None:
        return ("", "", "")
    if not isinstance(value, Mapping):
        raise Refused("invalid_request", "account_info must be an object.")
    first, last, company = (
        text(f"account_info.{field}", value.get(field), LONGEST_TITLE)
        for field in ("first_name", "last_name", "company_name")
    )
    return first, last, company


def org_slug(value: object) -> str | None:
    """A slug as it is asked for; None: to be made from the name."""
    if value is None:
        return None
    wanted = value if isinstance(value, str) else ""
    if not _SLUG.fullmatch(wanted) or len(wanted) > LONGEST_SLUG:
        raise Refused(
            "invalid_request", f"slug must be of a-z, 0-9 and single hyphens between them, at most {LONGEST_SLUG} long."
        )
    if like_an_id(wanted):
        raise Refused("invalid_request", "slug must not look like an id.")
    return wanted


def role(value: object) -> Role:
    """What a member may do; full access when nothing is said (ORG-5)."""
    for known in get_args(Role):
        if value == known:
            return known  # type: ignore[no-any-return]  # a member of the Literal
    if value is None:
        return "administrator"
    raise Refused("invalid_request", f"role must be one of {', '.join(get_args(Role))}.")


def known_email(value: object) -> str:
    """The address of somebody who is looked for; what is none is nobody's."""
    return value.strip() if isinstance(value, str) and len(value) <= LONGEST_EMAIL else ""


def plan(value: object) -> Plan:
    """``monthly`` when nothing is said."""
    for known in get_args(Plan):
        if value == known:
            return known  # type: ignore[no-any-return]  # a member of the Literal
    if value is None:
        return "monthly"
    raise Refused("unknown_plan", "Plans are monthly and yearly.")


def product_type(value: object) -> ProductType:
    """``Consumer`` when nothing is said."""
    for known in get_args(ProductType):
        if value == known:
            return known  # type: ignore[no-any-return]  # a member of the Literal
    if value is None:
        return "Consumer"
    raise Refused("invalid_request", f"type must be one of {', '.join(get_args(ProductType))}.")


def platform_id(value: object) -> int | None:
    """A number, or None."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise Refused("invalid_request", "platform_id must be an integer.")
    return value


def device_type(value: object) -> str | None:
    """A text, or None."""
    return None if value is None else text("device_type", value, LONGEST_TITLE, shortest=1)


def life_s(value: object) -> int:
    """How long a token is to live: 90 days when nothing is said, 0 for ever."""
    if value is None:
        return DEFAULT_LIFE_S
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LONGEST_LIFE_S:
        raise Refused("invalid_request", f"expires_in must be 0 to {LONGEST_LIFE_S} seconds.")
    return value


def client(value: object) -> str:
    """The OAuth client that a token is for."""
    return text("client", value, LONGEST_CLIENT, shortest=1)


def description(value: object) -> str:
    """What a product is, 1 to 4 000 characters (PRD-1)."""
    return text("description", value, LONGEST_DESCRIPTION, shortest=1, lines=True)


def hardware_version(value: object) -> str:
    """A product's hardware version; empty when nothing is said."""
    return text("hardware_version", value, LONGEST_HARDWARE_VERSION)


def product_changes(value: object) -> ChangeProduct:
    """What is named, and not null, is changed."""
    given = {name: one for name, one in value.items() if one is not None} if isinstance(value, Mapping) else {}
    return ChangeProduct(
        name=title("name", given["name"]) if "name" in given else None,
        description=description(given["description"]) if "description" in given else None,
        type=product_type(given["type"]) if "type" in given else None,
        hardware_version=hardware_version(given["hardware_version"]) if "hardware_version" in given else None,
    )


def credential(value: object) -> str:
    """A user name or password to log in with; what is no text is no credential of anybody's."""
    return value if isinstance(value, str) else ""
