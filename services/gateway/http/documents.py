"""What goes out: one schema for each answer of the contract. Tests hold every answer against them, and OpenAPI is
made from them. One flat table, and therefore longer than other modules."""

from __future__ import annotations

import marshmallow as ma

from services.gateway.http.fields import NULL, Document, any_object, flag, list_of, of, string, time, whole


class Error(ma.Schema):
    """Any answer but 2xx; some codes add members."""

    class Meta:
        unknown = ma.INCLUDE

    ok = flag()
    error = string()
    error_description = string()
    errors = list_of(string(), required=False)


class Ok(Document):
    ok = flag()


class BuildTargets(Document):
    targets = list_of(any_object())
    platforms = any_object()
    default_versions = any_object()


class SystemVersions(Document):
    versions = list_of(any_object())
    meta = any_object()


class Health(ma.Schema):
    """Parts of this gateway and their lag."""

    class Meta:
        unknown = ma.INCLUDE

    ok = flag()


class TokenGrant(Document):
    token_type = string()
    access_token = string()
    expires_in = whole()
    refresh_token = string()
    scope = string(required=False)


class ListedToken(Document):
    id = string()
    token = string(metadata={"description": "masked down to its last four characters"})
    expires_at = time(**NULL)
    client = string()
    created_at = time()


class OrgReference(Document):
    id = string()
    slug = string()


class CurrentToken(Document):
    expires_at = time(**NULL)
    client = string()
    client_id = string()
    scopes = list_of(string())
    orgs = list_of(of(OrgReference))


class NamedOrg(OrgReference):
    name = string()


class Membership(Document):
    org = of(NamedOrg)
    role = ma.fields.Raw(required=True)


class Mfa(Document):
    enabled = flag()


class User(Document):
    username = string()
    email_verified = flag()
    subscription_ids = list_of(string())
    account_info = any_object()
    mfa = of(Mfa)
    tos = whole()
    memberships = list_of(of(Membership))
    scim_provisioned = flag()
    no_password = flag()
    wifi_device_count = whole()
    cellular_device_count = whole()


class Owner(Document):
    username = string()


class Subscription(Document):
    state = string(**NULL)
    reason = string(**NULL)
    plan = string(**NULL)


class Organization(Document):
    id = string()
    name = string()
    slug = string()
    created_at = time()
    owner = of(Owner)
    subscription = of(Subscription)


class OrganizationAnswer(Document):
    ok = flag()
    organization = of(Organization)


class Organizations(Document):
    ok = flag()
    organizations = list_of(of(Organization))


class Product(Document):
    id = whole()
    platform_id = whole()
    device_type = string()
    name = string()
    slug = string()
    description = string()
    type = string()
    hardware_version = string(**NULL)
    organization = string()
    org = string()
    config_id = string(**NULL)
    requires_activation_codes = flag()
    latest_firmware_version = whole(**NULL)
    groups = list_of(string())
    settings = any_object()
    device_protection = ma.fields.Raw(**NULL)
    subscription_id = ma.fields.Raw(**NULL)
    mb_limit = ma.fields.Raw(**NULL)
    created_at = time()


class ProductAnswer(Document):
    product = of(Product)


class ProductCreated(Document):
    ok = flag()
    product = of(Product)


class Products(Document):
    products = list_of(of(Product))


class DeviceAccess(Document):
    """How devices of a product get in."""

    trust_first_key = flag()
    tls_only = flag()
    provisioning = string(metadata={"description": "off, imported or create"})
    provisioning_key = string(**NULL)
    claim_without_secret = flag()
    firmware_name = string()
    version_width = whole()


class AccessAnswer(Document):
    device_access = of(DeviceAccess)


class AccessConfigured(AccessAnswer):
    ok = flag()


class ProvisioningKey(Document):
    ok = flag()
    key = string()
    secret = string(metadata={"description": "shown this once"})


class DeviceAuthority(Document):
    """Who signs certificates of an organization's devices."""

    id = string()
    certificate = string(metadata={"description": "PEM"})
    fingerprint = string(metadata={"description": "SHA-256 of the certificate, hex"})
    names_devices = flag()
    subject = string()
    expires_at = time()
    created_at = time()


class DeviceAuthorities(Document):
    device_authorities = list_of(of(DeviceAuthority))


class DeviceAuthorityAdded(Document):
    ok = flag()
    device_authority = of(DeviceAuthority)


class AsOf(Document):
    """The last event of a past moment; null before the first one."""

    position = whole(**NULL)
    at = time(**NULL)


class Progress(Document):
    events_done = whole()
    events_total = whole(metadata={"description": "at most: counted in positions"})


class Building(Document):
    """The past is being built; ask again."""

    ok = flag()
    building = of(Progress)


class DeviceCounts(Document):
    total = whole()
    online = whole()
    quarantined = whole()
    development = whole()


class VersionCount(Document):
    version = whole(**NULL)
    device_count = whole()


class CustomerCounts(Document):
    total = whole()
    with_device = whole()
    active = whole()


