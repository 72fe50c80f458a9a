from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from services.gateway.directory import Directory
from services.gateway.directory_views import ACCOUNTS
from services.gateway.entries import (
    AuthorityEntry,
    DeviceEntry,
    FlashEntry,
    ImageEntry,
    OrgEntry,
    ProductEntry,
    TokenEntry,
)
from services.gateway.gate import Gate
from services.gateway.life import Life
from shared.errors import Unavailable
from shared.events import billing as b
from shared.events import customers as c
from shared.events import devices as d
from shared.events import firmware as f
from shared.events import gateway as g
from shared.events import oauth
from shared.events import orgs as o
from shared.events import rollouts as r
from shared.events.contracts import Registry
from shared.rollouts import PLACES
from shared.store.port import EventStore, Position
from shared.targets import Membership, Target

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
ACCOUNT, ORG, OTHER_ORG, TOKEN = "a" * 24, "b" * 24, "c" * 24, "d" * 24
DEVICE = "e" * 24
DIGEST, NEW_DIGEST, SHA = "1" * 64, "2" * 64, "3" * 64

Happen = Callable[..., Position]


@pytest.fixture
def directory(store: EventStore, contracts: Registry, tmp_path: Path) -> Iterator[Directory]:
    made = Directory(tmp_path / "gateway-a", store, contracts)
    yield made
    made.stop()


@pytest.fixture
def known(directory: Directory, happen: Happen) -> Callable[..., Directory]:
    """The directory after these events."""

    def after(*events: object) -> Directory:
        happen(*events)
        directory.projector.catch_up()
        return directory

    return after


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def account() -> o.AccountCreated:
    return o.AccountCreated(ACCOUNT, "ada@example.org", "hash", "", "", "")


def token(expires_at: datetime | None = NOON) -> o.TokenIssued:
    return o.TokenIssued(TOKEN, ACCOUNT, "particle", DIGEST, "9" * 64, "abcd", expires_at, NOON)


def org(org_id: str = ORG, slug: str = "acme") -> o.OrganizationCreated:
    return o.OrganizationCreated(org_id, "Acme", slug, "monthly", ACCOUNT, "ada@example.org")


def joined(org_id: str = ORG, account_id: str = ACCOUNT, role: Any = "administrator") -> o.MemberJoined:
    return o.MemberJoined(org_id, account_id, "ada@example.org", role)


def product(product_id: int = 1000, slug: str = "lamp") -> o.ProductCreated:
    return o.ProductCreated(product_id, ORG, "acme", "Lamp", slug, "", "mqtt", 65535, "Consumer", "v1")


def version(number: int = 7) -> f.VersionUploaded:
    return f.VersionUploaded(1000, number, f"lamp {number}", "", "lamp.bin", 4096, SHA, "ada@example.org", ACCOUNT)


def imported(forced: bool = False, product_id: int = 1000) -> d.DeviceImported:
    return d.DeviceImported(DEVICE, product_id, forced)


def reported(number: int | None, product_id: int | None = 1000) -> g.FirmwareReported:
    return g.FirmwareReported(DEVICE, 1000, product_id, number, "1000", f"v{number}", "a", 1, 1)


def device(directory: Directory) -> DeviceEntry:
    entry = directory.device(DEVICE)
    assert entry is not None
    return entry


def test_a_token_is_found_with_its_account_and_organization(known: Callable[..., Directory]) -> None:
    directory = known(account(), token())
    assert directory.token(DIGEST) == TokenEntry(TOKEN, ACCOUNT, "ada@example.org", "particle", NOON, None)
    assert directory.membership(ACCOUNT) is None
    known(org(), joined())
    assert directory.token(DIGEST) == TokenEntry(
        TOKEN, ACCOUNT, "ada@example.org", "particle", NOON, ORG, "administrator"
    )
    assert directory.membership(ACCOUNT) == (ORG, "administrator")
    assert directory.token(NEW_DIGEST) is None
    assert directory.membership(DEVICE) is None


def test_a_token_without_an_end_has_none(known: Callable[..., Directory]) -> None:
    found = known(account(), token(expires_at=None)).token(DIGEST)
    assert found is not None
    assert found.expires_at is None


def test_a_revoked_token_is_gone(known: Callable[..., Directory]) -> None:
    directory = known(account(), token(), o.TokenRevoked(TOKEN, ACCOUNT, "revoked"))
    assert directory.token(DIGEST) is None


CLIENT, CUSTOMER = "lamp-1234", "f" * 24


def client() -> oauth.ClientCreated:
    return oauth.ClientCreated(CLIENT, ORG, 1000, None, "Lamp", "installed", SHA, None, "")


def customer(owner_id: str = CUSTOMER) -> c.CustomerCreated:
    return c.CustomerCreated(CUSTOMER, owner_id, ORG, 1000, "bob@example.org", "", "simple")


