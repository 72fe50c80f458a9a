"""What callers may send about how devices get in: checked, or refused with a sentence about the field. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from services.orgs.products.device_access import LONGEST_FIRMWARE_NAME, WIDEST_VERSION, ConfigureDeviceAccess
from services.orgs.requests import text
from shared.errors import Refused
from shared.events.orgs import Provisioning

FLAGS = ("trust_first_key", "tls_only", "claim_without_secret")
FIELDS = (*FLAGS, "provisioning", "firmware_name", "version_width")


def access_changes(value: object) -> ConfigureDeviceAccess:
    """The changes that these fields ask for; a ``firmware_name`` of null asks for the product's number."""
    if not isinstance(value, Mapping):
        raise Refused("invalid_request", "changes must be an object.")
    unknown = [str(name) for name in value if name not in FIELDS]
    if unknown:
        raise Refused("invalid_request", f"{unknown[0]} is nothing that can be set.")
    trust_first_key, tls_only, claim_without_secret = (_flag(name, value.get(name)) for name in FLAGS)
    return ConfigureDeviceAccess(
        trust_first_key=trust_first_key,
        tls_only=tls_only,
        claim_without_secret=claim_without_secret,
        provisioning=_provisioning(value.get("provisioning")),
        firmware_name=_firmware_name(value["firmware_name"]) if "firmware_name" in value else None,
        version_width=_width(value.get("version_width")),
    )


def names_devices(value: object) -> bool:
    """Whether an authority's common names are device IDs; no when nothing is said."""
    return _flag("names_devices", value) or False


def _flag(field: str, value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise Refused("invalid_request", f"{field} must be true or false.")
    return value


def _firmware_name(value: object) -> str:
    return text("firmware_name", value, LONGEST_FIRMWARE_NAME)


def _provisioning(value: object) -> Provisioning | None:
    for known in get_args(Provisioning):
        if value == known:
            return known  # type: ignore[no-any-return]  # a member of the Literal
    if value is None:
        return None
    raise Refused("invalid_request", f"provisioning must be one of {', '.join(get_args(Provisioning))}.")


def _width(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= WIDEST_VERSION:
        raise Refused("invalid_request", f"version_width must be 0 to {WIDEST_VERSION} digits.")
    return value
