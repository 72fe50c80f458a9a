"""What goes out: one schema for each answer of the contract. Tests hold every answer against them, and OpenAPI is
made from them. One flat table, and therefore longer than other modules."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from services.gateway.http.fields import Document

NULL: dict[str, Any] = {"required": True, "allow_none": True}


def _text(**options: Any) -> ma.fields.String:
    return ma.fields.String(**{"required": True, **options})


def _whole(**options: Any) -> ma.fields.Integer:
    return ma.fields.Integer(strict=True, **{"required": True, **options})


def _flag(**options: Any) -> ma.fields.Boolean:
    return ma.fields.Boolean(truthy={True}, falsy={False}, **{"required": True, **options})


def _time(**options: Any) -> ma.fields.String:
    iso = ma.validate.Regexp(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
    return ma.fields.String(validate=iso, metadata={"format": "date-time"}, **{"required": True, **options})


def _list(inner: Any, **options: Any) -> ma.fields.List[Any]:
    return ma.fields.List(inner, **{"required": True, **options})


def _of(schema: Any, **options: Any) -> ma.fields.Nested:
    return ma.fields.Nested(schema, **{"required": True, **options})


def _any_object(**options: Any) -> ma.fields.Dict:
    return ma.fields.Dict(keys=ma.fields.String(), **{"required": True, **options})


class Error(ma.Schema):
    """Any answer but 2xx; some codes add members."""

    class Meta:
        unknown = ma.INCLUDE

    ok = _flag()
    error = _text()
    error_description = _text()
    errors = _list(_text(), required=False)


class Ok(Document):
    ok = _flag()


class Health(ma.Schema):
    """Parts of this gateway and their lag."""

    class Meta:
        unknown = ma.INCLUDE

    ok = _flag()


class TokenGrant(Document):
    token_type = _text()
    access_token = _text()
    expires_in = _whole()
    refresh_token = _text()


class ListedToken(Document):
    id = _text()
    token = _text(metadata={"description": "masked down to its last four characters"})
    expires_at = _time(**NULL)
    client = _text()
    created_at = _time()


class OrgReference(Document):
    id = _text()
    slug = _text()


class CurrentToken(Document):
    expires_at = _time(**NULL)
    client = _text()
    client_id = _text()
    scopes = _list(_text())
    orgs = _list(_of(OrgReference))


class NamedOrg(OrgReference):
    name = _text()


class Membership(Document):
    org = _of(NamedOrg)
    role = ma.fields.Raw(required=True)


class Mfa(Document):
    enabled = _flag()


class User(Document):
    username = _text()
    subscription_ids = _list(_text())
    account_info = _any_object()
    mfa = _of(Mfa)
    tos = _whole()
    memberships = _list(_of(Membership))
    scim_provisioned = _flag()
    no_password = _flag()
    wifi_device_count = _whole()
    cellular_device_count = _whole()


class Owner(Document):
    username = _text()


class Subscription(Document):
    state = _text(**NULL)
    reason = _text(**NULL)
    plan = _text(**NULL)


class Organization(Document):
    id = _text()
    name = _text()
    slug = _text()
    created_at = _time()
    owner = _of(Owner)
    subscription = _of(Subscription)


class OrganizationAnswer(Document):
    ok = _flag()
    organization = _of(Organization)


class Organizations(Document):
    ok = _flag()
    organizations = _list(_of(Organization))


class Product(Document):
    id = _whole()
    platform_id = _whole()
    device_type = _text()
    name = _text()
    slug = _text()
    description = _text()
    type = _text()
    hardware_version = _text(**NULL)
    organization = _text()
    org = _text()
    config_id = _text(**NULL)
    requires_activation_codes = _flag()
    latest_firmware_version = _whole(**NULL)
    groups = _list(_text())
    settings = _any_object()
    device_protection = ma.fields.Raw(**NULL)
    subscription_id = ma.fields.Raw(**NULL)
    mb_limit = ma.fields.Raw(**NULL)
    created_at = _time()


class ProductAnswer(Document):
    product = _of(Product)


class ProductCreated(Document):
    ok = _flag()
    product = _of(Product)


class Products(Document):
    products = _list(_of(Product))


class AsOf(Document):
    """The last event of a past moment; null before the first one."""

    position = _whole(**NULL)
    at = _time(**NULL)


class Progress(Document):
    events_done = _whole()
    events_total = _whole(metadata={"description": "at most: counted in positions"})


class Building(Document):
    """The past is being built; ask again."""

    ok = _flag()
    building = _of(Progress)


class DeviceCounts(Document):
    total = _whole()
    online = _whole()
    quarantined = _whole()
    development = _whole()


class VersionCount(Document):
    version = _whole(**NULL)
    device_count = _whole()


class CustomerCounts(Document):
    total = _whole()
    with_device = _whole()
    active = _whole()


class Statistics(Document):
    devices = _of(DeviceCounts)
    firmware = _list(_of(VersionCount))
    customers = _of(CustomerCounts)
    usage = _list(_any_object())
    errors = _list(_any_object())


class Figures(Document):
    """Counters of a fleet at one moment."""

    as_of = _of(AsOf)
    devices = _of(DeviceCounts)
    firmware = _list(_of(VersionCount))


class DeviceDifference(Document):
    id = _text()
    what = _list(_text(), metadata={"description": "imported, removed, or fields of the device"})
    before = _any_object(allow_none=True)
    after = _any_object(allow_none=True)


class ChangesMeta(Document):
    per_page = _whole()
    next = _text(**NULL, metadata={"description": "there may be more, also behind a page that is not full"})


Changes = Document.from_dict(
    {
        "from": _of(Figures),
        "to": _of(Figures),
        "changes": _list(_of(DeviceDifference)),
        "meta": _of(ChangesMeta),
    },
    name="Changes",
)


class FirmwareUpdate(Document):
    version = _whole()
    attempt = _whole(**NULL)
    state = _text(**NULL)
    percent = _whole(**NULL)
    failures = _whole(**NULL)
    reason = _text(**NULL)


class Device(Document):
    id = _text()
    name = _text(**NULL)
    notes = _text(**NULL)
    product_id = _whole()
    platform_id = _whole()
    online = _flag()
    connected = _flag()
    last_heard = _time(**NULL)
    last_handshake_at = _time(**NULL)
    last_ip_address = _text(**NULL)
    firmware_product_id = _whole(**NULL)
    firmware_version = _whole(**NULL)
    desired_firmware_version = _whole(**NULL)
    targeted_firmware_release_version = _whole(**NULL)
    development = _flag()
    quarantined = _flag()
    denied = _flag()
    groups = _list(_text())
    owner = _text(**NULL)
    user_id = _text(required=False)
    customer_id = _text(required=False)
    functions = ma.fields.Raw(allow_none=True)
    variables = ma.fields.Raw(allow_none=True)
    status = _text()
    cellular = _flag()
    last_app = ma.fields.Raw(**NULL)
    serial_number = _text(required=False)
    iccid = _text(required=False)
    last_iccid = _text(required=False)
    imei = _text(required=False)
    system_firmware_version = _text(required=False)
    current_build_target = _text(required=False)
    default_build_target = _text(required=False)
    firmware_updates_enabled = _flag()
    firmware_updates_forced = _flag()
    firmware_update = _of(FirmwareUpdate, allow_none=True, metadata={"description": "the last attempt, FW-7"})


class WhyLink(Document):
    """An event of a chain: what happened, who did it, and what it answers."""

    at = _time()
    type = _text()
    stream = _text()
    version = _whole(metadata={"description": "its number in the stream"})
    position = _whole()
    event_id = _text()
    actor = _text(metadata={"description": "a team member's address, or account:, device: or system: with an id"})
    command_id = _text()
    correlation_id = _text()
    cause = _text(**NULL, metadata={"description": "the id of the event that it answers"})
    source = _text()
    text = _text()


class WhyAspect(Document):
    aspect = _text(
        validate=ma.validate.OneOf(("membership", "owner", "lock", "presence", "version", "update", "target"))
    )
    value = _any_object(allow_none=True)
    text = _text()
    chain = _list(_of(WhyLink), metadata={"description": "oldest first, at most 20"})


class WhyRule(Document):
    rule = _text()
    released_version = _whole(**NULL)
    target_version = _whole(**NULL)
    delivery = _text(**NULL)
    runs_released = _flag()
    gets_released = _flag()
    text = _text()


class Why(Document):
    """Why a device is as it is (EVT-3)."""

    id = _text()
    product_id = _whole(**NULL)
    rule = _of(WhyRule, allow_none=True, metadata={"description": "null when it is a member no more"})
    aspects = _list(_of(WhyAspect))
    cut = _flag(metadata={"description": "older events exist that were not looked at, or were forgotten"})


class Meta(Document):
    page = _whole()
    per_page = _whole()
    total = _whole()
    total_pages = _whole()


class DevicesMeta(Meta):
    next = _text(**NULL)
    as_of = _of(AsOf, required=False)


class Devices(Document):
    devices = _list(_of(Device))
    customers = _list(_any_object())
    meta = _of(DevicesMeta)


class DeviceChange(Document):
    """The fields that changed."""

    id = _text()
    updated_at = _time()
    name = _text(required=False, allow_none=True)
    notes = _text(required=False, allow_none=True)
    development = _flag(required=False)
    groups = _list(_text(), required=False)
    desired_firmware_version = _whole(required=False, allow_none=True)
    denied = _flag(required=False)
    quarantined = _flag(required=False)


class Problem(Document):
    line = _whole()
    text = _text()
    code = _text()
    reason = _text()


class ImportReport(Document):
    updated = _whole()
    updatedDeviceIds = _list(_text())  # noqa: N815 - the contract's spelling
    existingDeviceIds = _list(_text())  # noqa: N815
    nonmemberDeviceIds = _list(_text())  # noqa: N815
    invalidDeviceIds = _list(_text())  # noqa: N815
    problems = _list(_of(Problem))


class Import(Document):
    id = _text()
    state = _text(validate=ma.validate.OneOf(("running", "done")))
    lines_total = _whole()
    lines_done = _whole()
    updated = _whole()
    existing = _whole()
    refused = _whole()


ImportAnswer = Document.from_dict({"ok": _flag(), "import": _of(Import)}, name="ImportAnswer")


class Problems(Document):
    problems = _list(_of(Problem))
    meta = _of(Meta)


class DeviceToken(Document):
    token = _text(metadata={"description": "shown this once"})


class NamedDeviceToken(DeviceToken):
    id = _text()


class DeviceTokens(Document):
    ok = _flag()
    tokens = _list(_of(NamedDeviceToken))


class Firmware(Document):
    _id = _text()
    version = _whole()
    title = _text()
    description = _text()
    name = _text()
    size = _whole()
    uploaded_on = _time()
    updated_at = _time()
    uploaded_by = _of(Owner)
    product_id = _whole()
    product_default = _flag()
    current = _flag()
    groups = _list(_text())
    mandatory = _flag()
    device_count = _whole()
    releasable = _flag()


class FirmwareReleased(Firmware):
    ok = _flag()
