"""What comes in and goes out when firmware is described anew, deleted, or weighed (contract 9.2)."""

from __future__ import annotations

import marshmallow as ma

from services.gateway.http.fields import (
    NULL,
    Document,
    Flag,
    Line,
    Request,
    Whole,
    flag,
    list_of,
    of,
    string,
    time,
    whole,
)
from shared.ids import MAX_FIRMWARE_VERSION

EDIT_GROUPS = "edit_groups_for_firmware"


class FirmwareChanges(Request):
    """What is not named stays as it is."""

    title = Line(128, 1)
    description = Line(4_000)


class ImpactQuery(Request):
    """With neither ``groups`` nor ``product_default``, the product's default is meant."""

    action = Line(64, load_default=EDIT_GROUPS, metadata={"description": EDIT_GROUPS})
    firmware_version = Whole(0, MAX_FIRMWARE_VERSION, required=True)
    groups = Line(4_096, load_default="", metadata={"description": "comma list of full names"})
    product_default = Flag(metadata={"description": "for all devices that releases apply to"})

    @ma.validates("action")
    def known_action(self, value: str, **kwargs: object) -> None:
        if value != EDIT_GROUPS:
            raise ma.ValidationError(f"Must be {EDIT_GROUPS}.")


class NewSigningKey(Request):
    name = Line(128, 1, required=True)
    public_key = Line(
        4_096,
        1,
        required=True,
        metadata={"description": "Ed25519: PEM, 32 bytes in hexadecimal or base64, or minisign's .pub file"},
    )


class SigningChanges(Request):
    signature_required = Flag(required=True)


class SigningKey(Document):
    id = string()
    name = string()
    public_key = string(metadata={"description": "32 bytes in base64"})
    added_on = time()


class Signing(Document):
    signature_required = flag()
    keys = list_of(of(SigningKey))


class SigningChanged(Document):
    ok = flag()
    signature_required = flag()


class UpdatedFrom(Document):
    version = whole(**NULL)
    total = whole()


class UpdatedDevices(Document):
    total = whole()
    by_version = list_of(of(UpdatedFrom))


class ImpactOnDevices(Document):
    firmware_update = of(UpdatedDevices)


class Impact(Document):
    devices = of(ImpactOnDevices)