def issued(subject: Any, account_id: str | None, product_id: int | None, generation: int = 0) -> o.TokenIssued:
    customer_id = CUSTOMER if subject == "customer" else None
    whose = {"subject": subject, "customer_id": customer_id, "product_id": product_id}
    org_id = None if product_id is None else ORG
    return msgspec.structs.replace(
        token(), account_id=account_id, client=CLIENT, org_id=org_id, generation=generation, **whose
    )


@pytest.mark.parametrize(
    ("working", "end"),
    [
        (issued("account", ACCOUNT, None), o.TokensEnded(ACCOUNT, 1, "revoked")),
        (issued("account", ACCOUNT, None), o.AccountForgotten(ACCOUNT)),
        (issued("account", ACCOUNT, None), oauth.ClientDeleted(CLIENT)),
        (issued("customer", CUSTOMER, 1000), c.CustomerTokensEnded(CUSTOMER, 1)),
        (issued("customer", CUSTOMER, 1000), c.CustomerDeleted(CUSTOMER, CUSTOMER, ORG, 1000)),
        (issued("customer", ACCOUNT, 1000), o.AccountForgotten(ACCOUNT)),
        (issued("customer", CUSTOMER, 1000), oauth.ClientDeleted(CLIENT)),
        (issued("customer", CUSTOMER, 1000), o.ProductRemoved(1000, ORG)),
        (issued("client", None, 1000), oauth.ClientDeleted(CLIENT)),
        (issued("client", None, 1000), o.ProductRemoved(1000, ORG)),
    ],
    ids=lambda event: f"{type(event).__name__}-{getattr(event, 'subject', '')}",
)
def test_a_token_ends_with_what_it_hangs_on(
    known: Callable[..., Directory], working: o.TokenIssued, end: object
) -> None:  # ACC-2, CUS-4
    directory = known(account(), org(), product(), client(), customer(working.account_id or CUSTOMER), working)
    found = directory.token(DIGEST)
    assert found is not None
    assert (found.subject, found.account_id, found.product_id) == (
        working.subject,
        working.account_id,
        working.product_id,
    )
    known(end)
    assert directory.token(DIGEST) is None


@pytest.mark.parametrize("subject", ["account", "customer"])
def test_a_token_of_the_next_generation_works(known: Callable[..., Directory], subject: Any) -> None:
    ends = (o.TokensEnded(ACCOUNT, 1, "revoked"), c.CustomerTokensEnded(CUSTOMER, 1))
    directory = known(account(), product(), client(), customer(ACCOUNT), *ends)
    known(issued(subject, ACCOUNT, 1000 if subject == "customer" else None, 1))
    assert directory.token(DIGEST) is not None


def test_a_client_that_is_not_known_here_yet_acts_for_nobody(known: Callable[..., Directory]) -> None:
    directory = known(product(), issued("client", None, 1000))
    assert directory.token(DIGEST) is None
    known(client())
    assert directory.token(DIGEST) is not None


def test_members_belong_to_their_organization_as_long_as_they_are_members_and_as_what_they_are(
    known: Callable[..., Directory],
) -> None:  # ORG-5
    directory = known(account(), org(), joined(), joined(OTHER_ORG, DEVICE, "support"))
    assert directory.membership(ACCOUNT) == (ORG, "administrator")
    assert directory.membership(DEVICE) == (OTHER_ORG, "support")
    known(o.MemberRoleChanged(ORG, ACCOUNT, "readonly"), o.MemberRemoved(ORG, DEVICE, "removed"))
    assert directory.membership(ACCOUNT) == (ORG, "readonly")
    assert directory.membership(DEVICE) == (OTHER_ORG, "support")
    known(o.MemberRemoved(ORG, ACCOUNT, "left"))
    assert directory.membership(ACCOUNT) is None


def test_an_organization_is_found_by_id_and_slug(known: Callable[..., Directory]) -> None:
    directory = known(org())
    assert directory.org(ORG) == directory.org("acme") == OrgEntry(ORG, "acme", "Acme")
    assert directory.org("acme2") is None


def test_an_organization_is_inactive_from_its_lock_or_end_to_its_re_activation(
    known: Callable[..., Directory],
) -> None:  # BIL-3, BIL-4, BIL-5
    directory = known(org(), b.SubscriptionCancelled(ORG, NOON, NOON))
    paid = OrgEntry(ORG, "acme", "Acme")
    assert directory.org("acme") == paid
    for ended in (b.AccountLocked(ORG, NOON, 1), b.SubscriptionEnded(ORG, NOON, "cancelled")):
        known(ended)
        assert directory.org("acme") == directory.org(ORG) == replace(paid, inactive=True)
        known(b.SubscriptionReactivated(ORG, NOON, NOON, "monthly", 1, b.Card("pm_1", "visa", "4242", 12, 2030, "")))
        assert directory.org("acme") == paid


