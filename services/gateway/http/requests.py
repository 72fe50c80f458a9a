"""What may come in: one schema for each body and query of the contract; ``description`` is shown in OpenAPI."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from services.gateway.devices.calls import DEFAULT_TIMEOUT_S, LONGEST_TIMEOUT_S
from services.gateway.http.fields import Flag, Line, Named, Request, Whole
from shared.bounded_list import BoundedList
from shared.ids import MAX_FIRMWARE_VERSION

MAX_PER_PAGE = 1_000
MAX_PAGE = 1_000_000
MAX_QUERY = 2_000
SORTS = ("deviceId", "firmwareVersion", "lastConnection", "name", "lastHeard")
MAX_ATTRIBUTES = 1_024
"""That one call names."""


class AccountInfo(Request):
    first_name = Line(128, allow_none=True)
    last_name = Line(128, allow_none=True)
    company_name = Line(128, allow_none=True)
    business_account = Flag(allow_none=True)


class NewUser(Request):
    username = Line(1_024, required=True)
    password = Line(4_096, required=True)
    account_info = ma.fields.Nested(AccountInfo, allow_none=True, load_default=None)


class TokenRequest(Request):
    grant_type = Line(64, required=True)
    client_id = Line(128)
    client_secret = Line(256)
    username = Line(1_024)
    password = Line(4_096)
    refresh_token = Line(256)
    scope = Line(512, allow_none=True, metadata={"description": "customer= and an address, for client_credentials"})
    code = Line(256)
    redirect_uri = Line(2_048)
    code_verifier = Line(128)
    expires_in = Whole(0, 315_360_000, allow_none=True, metadata={"description": "seconds; 0: never"})
    expires_at = Line(64, allow_none=True, metadata={"description": "ISO 8601"})


class NewOrganization(Request):
    name = Line(128, 1, required=True)
    slug = Line(64, allow_none=True, load_default=None)
    plan = Line(32, load_default="monthly", metadata={"description": "monthly or yearly"})
    draft_id = Line(64, allow_none=True, load_default=None, metadata={"description": "where organizations are billed"})
    setup_id = Line(255, allow_none=True, load_default=None, metadata={"description": "the draft's, finished"})


class ProductFields(Request):
    name = Line(128, 1, required=True)
    description = Line(4_000, required=True)
    platform_id = Whole(0, 65_535, allow_none=True, load_default=None)
    device_type = Line(32, allow_none=True, load_default=None)
    type = Line(32, allow_none=True, load_default=None)
    hardware_version = Line(64, allow_none=True, load_default=None)


class NewProduct(ProductFields):
    """The fields may also stand inside ``product``."""

    @ma.pre_load
    def unwrap(self, data: Any, **kwargs: Any) -> Any:
        inner = data.get("product")
        return inner if isinstance(inner, dict) else data


class AccessChanges(Request):
    """What is not named stays as it is."""

    trust_first_key = Flag(
        metadata={"description": "a device without a key on record keeps the first one that it shows"}
    )
    tls_only = Flag(metadata={"description": "MQTT without TLS is refused"})
    provisioning = Line(16, metadata={"description": "off, imported or create"})
    claim_without_secret = Flag(metadata={"description": "a device that opened itself is claimed by its ID alone"})
    firmware_name = Line(
        64,
        allow_none=True,
        metadata={"description": "the title that MQTT firmware reports; null: the product's number"},
    )
    version_width = Whole(0, 5, metadata={"description": "digits that versions are filled up to; 0: as they are"})


class NewDeviceAuthority(Request):
    certificate = Line(16_384, 1, required=True, metadata={"description": "one authority's certificate, PEM"})
    names_devices = Flag(
        load_default=False, metadata={"description": "a common name that is a device ID identifies the device"}
    )


class Paging(Request):
    page = Whole(1, MAX_PAGE, load_default=1)
    per_page = Whole(1, MAX_PER_PAGE, load_default=25)

    @ma.pre_load
    def spelling(self, data: Any, **kwargs: Any) -> Any:
        """``perPage`` is ``per_page`` (contract 1.7), and an empty parameter is none."""
        given = {name: value for name, value in data.items() if value != ""}
        return {"per_page": given["perPage"], **given} if "perPage" in given else given


def moment(**options: Any) -> Line:
    """A moment, as text."""
    return Line(64, metadata={"description": "a time with its zone (ISO 8601), or a position"}, **options)


class AsOf(Request):
    """A past moment; without it, now."""

    as_of = moment()


class Changes(Request):
    """Between two past moments, or from one until now."""

    since = moment(data_key="from", required=True)
    until = moment(data_key="to", load_default=None)
    after = Line(24, load_default=None, metadata={"description": "meta.next of the answer before"})
    per_page = Whole(1, 100, load_default=25)


class DeviceQuery(Paging):
    as_of = moment()
    device_id = Line(64, data_key="deviceId", metadata={"description": "part of the id"})
    name = Line(128, data_key="deviceName", metadata={"description": "part of the name"})
    serial_number = Line(64, data_key="serialNumber", metadata={"description": "part of the serial number"})
    groups = Line(4_096, metadata={"description": "comma list of full names, any of them"})
    quarantined = Flag()
    online = Flag()
    development = Flag()
    owner = Line(320)
    firmware_version = Whole(0, 65_535, data_key="firmwareVersion")
    query = Line(
        MAX_QUERY,
        metadata={
            "description": "conditions beside the filters, as in: online and version < 7 and group = beta; fields are "
            "those of docs/queries.md"
        },
    )
    sort = Line(
        32,
        data_key="sortAttr",
        load_default="lastConnection",
        metadata={"description": ", ".join(SORTS)},
    )
    direction = Line(8, data_key="sortDir", load_default="desc", metadata={"description": "asc or desc"})
    after = Line(4_096, load_default=None, metadata={"description": "meta.next of the answer before"})

    @ma.validates_schema
    def known_words(self, data: Any, **kwargs: Any) -> None:
        if data.get("sort") not in SORTS:
            raise ma.ValidationError(f"Must be one of {', '.join(SORTS)}.", "sortAttr")
        if data.get("direction") not in ("asc", "desc"):
            raise ma.ValidationError("Must be asc or desc.", "sortDir")


class DeviceImport(Request):
    """One device as JSON or form; many as multipart with a part ``file``: one ID a line, and behind it, if you like, a
    comma and the device's public key (DER in base64)."""

    id = Line(1_024)
    public_key = Line(
        8_192, allow_none=True, load_default=None, metadata={"description": "the device's; PEM, or DER in base64"}
    )
    force = Flag(load_default=False)