_OF_NOW = {"description": "null with as_of: no past of it is kept in views"}


class Statistics(Document):
    devices = of(DeviceCounts)
    firmware = list_of(of(VersionCount))
    customers = of(CustomerCounts, allow_none=True, metadata=_OF_NOW)
    usage = list_of(any_object(), allow_none=True, metadata=_OF_NOW)
    errors = list_of(any_object(), allow_none=True, metadata=_OF_NOW)
    missing = string(required=False, metadata={"description": "with as_of: what is null, and where it is found"})


class Figures(Document):
    """Counters of a fleet at one moment."""

    as_of = of(AsOf)
    devices = of(DeviceCounts)
    firmware = list_of(of(VersionCount))


class DeviceDifference(Document):
    id = string()
    what = list_of(string(), metadata={"description": "imported, removed, or fields of the device"})
    before = any_object(allow_none=True)
    after = any_object(allow_none=True)


class ChangesMeta(Document):
    per_page = whole()
    next = string(**NULL, metadata={"description": "there may be more, also behind a page that is not full"})


Changes = Document.from_dict(
    {
        "from": of(Figures),
        "to": of(Figures),
        "changes": list_of(of(DeviceDifference)),
        "meta": of(ChangesMeta),
    },
    name="Changes",
)


class FirmwareUpdate(Document):
    id = string(metadata={"description": "of the attempt, as in its events: device, version, number"})
    version = whole()
    attempt = whole(**NULL)
    cause = string(**NULL, metadata={"description": "lock, release, rollout or file"})
    state = string(**NULL)
    percent = whole(**NULL)
    failures = whole(**NULL)
    reason = string(**NULL)


class Device(Document):
    id = string()
    name = string(**NULL)
    notes = string(**NULL)
    product_id = whole()
    platform_id = whole()
    online = flag()
    connected = flag()
    last_heard = time(**NULL)
    last_handshake_at = time(**NULL)
    last_ip_address = string(**NULL)
    firmware_product_id = whole(**NULL)
    firmware_version = whole(**NULL)
    desired_firmware_version = whole(**NULL)
    targeted_firmware_release_version = whole(**NULL)
    development = flag()
    quarantined = flag()
    denied = flag()
    groups = list_of(string())
    owner = string(**NULL)
    user_id = string(required=False)
    customer_id = string(required=False)
    functions = ma.fields.Raw(allow_none=True)
    variables = ma.fields.Raw(allow_none=True)
    status = string()
    cellular = flag()
    last_app = ma.fields.Raw(**NULL)
    serial_number = string(required=False)
    iccid = string(required=False)
    last_iccid = string(required=False)
    imei = string(required=False)
    system_firmware_version = string(required=False)
    current_build_target = string(required=False)
    default_build_target = string(required=False)
    firmware_updates_enabled = flag()
    firmware_updates_forced = flag()
    firmware_update = of(FirmwareUpdate, allow_none=True, metadata={"description": "the last attempt, FW-7"})


class WhyLink(Document):
    """An event of a chain: what happened, who did it, and what it answers."""

    at = time()
    type = string()
    stream = string()
    version = whole(metadata={"description": "its number in the stream"})
    position = whole()
    event_id = string()
    actor = string(metadata={"description": "a team member's address, or account:, device: or system: with an id"})
    command_id = string()
    correlation_id = string()
    cause = string(**NULL, metadata={"description": "the id of the event that it answers"})
    source = string()
    text = string()


class WhyAspect(Document):
    aspect = string(
        validate=ma.validate.OneOf(("membership", "owner", "lock", "presence", "version", "update", "target"))
    )
    value = any_object(allow_none=True)
    text = string()
    chain = list_of(of(WhyLink), metadata={"description": "oldest first, at most 20"})


class WhyRollout(Document):
    """A device's part in a roll-out (FW-6)."""

    id = string()
    version = whole()
    state = string()
    stage = whole(metadata={"description": "from 1"})
    gate = string(**NULL, metadata={"description": "what paused it; null if somebody did"})
    part = string(
        validate=ma.validate.OneOf(("runs", "turn", "paused", "waits", "later", "keeps", "goes_back")),
    )


class WhyRule(Document):
    rule = string()
    released_version = whole(**NULL)
    target_version = whole(**NULL)
    target_cause = string(**NULL, metadata={"description": "lock, release or rollout"})
    delivery = string(**NULL)
    rollout = of(WhyRollout, **NULL)
    runs_released = flag()
    gets_released = flag()
    text = string()


class Why(Document):
    """Why a device is as it is (EVT-3)."""

    id = string()
    product_id = whole(**NULL)
    rule = of(WhyRule, allow_none=True, metadata={"description": "null when it is a member no more"})
    aspects = list_of(of(WhyAspect))
    cut = flag(metadata={"description": "older events exist that were not looked at, or were forgotten"})


class Meta(Document):
    page = whole()
    per_page = whole()
    total = whole()
    total_pages = whole()