def test_a_product_says_how_its_devices_get_in(known: Callable[..., Directory]) -> None:
    directory = known(product(), o.ProvisioningKeyIssued(1000, "old", DIGEST))
    known(
        o.DeviceAccessConfigured(1000, True, True, "create", True, "Lamp 1.0", 5),
        o.ProvisioningKeyIssued(1000, "key", NEW_DIGEST),
    )
    found = directory.product("lamp")
    assert found == ProductEntry(
        1000,
        ORG,
        "lamp",
        "Lamp",
        "mqtt",
        65535,
        None,
        trust_first_key=True,
        tls_only=True,
        provisioning="create",
        provisioning_key="key",
        provisioning_secret_digest=NEW_DIGEST,
        claim_without_secret=True,
        firmware_name="Lamp 1.0",
        version_width=5,
    )
    assert directory.product_by_provisioning_key("key") == found
    assert directory.product_by_provisioning_key("old") is None


@pytest.mark.parametrize(
    ("answers", "programs"),
    [
        ([], False),
        ([{"firmware.programming": "ota_on_setup"}], True),
        ([{"firmware.programming": "manufacturing_line"}], False),
        ([{"firmware.programming": "ota_on_setup"}, {"overview.summary": "A lamp"}], True),
        ([{"firmware.programming": "ota_on_setup"}, {"firmware.programming": None}], False),
    ],
)
def test_a_product_says_whether_its_devices_are_programmed_at_set_up(
    known: Callable[..., Directory], answers: list[Any], programs: bool
) -> None:  # PRD-5
    directory = known(product(), *(o.ConfigurationAnswered(1000, 1, json.dumps(one)) for one in answers))
    found = directory.product("lamp")
    assert found is not None
    assert found.programs_at_setup is programs


@pytest.mark.parametrize(
    "field", ["trust_first_key", "tls_only", "claim_without_secret", "provisioning", "firmware_name", "version_width"]
)
def test_each_setting_of_device_access_is_its_own(known: Callable[..., Directory], field: str) -> None:
    value: Any = {"provisioning": "imported", "firmware_name": "lamp", "version_width": 3}.get(field, True)
    configured = o.DeviceAccessConfigured(1000, False, False, "off", False, "1000", 0)
    before = known(product(), configured).product("1000")
    after = known(msgspec.structs.replace(configured, **{field: value})).product("1000")
    assert before is not None
    assert after == replace(before, **{field: value})


def test_a_product_is_found_by_what_its_firmware_reports_letter_for_letter(known: Callable[..., Directory]) -> None:
    directory = known(product(), product(1001, "kettle"))  # MQF-1
    known(o.DeviceAccessConfigured(1000, False, False, "off", False, "Lamp", 0))
    assert directory.product_by_firmware_name("Lamp") == directory.product("1000")
    assert directory.product_by_firmware_name("1001") == directory.product("1001")
    assert directory.product_by_firmware_name("lamp") is None
    assert directory.product_by_firmware_name("1000") is None


def test_authorities_are_known_with_their_organization_until_they_are_removed(
    known: Callable[..., Directory],
) -> None:  # MQC-6
    directory = known(
        o.DeviceAuthorityAdded(ORG, TOKEN, "pem", DIGEST, True),
        o.DeviceAuthorityAdded(OTHER_ORG, DEVICE, "other pem", NEW_DIGEST, False),
    )
    first = AuthorityEntry(TOKEN, ORG, "pem", DIGEST, names_devices=True)
    second = AuthorityEntry(DEVICE, OTHER_ORG, "other pem", NEW_DIGEST, names_devices=False)
    assert directory.authorities() == [first, second]
    seen = directory.authorities_revision
    assert seen > 0
    known(product())
    assert directory.authorities_revision == seen
    known(o.DeviceAuthorityRemoved(ORG, TOKEN))
    assert directory.authorities() == [second]
    assert directory.authorities_revision > seen


def test_a_product_is_found_by_number_and_slug_with_its_release(known: Callable[..., Directory]) -> None:
    directory = known(product())
    entry = ProductEntry(1000, ORG, "lamp", "Lamp", "mqtt", 65535, None, firmware_name="1000")
    assert directory.product("1000") == directory.product("lamp") == entry
    known(f.FirmwareReleased(1000, 7, None, intelligent=True))
    assert directory.product("lamp") == replace(entry, released_version=7, intelligent=True)
    known(f.ReleaseWithdrawn(1000, 7))
    assert directory.product("lamp") == entry


@pytest.mark.parametrize("ref", ["", "1001", "9" * 400, "²", "-1000", "lamp2", "' OR 1=1"])
def test_no_other_text_finds_a_product(known: Callable[..., Directory], ref: str) -> None:
    assert known(product()).product(ref) is None