class NullableVersion(Whole):
    """A version, null, or the word ``null`` (contract 7.5)."""

    def __init__(self) -> None:
        super().__init__(0, MAX_FIRMWARE_VERSION, allow_none=True)

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        return super().deserialize(None if value == "null" else value, attr, data, **kwargs)


class DeviceUpdate(Request):
    name = Line(128, allow_none=True)
    notes = Line(4_000, allow_none=True)
    development = Flag()
    groups = BoundedList(Line(64, 1), 100)
    desired_firmware_version = NullableVersion()
    flash = Flag()
    denied = Flag()
    quarantined = Flag()
    force = Flag(metadata={"description": "with quarantined: false, it counts as the product's whatever it reports"})
    signal = Flag(metadata={"description": "1: the device shows itself, 0: it stops that"})


class OwnDeviceUpdate(Request):
    name = Line(128, allow_none=True)
    notes = Line(4_000, allow_none=True)
    signal = Flag(metadata={"description": "1: the device shows itself, 0: it stops that"})
    app = ma.fields.Raw(metadata={"description": "of old clients; not supported"})


class Waiting(Request):
    timeout_s = Whole(
        1, int(LONGEST_TIMEOUT_S), load_default=int(DEFAULT_TIMEOUT_S), metadata={"description": "for the device"}
    )


class CallQuery(Waiting):
    format = Line(16, load_default="", metadata={"description": "raw: only what the device answered"})


class VariableQuery(CallQuery):
    fresh = Flag(load_default=False, metadata={"description": "ask the device, also where a value is known"})


class FunctionArgument(Request):
    args = ma.fields.Raw(allow_none=True, metadata={"type": "string"})
    arg = ma.fields.Raw(allow_none=True, metadata={"type": "string", "description": "the same"})
    params = ma.fields.Raw(allow_none=True, metadata={"description": "any JSON, for devices that take it"})


class PingRequest(Request):
    probe = Flag(load_default=False, metadata={"description": "ask the device, instead of looking for its connection"})


class DeviceRemoval(Request):
    deny = Flag(load_default=False)


class DeviceIds(Request):
    device_ids = BoundedList(Line(64), 1_000, 1, required=True)


class DeviceKey(Request):
    public_key = Line(8_192, 1, required=True, metadata={"description": "PEM, or DER in base64"})
    algorithm = Line(16, allow_none=True, load_default=None, metadata={"description": "rsa or ecc, as the key is"})


class Provisioning(Request):
    """A device's key in the words of particle-cli; what it also sends is not needed."""

    device_id = Line(64, data_key="deviceID", allow_none=True, load_default=None)
    public_key = Line(8_192, 1, required=True, data_key="publicKey")
    algorithm = Line(16, allow_none=True, load_default=None)


class DeviceCertificate(Request):
    """One of the two."""

    certificate = Line(16_384, metadata={"description": "PEM"})
    fingerprint = Line(128, metadata={"description": "SHA-256 of the certificate's DER in hex"})


class DesiredAttributes(Request):
    """What is not named stays as it is."""

    desired = Named(
        keys=ma.fields.String(),
        load_default=dict,
        validate=ma.validate.Length(max=MAX_ATTRIBUTES),
        metadata={"description": "name and value; null removes it"},
    )
    removed = BoundedList(Line(128), MAX_ATTRIBUTES, load_default=list)


class NewClaimCode(Request):
    """With a SIM's or a modem's number, that is the code."""

    activation_code = Line(16, allow_none=True, load_default=None, metadata={"description": "of a private beta"})

    iccid = Line(22, allow_none=True, load_default=None)
    imei = Line(17, allow_none=True, load_default=None)


class Publication(Request):
    name = Line(64, 1, required=True)
    data = Line(4_096, allow_none=True, load_default=None, metadata={"description": "at most 1024 bytes"})
    private = Flag(load_default=True, allow_none=True)
    ttl = Whole(0, 16_777_215, load_default=60, metadata={"description": "seconds"})


class FirmwareUpload(Request):
    """Multipart, with the file in a part ``file`` or ``binary``."""

    version = Whole(0, MAX_FIRMWARE_VERSION, required=True)
    title = Line(128, 1, required=True)
    description = Line(4_000, load_default="")


class FirmwareRelease(Request):
    version = Whole(0, 65_535, required=True)
    product_default = Flag()
    groups = BoundedList(Line(64), 100)
    intelligent = Flag(load_default=False)
