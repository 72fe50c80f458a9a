"""What may come in: one schema for each body and query of the contract; ``description`` is shown in OpenAPI."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from services.gateway.http.fields import Flag, Line, Request, Whole
from shared.ids import MAX_FIRMWARE_VERSION

MAX_PER_PAGE = 1_000
MAX_PAGE = 1_000_000


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
    expires_in = Whole(0, 315_360_000, allow_none=True, metadata={"description": "seconds; 0: never"})
    expires_at = Line(64, allow_none=True, metadata={"description": "ISO 8601"})


class NewOrganization(Request):
    name = Line(128, 1, required=True)
    slug = Line(64, allow_none=True, load_default=None)
    plan = Line(32, load_default="monthly")


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


class Paging(Request):
    page = Whole(1, MAX_PAGE, load_default=1)
    per_page = Whole(1, MAX_PER_PAGE, load_default=25)

    @ma.pre_load
    def spelling(self, data: Any, **kwargs: Any) -> Any:
        """``perPage`` is ``per_page`` (contract 1.7), and an empty parameter is none."""
        given = {name: value for name, value in data.items() if value != ""}
        return {"per_page": given["perPage"], **given} if "perPage" in given else given


def _moment(**options: Any) -> Line:
    return Line(64, metadata={"description": "a time with its zone (ISO 8601), or a position"}, **options)


class AsOf(Request):
    """A past moment; without it, now."""

    as_of = _moment()


class Changes(Request):
    """Between two past moments, or from one until now."""

    since = _moment(data_key="from", required=True)
    until = _moment(data_key="to", load_default=None)
    after = Line(24, load_default=None, metadata={"description": "meta.next of the answer before"})
    per_page = Whole(1, 100, load_default=25)


class DeviceQuery(Paging):
    as_of = _moment()
    device_id = Line(64, data_key="deviceId", metadata={"description": "part of the id"})
    name = Line(128, data_key="deviceName", metadata={"description": "part of the name"})
    serial_number = Line(64, data_key="serialNumber", metadata={"description": "part of the serial number"})
    groups = Line(4_096, metadata={"description": "comma list of full names, any of them"})
    quarantined = Flag()
    online = Flag()
    development = Flag()
    owner = Line(320)
    firmware_version = Whole(0, 65_535, data_key="firmwareVersion")
    sort = Line(
        32,
        data_key="sortAttr",
        load_default="lastConnection",
        metadata={"description": "deviceId, firmwareVersion or lastConnection"},
    )
    direction = Line(8, data_key="sortDir", load_default="desc", metadata={"description": "asc or desc"})
    after = Line(1_024, load_default=None, metadata={"description": "meta.next of the answer before"})

    @ma.validates_schema
    def known_words(self, data: Any, **kwargs: Any) -> None:
        if data.get("sort") not in ("deviceId", "firmwareVersion", "lastConnection"):
            raise ma.ValidationError("Must be deviceId, firmwareVersion or lastConnection.", "sortAttr")
        if data.get("direction") not in ("asc", "desc"):
            raise ma.ValidationError("Must be asc or desc.", "sortDir")


class DeviceImport(Request):
    """One device as JSON or form; many as multipart with a part ``file``, one ID a line."""

    id = Line(1_024)
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
    groups = ma.fields.List(Line(64, 1), validate=ma.validate.Length(max=100))
    desired_firmware_version = NullableVersion()
    flash = Flag()
    denied = Flag()
    quarantined = Flag()
    signal = ma.fields.Raw(metadata={"description": "not supported yet"})


class DeviceRemoval(Request):
    deny = Flag(load_default=False)


class DeviceIds(Request):
    device_ids = ma.fields.List(Line(64), required=True, validate=ma.validate.Length(1, 1_000))


class FirmwareUpload(Request):
    """Multipart, with the file in a part ``file`` or ``binary``."""

    version = Whole(0, MAX_FIRMWARE_VERSION, required=True)
    title = Line(128, 1, required=True)
    description = Line(4_000, load_default="")


class FirmwareRelease(Request):
    version = Whole(0, 65_535, required=True)
    product_default = Flag()
    groups = ma.fields.List(Line(64), validate=ma.validate.Length(max=100))
    intelligent = Flag(load_default=False)