def test_an_image_is_found_by_product_and_version(known: Callable[..., Directory]) -> None:
    directory = known(version())
    assert directory.image(1000, 7) == ImageEntry(1000, 7, "lamp 7", 4096, SHA)
    assert directory.image(1000, 8) is None


def test_an_image_is_called_as_its_version_is_now_and_goes_with_it(known: Callable[..., Directory]) -> None:
    directory = known(version(), f.VersionDescribed(1000, 7, "lamp seven", ""), f.VersionDescribed(1000, 8, "x", ""))
    assert directory.image(1000, 7) == ImageEntry(1000, 7, "lamp seven", 4096, SHA)
    assert directory.image(1000, 8) is None
    assert known(f.VersionDeleted(1000, 7)).image(1000, 7) is None


def test_what_is_released_to_a_device_is_released_to_one_of_its_groups_or_to_all(
    known: Callable[..., Directory],
) -> None:  # contract 7.4
    directory = known(product(), imported(), f.FirmwareReleased(1000, 7, None, False))
    assert device(directory).released_version == 7
    directory = known(f.FirmwareReleasedToGroups(1000, 8, ["hall", "lab"], [], True))
    assert device(directory).released_version == 7
    directory = known(d.DeviceGrouped(DEVICE, 1000, ["attic", "lab"]))
    assert (device(directory).released_version, device(directory).target) == (8, Target(8, "release"))
    directory = known(f.FirmwareReleasedToGroups(1000, 6, ["lab"], [8], False))
    assert device(directory).released_version == 6
    directory = known(f.FirmwareReleasedToGroups(1000, 6, [], [], False))
    assert device(directory).released_version == 7


PUBLIC_KEY, OTHER_KEY = "AAAA", "BBBB"
KEY_DIGEST, OTHER_KEY_DIGEST = (hashlib.sha256(base64.b64decode(key)).hexdigest() for key in (PUBLIC_KEY, OTHER_KEY))


def key_set(device_id: str = DEVICE, key: str = PUBLIC_KEY) -> d.DeviceKeySet:
    return d.DeviceKeySet(device_id, 1000, "ecc", key, first_use=False)


def test_a_device_is_found_by_its_newest_key_only(known: Callable[..., Directory]) -> None:
    directory = known(imported(), key_set())
    found = directory.device_by_key(KEY_DIGEST)
    assert found == device(directory)
    assert found is not None
    assert (found.key_algorithm, found.key_der) == ("ecc", base64.b64decode(PUBLIC_KEY))
    known(key_set(key=OTHER_KEY))
    assert directory.device_by_key(KEY_DIGEST) is None
    assert directory.device_by_key(OTHER_KEY_DIGEST) == device(directory)


def test_a_key_or_certificate_of_two_devices_finds_neither(known: Callable[..., Directory]) -> None:
    certificates = [d.DeviceCertificateSet(one, 1000, SHA) for one in (DEVICE, OTHER_ORG)]
    other = [d.DeviceImported(OTHER_ORG, 1000, False), key_set(OTHER_ORG)]
    directory = known(imported(), key_set(), *other, *certificates)
    assert directory.device_by_key(KEY_DIGEST) is None
    assert directory.device_by_certificate(SHA) is None
    assert directory.device_by_certificate(SHA, ORG) is None


def test_a_certificate_is_looked_for_in_one_organization(known: Callable[..., Directory]) -> None:
    theirs = [d.DeviceImported(OTHER_ORG, 2000, False), d.DeviceCertificateSet(OTHER_ORG, 2000, SHA)]
    other = o.ProductCreated(2000, OTHER_ORG, "beta", "Lamp", "lamp-2", "", "mqtt", 65535, "Consumer", "v1")
    directory = known(product(), other, imported(), d.DeviceCertificateSet(DEVICE, 1000, SHA), *theirs)
    assert directory.device_by_certificate(SHA) is None
    assert directory.device_by_certificate(SHA, ORG) == device(directory)
    assert directory.device_by_certificate(SHA, "0" * 24) is None


def test_a_device_is_found_by_its_newest_certificate_only(known: Callable[..., Directory]) -> None:  # MQC-6
    directory = known(imported(), d.DeviceCertificateSet(DEVICE, 1000, SHA))
    assert directory.device_by_certificate(SHA) == device(directory)
    assert device(directory).certificate == SHA
    known(d.DeviceCertificateSet(DEVICE, 1000, NEW_DIGEST))
    assert directory.device_by_certificate(SHA) is None


def test_a_device_has_its_owner_until_it_is_unclaimed(known: Callable[..., Directory]) -> None:  # CUS-5
    directory = known(imported(), d.DeviceClaimed(DEVICE, 1000, ACCOUNT))
    assert device(directory).owner_id == ACCOUNT
    known(d.DeviceUnclaimed(DEVICE, 1000, ACCOUNT))
    assert device(directory).owner_id is None