class DevicesMeta(Meta):
    total_exact = flag(metadata={"description": "false: there are at most so many"})
    next = string(**NULL)
    as_of = of(AsOf, required=False)


class Devices(Document):
    devices = list_of(of(Device))
    customers = list_of(any_object())
    meta = of(DevicesMeta)


class DeviceChange(Document):
    """The fields that changed; ``status`` of a file that is being flashed."""

    id = string()
    updated_at = time(required=False)
    status = string(required=False)
    name = string(required=False, allow_none=True)
    notes = string(required=False, allow_none=True)
    development = flag(required=False)
    groups = list_of(string(), required=False)
    desired_firmware_version = whole(required=False, allow_none=True)
    denied = flag(required=False)
    quarantined = flag(required=False)
    force = flag(required=False)
    connected = flag(required=False)
    signaling = flag(required=False)


class FunctionAnswer(Document):
    id = string()
    name = string(**NULL)
    last_app = ma.fields.Raw(**NULL)
    connected = flag()
    return_value = whole(**NULL, metadata={"description": "null if the device returned no integer"})
    result = ma.fields.Raw(metadata={"description": "all that it returned, if that is not an integer alone"})


class CoreInfo(Document):
    name = string(**NULL)
    deviceID = string()  # noqa: N815 - the contract's spelling
    connected = flag()
    last_handshake_at = time(**NULL)
    last_heard = time(**NULL)
    last_app = ma.fields.Raw(**NULL)


class VariableAnswer(Document):
    """``at`` is there for a value that was not asked of the device now: when it was told."""

    cmd = string()
    name = string()
    result = ma.fields.Raw(**NULL)
    coreInfo = of(CoreInfo)  # noqa: N815
    at = time(required=False)


class Ping(Document):
    online = flag()
    ok = flag()


class Problem(Document):
    line = whole()
    text = string()
    code = string()
    reason = string()


class ImportReport(Document):
    updated = whole()
    updatedDeviceIds = list_of(string())  # noqa: N815 - the contract's spelling
    existingDeviceIds = list_of(string())  # noqa: N815
    nonmemberDeviceIds = list_of(string())  # noqa: N815
    invalidDeviceIds = list_of(string())  # noqa: N815
    keys_set = whole()
    problems = list_of(of(Problem))


class Import(Document):
    id = string()
    state = string(validate=ma.validate.OneOf(("running", "cancelling", "cancelled", "done")))
    lines_total = whole()
    lines_done = whole()
    updated = whole()
    existing = whole()
    refused = whole()
    keys_set = whole()
    force = flag()
    started_at = time()
    updated_at = time()


class Imports(Document):
    imports = list_of(of(Import))
    meta = of(Meta)


ImportAnswer = Document.from_dict({"ok": flag(), "import": of(Import)}, name="ImportAnswer")


class Problems(Document):
    problems = list_of(of(Problem))
    meta = of(Meta)


class DeviceKeySet(Document):
    ok = flag()
    algorithm = string(validate=ma.validate.OneOf(("rsa", "ecc")))


class Attributes(Document):
    """What the device reported and what is desired of it, each with the time of its last change."""

    reported = any_object()
    reported_at = any_object()
    desired = any_object()
    desired_at = any_object()


class Misbehaviour(Document):
    kind = string()
    text = string(metadata={"description": "what was wrong, with the first bytes that the device sent"})
    count = whole(metadata={"description": "how often since the one before of its kind"})
    at = time()


class Misbehaviours(Document):
    """The last ten, the newest first."""

    misbehaviours = list_of(of(Misbehaviour))


class ClaimCode(Document):
    claim_code = string(metadata={"description": "shown this once"})
    device_ids = list_of(string(), metadata={"description": "devices that the caller has"})


class DeviceToken(Document):
    token = string(metadata={"description": "shown this once"})


class NamedDeviceToken(DeviceToken):
    id = string()


class DeviceTokens(Document):
    ok = flag()
    tokens = list_of(of(NamedDeviceToken))


class ModuleDependency(Document):
    function = whole()
    index = whole()
    version = whole()


class ReadModule(Document):
    """What a Particle module says of itself."""

    platform_id = whole()
    function = whole()
    index = whole()
    module_version = whole()
    dependencies = list_of(of(ModuleDependency))
    app_hash = string(metadata={"description": "SHA-256 in the suffix, which devices report"})
    app_hash_right = flag()


class Firmware(Document):
    _id = string()
    version = whole()
    title = string()
    description = string()
    name = string()
    size = whole()
    sha256 = string()
    module = of(ReadModule, **NULL)
    signature = string(**NULL)
    signature_key = string(**NULL)
    uploaded_on = time()
    updated_at = time()
    uploaded_by = of(Owner)
    product_id = whole()
    product_default = flag()
    current = flag()
    groups = list_of(string())
    mandatory = flag()
    device_count = whole()
    releasable = flag()


class FirmwareUploaded(Firmware):
    warnings = list_of(
        string(), required=False, metadata={"description": "What to look at before this version is released."}
    )


class FirmwareReleased(Firmware):
    ok = flag()
