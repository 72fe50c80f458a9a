from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.gateway.directory import Directory
from services.gateway.directory_views import ACCOUNTS
from services.gateway.entries import DeviceEntry, ImageEntry, OrgEntry, ProductEntry, TokenEntry
from services.gateway.gate import Gate
from services.gateway.life import Life
from shared.errors import Unavailable
from shared.events import devices as d
from shared.events import firmware as f
from shared.events import gateway as g
from shared.events import orgs as o
from shared.events.contracts import Registry
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
    assert directory.account_org(ACCOUNT) is None
    known(org())
    assert directory.token(DIGEST) == TokenEntry(TOKEN, ACCOUNT, "ada@example.org", "particle", NOON, ORG)
    assert directory.account_org(ACCOUNT) == ORG
    assert directory.token(NEW_DIGEST) is None
    assert directory.account_org(DEVICE) is None


def test_a_token_without_an_end_has_none(known: Callable[..., Directory]) -> None:
    found = known(account(), token(expires_at=None)).token(DIGEST)
    assert found is not None
    assert found.expires_at is None


def test_a_revoked_token_is_gone(known: Callable[..., Directory]) -> None:
    directory = known(account(), token(), o.TokenRevoked(TOKEN, ACCOUNT, "revoked"))
    assert directory.token(DIGEST) is None


def test_members_and_founders_belong_to_their_organization(known: Callable[..., Directory]) -> None:
    founded = o.OrganizationFounded(ACCOUNT, "ada@example.org", ORG, "Acme", "acme", "monthly")
    joined = o.MemberJoined(OTHER_ORG, DEVICE, "bob@example.org", "administrator")
    directory = known(account(), founded, joined)
    assert directory.account_org(ACCOUNT) == ORG
    assert directory.account_org(DEVICE) == OTHER_ORG


def test_an_organization_is_found_by_id_and_slug(known: Callable[..., Directory]) -> None:
    directory = known(org())
    assert directory.org(ORG) == directory.org("acme") == OrgEntry(ORG, "acme", "Acme")
    assert directory.org("acme2") is None


def test_a_product_is_found_by_number_and_slug_with_its_release(known: Callable[..., Directory]) -> None:
    directory = known(product())
    entry = ProductEntry(1000, ORG, "lamp", "Lamp", "mqtt", 65535, None)
    assert directory.product("1000") == directory.product("lamp") == entry
    known(f.FirmwareReleased(1000, 7, None, intelligent=True))
    assert directory.product("lamp") == ProductEntry(1000, ORG, "lamp", "Lamp", "mqtt", 65535, 7, intelligent=True)
    known(f.ReleaseWithdrawn(1000, 7))
    assert directory.product("lamp") == entry


@pytest.mark.parametrize("ref", ["", "1001", "9" * 400, "²", "-1000", "lamp2", "' OR 1=1"])
def test_no_other_text_finds_a_product(known: Callable[..., Directory], ref: str) -> None:
    assert known(product()).product(ref) is None


def test_an_image_is_found_by_product_and_version(known: Callable[..., Directory]) -> None:
    directory = known(version())
    assert directory.image(1000, 7) == ImageEntry(1000, 7, "lamp 7", 4096, SHA)
    assert directory.image(1000, 8) is None


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


def test_a_forgotten_account_loses_its_tokens_and_its_address_at_once(known: Callable[..., Directory]) -> None:  # EVT-5
    directory = known(account(), token(), org())
    assert directory.token(DIGEST) is not None
    known(o.AccountForgotten(ACCOUNT))
    assert directory.token(DIGEST) is None
    (row,) = _accounts(directory)
    assert (row.email, row.org_id, row.forgotten) == ("forgotten", ORG, True)
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
        assert directory.account_org(ACCOUNT) is None
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
        await asyncio.to_thread(directory.stop)

    run(scenario)


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
        await life.start()
        assert gate.device_by_token(DIGEST) == directory.device(DEVICE) == gate.device(DEVICE)
        now_s = 115.0
        with pytest.raises(Unavailable):
            gate.device_by_token(DIGEST)
        assert gate.device_by_token(NEW_DIGEST) is None
        gate.inside = {DEVICE}
        assert gate.device_by_token(DIGEST) == gate.device(DEVICE) == directory.device(DEVICE)
        assert gate.product("lamp") == directory.product("1000") is not None
        assert gate.image(1000, 7) == directory.image(1000, 7) is not None
        await life.stop()

    run(scenario)