def test_it_is_known_since_when_a_device_is_whose_and_in_which_products_somebody_has_any(
    known: Callable[..., Directory], store: EventStore
) -> None:
    directory = known(d.DeviceClaimed(DEVICE, 1000, ACCOUNT), d.DeviceClaimed("f" * 24, 1001, ACCOUNT))
    since = store.read("happened-1", 0, 1)[0].at
    assert directory.owned_since(DEVICE, ACCOUNT) == since
    assert directory.owned_since(DEVICE, ORG) is None
    assert directory.products_of_owner(ACCOUNT) == [1000, 1001]
    assert known(d.DeviceClaimed(DEVICE, 1000, ACCOUNT)).owned_since(DEVICE, ACCOUNT) == since
    again = known(d.DeviceUnclaimed(DEVICE, 1000, ACCOUNT), d.DeviceClaimed(DEVICE, 1000, ORG))
    assert again.owned_since(DEVICE, ACCOUNT) is None
    assert (again.owned_since(DEVICE, ORG) or since) > since
    assert known(d.DeviceRemoved("f" * 24, 1001)).products_of_owner(ACCOUNT) == []


def test_gateways_and_an_organizations_products_are_known(known: Callable[..., Directory]) -> None:
    product = o.ProductCreated(1000, ORG, "acme", "Lamp", "lamp", "", "mqtt", 65535, "Consumer", "")
    other = o.ProductCreated(1001, OTHER_ORG, "x", "Bell", "bell", "", "mqtt", 65535, "Consumer", "")
    directory = known(product, other, *(g.GatewayStarted(name, 1, 15) for name in "bab"))
    assert directory.products_of(ORG) == [1000]
    assert directory.gateways() == ["a", "b"]


def test_a_removed_device_leaves_all_that_let_it_in_behind(known: Callable[..., Directory]) -> None:  # DEV-8
    had = [d.DeviceCertificateSet(DEVICE, 1000, SHA), d.DeviceClaimed(DEVICE, 1000, ACCOUNT)]
    directory = known(imported(), key_set(), *had, d.DeviceRemoved(DEVICE, 1000), imported(product_id=2000))
    entry = device(directory)
    assert (entry.owner_id, entry.key_algorithm, entry.key_der, entry.certificate) == (None, None, None, None)
    assert directory.device_by_key(KEY_DIGEST) is None
    assert directory.device_by_certificate(SHA) is None


def test_a_device_has_the_name_that_the_team_of_its_product_gave_it(known: Callable[..., Directory]) -> None:  # DEV-6
    directory = known(imported(), d.DeviceDescribed(DEVICE, 1000, "cellar", "wet"))
    assert device(directory).name == "cellar"
    known(d.DeviceRemoved(DEVICE, 1000))
    assert device(directory).name == ""


def test_a_device_is_found_by_its_newest_token_only(known: Callable[..., Directory]) -> None:
    directory = known(imported(), d.DeviceTokenReplaced(DEVICE, 1000, DIGEST))
    found = directory.device_by_token(DIGEST)
    assert found is not None
    assert found == directory.device(DEVICE)
    known(d.DeviceTokenReplaced(DEVICE, 1000, NEW_DIGEST))
    assert directory.device_by_token(DIGEST) is None
    assert directory.device_by_token(NEW_DIGEST) == found


def test_a_removed_device_has_no_token_and_no_product_but_what_it_reported(known: Callable[..., Directory]) -> None:
    directory = known(
        imported(True),
        d.DeviceTokenReplaced(DEVICE, 1000, DIGEST),
        d.DeviceLocked(DEVICE, 1000, 9, True),
        d.DevelopmentMarked(DEVICE, 1000, True),
        reported(7),
        d.DeviceRemoved(DEVICE, 1000),
    )
    assert directory.device_by_token(DIGEST) is None
    entry = device(directory)
    assert entry.membership == Membership(None)
    assert (entry.reported_product, entry.reported_version, entry.ever_reported) == (1000, 7, True)
    assert entry.recorded_product == 1000
    known(imported(product_id=1001))
    assert device(directory).membership == Membership(1001)


@pytest.mark.parametrize(
    ("events", "membership"),
    [
        ([imported()], Membership(1000)),
        ([imported(True)], Membership(1000, forced=True)),
        ([imported(), d.DeviceForced(DEVICE, 1000)], Membership(1000, forced=True)),
        ([d.DeviceQuarantined(DEVICE, 1000)], Membership(1000, quarantined=True)),
        ([d.DeviceQuarantined(DEVICE, 1000), d.DeviceApproved(DEVICE, 1000, True)], Membership(1000, forced=True)),
        ([d.DeviceQuarantined(DEVICE, 1000), d.DeviceDenied(DEVICE, 1000)], Membership(1000, denied=True)),
        ([imported(), d.DeviceDenied(DEVICE, 1000), imported()], Membership(1000)),
        ([imported(), d.DevelopmentMarked(DEVICE, 1000, True)], Membership(1000, development=True)),
        ([imported(), d.DeviceLocked(DEVICE, 1000, 7, False)], Membership(1000, locked_version=7)),
        ([imported(), d.DeviceLocked(DEVICE, 1000, 7, True), d.DeviceUnlocked(DEVICE, 1000)], Membership(1000)),
        ([imported(), d.DeviceRemoved(DEVICE, 1001)], Membership(1000)),
    ],
)
def test_what_the_team_decided_is_known(
    known: Callable[..., Directory], events: list[object], membership: Membership
) -> None:
    assert device(known(*events)).membership == membership


def test_a_lock_that_is_flashed_now_is_pending_until_its_version_is_reported(known: Callable[..., Directory]) -> None:
    directory = known(imported(), reported(6), d.DeviceLocked(DEVICE, 1000, 7, True))
    pending = []
    for number in (5, None, 7, 8):
        pending.append(device(directory).membership.flash_pending)
        known(reported(number))
    assert pending == [True, True, True, False]
    assert not device(directory).membership.flash_pending


def test_a_lock_to_what_the_device_runs_is_not_pending(known: Callable[..., Directory]) -> None:
    directory = known(imported(), reported(7), d.DeviceLocked(DEVICE, 1000, 7, True))
    assert not device(directory).membership.flash_pending


def test_a_forced_device_that_reports_another_product_still_waits_for_its_flash(
    known: Callable[..., Directory],
) -> None:
    directory = known(imported(True), d.DeviceLocked(DEVICE, 1000, 7, True), reported(7, product_id=1001))
    assert device(directory).membership.flash_pending


def test_a_device_should_run_what_its_product_releases(known: Callable[..., Directory]) -> None:
    directory = known(product(), version(), imported())
    assert device(directory).target is None
    known(f.FirmwareReleased(1000, 7, None, False))
    assert device(directory).released_version == 7
    assert device(directory).target == Target(7, "release")


def test_a_turn_in_a_rollout_counts_while_that_runs(known: Callable[..., Directory]) -> None:  # FW-6
    rollout_id, other = "7" * 24, "8" * 24
    known(product(), version(), imported(), f.FirmwareReleased(1000, 5, None, False))
    gates = r.RolloutGates(5, 5, 600, None, 10, "pause")
    stage = r.RolloutStage(100, None, False, 0)
    planned = r.RolloutPlanned(1000, rollout_id, 7, [], [stage], [], 9, None, gates, True)
    directory = known(planned, r.RolloutStageBegan(1000, rollout_id, 7, 0, PLACES, None))
    assert device(directory).target == Target(5, "release")
    assert device(directory).waits_for(1000, 5) is not None
    assert device(directory).waits_for(1000, 7) is None
    known(r.RolloutTurnsGiven(1000, rollout_id, 7, 0, [other, DEVICE], []))
    assert (device(directory).target, device(directory).waits_for(1000, 5)) == (Target(7, "rollout"), None)
    known(r.RolloutPaused(1000, rollout_id, "dark", ""))
    assert device(directory).target == Target(5, "release")
    known(r.RolloutResumed(1000, rollout_id), r.RolloutTurnsEnded(1000, other, [DEVICE], [], [], []))
    assert (device(directory).turn, device(directory).turns_ended) == (rollout_id, 0)
    known(r.RolloutTurnsEnded(1000, rollout_id, [], [], [DEVICE], [other]))
    assert (device(directory).turn, device(directory).turns_ended) == (None, 1)
    known(r.RolloutTurnsGiven(1000, rollout_id, 7, 0, [], [DEVICE]), d.DeviceRemoved(DEVICE, 1000))
    assert device(directory).turn is None
    known(r.RolloutTurnsGiven(1000, rollout_id, 7, 0, [], [DEVICE]))  # of a product that it is in no more
    assert device(directory).turn is None


def test_what_was_tried_and_what_the_device_says_of_updates_is_known(known: Callable[..., Directory]) -> None:
    started = [g.UpdateStarted(DEVICE, 1000, number, 1, "release", 9) for number in range(40)]
    directory = known(product(), imported(), *started, g.UpdateStarted(DEVICE, 1000, 20, 2, "rollout", 9))
    assert device(directory).tried == {**dict.fromkeys([*range(8, 20), *range(21, 40)], 1), 20: 2}
    assert device(directory).attempt_cause == "rollout"
    assert device(directory).updates_enabled
    known(g.UpdatesDeclared(DEVICE, 1000, False, True, "a", 1, 1))
    assert (device(directory).updates_enabled, device(directory).updates_forced) == (False, True)
    known(g.UpdateFailed(DEVICE, 1000, 20, 2, "stalled", "", 3, "rollout"))
    assert device(directory).failures == 3
    known(d.UpdateRetryAsked(DEVICE, 1000))
    assert device(directory).failures == 0
    known(g.UpdateFailed(DEVICE, 1000, 20, 3, "stalled", "", 3, "rollout"), d.DeviceRemoved(DEVICE, 1000))
    assert device(directory).failures == 0  # its next product's version of that number never failed on it


def test_failures_of_a_version_are_counted_until_it_succeeds_changes_or_is_asked_for_again(
    known: Callable[..., Directory],
) -> None:
    def attempts() -> tuple[int | None, int, int]:
        entry = device(directory)
        return entry.attempt_version, entry.attempts, entry.failures

    directory = known(imported(), g.UpdateStarted(DEVICE, 1000, 7, 1, "lock", 10))
    assert attempts() == (7, 1, 0)
    known(g.UpdateFailed(DEVICE, 1000, 7, 1, "stalled", "", 1), g.UpdateStarted(DEVICE, 1000, 7, 2, "lock", 10))
    assert attempts() == (7, 2, 1)
    known(g.UpdateFailed(DEVICE, 1000, 7, 2, "stalled", "", 2), d.DeviceLocked(DEVICE, 1000, 7, False))
    assert attempts() == (7, 2, 0)
    known(g.UpdateFailed(DEVICE, 1000, 7, 3, "stalled", "", 1), g.UpdateStarted(DEVICE, 1000, 8, 1, "lock", 10))
    assert attempts() == (8, 1, 0)
    known(g.UpdateFailed(DEVICE, 1000, 8, 1, "stalled", "", 1), g.UpdateSucceeded(DEVICE, 1000, 8, 2))
    assert attempts() == (8, 2, 0)


def test_a_device_is_new_until_an_update_succeeded_and_again_in_another_product(
    known: Callable[..., Directory],
) -> None:  # PRD-5
    directory = known(product(), d.DeviceImported(DEVICE, 1000, False))

    def is_updated() -> bool:
        found = directory.device(DEVICE)
        assert found is not None
        return found.ever_updated

    known(g.UpdateStarted(DEVICE, 1000, 7, 1, "release", 10), g.UpdateFailed(DEVICE, 1000, 7, 1, "stalled", "", 1))
    assert not is_updated()
    known(g.UpdateSucceeded(DEVICE, 1000, 7, 2))
    assert is_updated()
    known(d.DeviceRemoved(DEVICE, 1000), d.DeviceImported(DEVICE, 1001, False))
    assert not is_updated()


def test_a_file_is_to_be_flashed_until_its_one_attempt_is_over_or_the_device_is_locked(
    known: Callable[..., Directory],
) -> None:
    directory = known(product(), imported())

    def asked(version: int = 7, product_id: int = 1000) -> g.FlashAsked:
        return g.FlashAsked(DEVICE, product_id, "1" * 24, version, SHA, 4096, "lamp.bin")

    def wanted() -> int | None:
        found = device(directory).flash
        return None if found is None else found.version

    assert wanted() is None
    known(asked())
    assert device(directory).flash == FlashEntry("1" * 24, 1000, 7, 4096, SHA)
    known(g.UpdateStarted(DEVICE, 1000, 7, 1, "file", 10), g.UpdateInterrupted(DEVICE, 1000, 7, 1, 40))
    known(g.UpdateSucceeded(DEVICE, 1000, 8, 1))
    assert wanted() == 7
    known(g.UpdateSucceeded(DEVICE, 1000, 7, 2))
    assert wanted() is None
    known(asked(8), g.UpdateFailed(DEVICE, 1000, 8, 2, "stalled", "", 1, "release"))
    assert wanted() == 8  # what failed is the release of the same number
    known(g.UpdateFailed(DEVICE, 1000, 8, 3, "stalled", "", 1))
    assert wanted() is None
    known(asked(9), d.DeviceLocked(DEVICE, 1000, 7, flash=False))
    assert wanted() is None
    known(asked(9, 1001))  # it went elsewhere meanwhile
    assert wanted() is None
    known(asked(9), d.DeviceRemoved(DEVICE, 1000), imported())
    assert wanted() is None


def test_a_forgotten_account_loses_its_tokens_and_its_address_at_once(known: Callable[..., Directory]) -> None:  # EVT-5
    directory = known(account(), token(), org(), joined())
    assert directory.token(DIGEST) is not None
    known(o.AccountForgotten(ACCOUNT))
    assert directory.token(DIGEST) is None
    (row,) = _accounts(directory)
    assert (row.email, row.org_id, row.forgotten) == ("forgotten", None, True)
    known(org(OTHER_ORG, "late"), token())  # by processes that did not know yet
    assert directory.token(DIGEST) is None
    assert _accounts(directory)[0].email == "forgotten"


def _accounts(directory: Directory) -> list[Any]:
    with directory.database.connect() as connection:
        return list(connection.execute(sa.select(directory.database.table(ACCOUNTS))))


def test_a_running_directory_tells_of_changed_devices_and_products_in_the_loop(
    store: EventStore, contracts: Registry, tmp_path: Path, happen: Happen
) -> None:
    async def scenario() -> None:
        directory = Directory(tmp_path / "gateway-a", store, contracts)
        directory.start()
        heard: list[tuple[frozenset[str], frozenset[int]]] = []
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def on_change(devices: frozenset[str], products: frozenset[int]) -> None:
            assert asyncio.get_running_loop() is loop
            heard.append((devices, products))
            if sum(len(one) + len(other) for one, other in heard) >= 2:
                changed.set()

        remove = directory.on_change(on_change)
        position = happen(account(), product(), imported())
        assert await directory.wait_for(position, 10)
        assert directory.device(DEVICE) is not None
        assert directory.membership(ACCOUNT) is None
        await changed.wait()
        assert frozenset().union(*[devices for devices, _ in heard]) == {DEVICE}
        assert frozenset().union(*[products for _, products in heard]) == {1000}
        remove()
        before = len(heard)
        assert await directory.wait_for(happen(imported(True)), 10)
        await asyncio.sleep(0)
        assert len(heard) == before
        assert await directory.wait_for(None, 0)
        assert not await directory.wait_for(Position(position + 1_000), 0.01)
        assert await directory.exists(position)
        assert not await directory.exists(Position(position + 1_000))
        await asyncio.to_thread(directory.stop)

    run(scenario)


def test_the_progress_of_an_import_is_known_and_told(directory: Directory, happen: Happen) -> None:  # DEV-1
    job = "7" * 24
    heard: list[str] = []

    async def scenario() -> None:
        moved = asyncio.Event()

        def told(import_id: str) -> None:
            heard.append(import_id)
            moved.set()

        forget = directory.on_import(told)
        happen(d.ImportStarted(job, 1000, SHA, 10, 3, True), d.ImportAdvanced(job, 1000, 10, 3, 2, 1, 0, [], 0))
        directory.projector.catch_up()
        await moved.wait()
        forget()
        happen(d.ImportFinished(job, 1000, 3, 2, 1, 0, 0))
        directory.projector.catch_up()
        await asyncio.sleep(0)

    run(scenario)
    assert set(heard) == {job}
    found = directory.import_job(1000, job)
    assert found is not None
    assert found.is_last
    assert (found.shown["state"], found.shown["lines_done"], found.shown["force"]) == ("done", 3, True)
    assert directory.import_job(1001, job) is None


def test_a_directory_that_is_opened_again_goes_on_where_it_was(
    store: EventStore, contracts: Registry, tmp_path: Path, happen: Happen
) -> None:
    for number in (1, 2):
        directory = Directory(tmp_path / "gateway-a", store, contracts)
        assert (directory.device(DEVICE) is None) == (number == 1)
        happen(imported(forced=number == 2))
        directory.projector.catch_up()
        assert device(directory).membership.forced == (number == 2)
        directory.stop()


def test_a_directory_that_cannot_be_read_is_unavailable(store: EventStore, contracts: Registry, tmp_path: Path) -> None:
    directory = Directory(tmp_path / "gateway-a", store, contracts)
    directory.stop()
    with pytest.raises(Unavailable):
        directory.device(DEVICE)


def test_nobody_new_is_let_in_while_no_beat_is_stored_and_who_is_inside_stays(
    known: Callable[..., Directory], store: EventStore
) -> None:
    async def scenario() -> None:
        directory = known(imported(), product(), version(), d.DeviceTokenReplaced(DEVICE, 1000, DIGEST))
        now_s = 100.0
        life = Life(store, "a", 15, monotonic=lambda: now_s)
        gate = Gate(directory, life)
        with pytest.raises(Unavailable):
            gate.device_by_token(DIGEST)
        with pytest.raises(Unavailable):
            gate.admit_device(DEVICE)
        await life.start()
        assert gate.device_by_token(DIGEST) == directory.device(DEVICE) == gate.device(DEVICE)
        assert gate.admit_device(DEVICE) == directory.device(DEVICE)
        assert gate.admit_device("9" * 24) is None
        now_s = 115.0
        with pytest.raises(Unavailable):
            gate.device_by_token(DIGEST)
        for device_id in (DEVICE, "9" * 24):  # who is not known might be let in as well
            with pytest.raises(Unavailable):
                gate.admit_device(device_id)
        assert gate.device_by_token(NEW_DIGEST) is None
        gate.inside = {DEVICE}
        assert gate.device_by_token(DIGEST) == gate.device(DEVICE) == directory.device(DEVICE)
        assert gate.admit_device(DEVICE) == directory.device(DEVICE)
        assert gate.product("lamp") == directory.product("1000") is not None
        assert gate.image(1000, 7) == directory.image(1000, 7) is not None
        await life.stop()

    run(scenario)
