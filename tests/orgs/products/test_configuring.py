from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orgs.names import comparable
from services.orgs.products.configuring import Configuring
from services.orgs.products.device_access import ConfigureDeviceAccess
from services.orgs.products.numbering import NewProduct
from shared.errors import NotFound, Refused
from shared.ids import digest
from tests.certificates import START, authority, new_key

OURS, THEIRS = "ada@example.com", "grace@example.com"


@pytest.fixture
def configuring(world: Any) -> Any:
    def command(name: str) -> Configuring:
        return Configuring(world.streams, world.context(name), world.store.now)

    return command


def product(world: Any, email: str = OURS, name: str = "Lamp") -> int:
    org_id = world.organization(email, f"Org of {email}")
    wanted = NewProduct(org_id, name, "Shines", "mqtt", "Consumer", "")
    made: int = world.numbering(f"create {name} of {email}").create(wanted, lambda: None)
    return made


def called(name: str) -> ConfigureDeviceAccess:
    return ConfigureDeviceAccess(firmware_name=name)


def test_a_product_is_configured_and_answers_with_all_of_it(world: Any, configuring: Any) -> None:
    number = product(world)
    row, position = configuring("1").access(number, ConfigureDeviceAccess(tls_only=True, firmware_name="lamp"))
    assert row == {
        "product_id": number,
        "trust_first_key": False,
        "tls_only": True,
        "provisioning": "off",
        "claim_without_secret": False,
        "firmware_name": "lamp",
        "version_width": 0,
        "provisioning_key": None,
    }
    assert position == world.store.events[-1].position
    assert configuring("1").access(number, ConfigureDeviceAccess(tls_only=True, firmware_name="lamp"))[0] == row
    assert len(world.of_type("DeviceAccessConfigured")) == 1


def test_nothing_is_reserved_for_a_product_that_does_not_exist(world: Any, configuring: Any) -> None:
    with pytest.raises(NotFound):
        configuring("1").access(1000, called("lamp"))
    assert world.store.events == []


def test_the_own_number_needs_no_reservation(world: Any, configuring: Any) -> None:
    number = product(world)
    before = len(world.store.events)
    configuring("1").access(number, called(str(number)))
    configuring("2").access(number, called(""))
    assert len(world.store.events) == before


@pytest.mark.parametrize("spelling", ["lamp", "LAMP", "ｌａｍｐ"])
def test_a_firmware_name_exists_once_in_the_installation_in_whatever_spelling(  # MQF-1
    world: Any, configuring: Any, spelling: str
) -> None:
    first, second = product(world), product(world, THEIRS, "Kettle")
    configuring("1").access(first, called("Lamp"))
    world.pass_time(10_000)
    with pytest.raises(Refused) as refusal:
        configuring("2").access(second, called(spelling))
    assert refusal.value.code == "name_taken"


def test_a_name_that_a_product_had_stays_its_own_for_devices_in_the_field_still_report_it(
    world: Any, configuring: Any
) -> None:
    first, second = product(world), product(world, THEIRS, "Kettle")
    configuring("1").access(first, called("Lamp"))
    configuring("2").access(first, called("Light"))
    world.pass_time(10_000)
    with pytest.raises(Refused):
        configuring("3").access(second, called("Lamp"))
    assert configuring("4").access(first, called("Lamp"))[0]["firmware_name"] == "Lamp"


def test_a_name_that_was_reserved_by_a_crash_is_free_after_a_minute(world: Any, configuring: Any, died: Any) -> None:
    first, second = product(world), product(world, THEIRS, "Kettle")
    world.dies_at(2, after=False)
    with pytest.raises(died):
        configuring("1").access(first, called("lamp"))
    world.dies_at(None, after=False)
    with pytest.raises(Refused):
        configuring("2").access(second, called("lamp"))
    world.pass_time(61)
    assert configuring("3").access(second, called("lamp"))[0]["firmware_name"] == "lamp"


names = st.sampled_from(["lamp", "Lamp", "light", ""])


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([OURS, THEIRS]), names, st.none() | st.integers(1, 2)), max_size=8))
def test_whatever_is_asked_for_and_wherever_it_dies_no_two_products_have_one_name(
    new_world: Any, died: Any, schedule: list[tuple[str, str, int | None]]
) -> None:
    world = new_world()
    numbers = {email: product(world, email, "Thing") for email in (OURS, THEIRS)}
    for step, (email, name, death) in enumerate(schedule):
        world.dies_at(death, after=bool(step % 2))
        command = Configuring(world.streams, world.context(f"step {step}"), world.store.now)
        try:
            command.access(numbers[email], called(name))
        except (Refused, died):
            world.pass_time(40)
    had = {
        number: {
            comparable(one.firmware_name) for one in world.of_type("DeviceAccessConfigured") if one.product_id == number
        }
        for number in numbers.values()
    }
    ours, theirs = had.values()
    assert not ours & theirs


def test_a_secret_is_shown_once_and_only_its_digest_is_stored(world: Any, configuring: Any) -> None:
    number = product(world)
    made = configuring("1").provisioning_key(number)
    (issued,) = world.of_type("ProvisioningKeyIssued")
    assert (issued.product_id, issued.key, issued.secret_digest) == (number, made["key"], digest(made["secret"]))
    assert made["key"] != made["secret"]
    assert made["position"] == world.store.events[-1].position
    assert all(made["secret"].encode() not in event.data for event in world.store.events)
    assert all(len(made[name]) == 24 and made[name].isalnum() for name in ("key", "secret"))


def test_whoever_issues_again_gets_a_secret_that_works_also_by_repeating_the_command(
    world: Any, configuring: Any
) -> None:
    number = product(world)
    made = [configuring("the same").provisioning_key(number) for _ in range(2)]
    assert [one.secret_digest for one in world.of_type("ProvisioningKeyIssued")] == [
        digest(one["secret"]) for one in made
    ]
    row, _ = configuring("2").access(number, ConfigureDeviceAccess(provisioning="create"))
    assert row["provisioning_key"] == made[1]["key"]


def test_no_key_is_issued_for_a_product_that_does_not_exist(world: Any, configuring: Any) -> None:
    with pytest.raises(NotFound):
        configuring("1").provisioning_key(1000)


def test_an_authority_is_trusted_and_answers_as_it_will_be_listed(world: Any, configuring: Any) -> None:
    org_id, text = world.organization(OURS, "Acme"), authority()
    row, position = configuring("1").add_authority(org_id, text, names_devices=True)
    assert (row["org_id"], row["certificate"], row["names_devices"]) == (org_id, text, True)
    assert row["created_at"] == world.store.now
    assert position == world.store.events[-1].position
    assert configuring("1").add_authority(org_id, text, names_devices=True) == (row, position)
    assert [one.authority_id for one in world.of_type("DeviceAuthorityAdded")] == [row["authority_id"]]


def test_an_authority_belongs_to_one_organization_also_under_another_certificate(  # MQC-6
    world: Any, configuring: Any
) -> None:
    ours, theirs, key = world.organization(OURS, "Acme"), world.organization(THEIRS, "Beta"), new_key()
    row, _ = configuring("1").add_authority(ours, authority(key=key), names_devices=False)
    configuring("2").add_authority(ours, authority("Renewed", key), names_devices=False)
    world.pass_time(10_000)
    for name in ("Acme devices", "Mine now"):
        with pytest.raises(Refused) as refusal:
            configuring(name).add_authority(theirs, authority(name, key), names_devices=True)
        assert refusal.value.code == "authority_taken"
    configuring("3").remove_authority(ours, row["authority_id"])
    with pytest.raises(Refused):  # the renewed one is still there
        configuring("4").add_authority(theirs, authority(key=key), names_devices=True)


def test_an_authority_has_no_namesake_in_another_organization(world: Any, configuring: Any) -> None:
    """OpenSSL looks for the signer of a device's certificate by its subject, and fails if it finds the namesake."""
    ours, theirs = world.organization(OURS, "Acme"), world.organization(THEIRS, "Beta")
    row, _ = configuring("1").add_authority(ours, authority("Acme devices"), names_devices=False)
    world.pass_time(10_000)
    for name in ("Acme devices", "ACME DEVICES", "  acme   devices"):
        with pytest.raises(Refused) as refusal:
            configuring(name).add_authority(theirs, authority(name), names_devices=True)
        assert refusal.value.code == "authority_taken"
    configuring("2").add_authority(ours, authority("Acme devices"), names_devices=False)  # with another key
    configuring("3").remove_authority(ours, row["authority_id"])
    with pytest.raises(Refused):
        configuring("4").add_authority(theirs, authority("Acme devices"), names_devices=True)


def test_an_authority_that_was_removed_may_be_anothers(world: Any, configuring: Any) -> None:
    ours, theirs, text = world.organization(OURS, "Acme"), world.organization(THEIRS, "Beta"), authority()
    row, _ = configuring("1").add_authority(ours, text, names_devices=False)
    configuring("2").remove_authority(ours, row["authority_id"])
    world.pass_time(61)
    assert configuring("3").add_authority(theirs, text, names_devices=False)[0]["org_id"] == theirs


def test_a_certificate_that_is_refused_reserves_nothing(world: Any, configuring: Any) -> None:
    org_id = world.organization(OURS, "Acme")
    before = len(world.store.events)
    for text in (authority(is_authority=False), authority(ends_at=START.replace(month=2))):
        with pytest.raises(Refused):
            configuring("1").add_authority(org_id, text, names_devices=False)
    with pytest.raises(NotFound):
        configuring("2").add_authority("f" * 24, authority(), names_devices=False)
    assert len(world.store.events) == before


def test_an_authority_of_another_organization_is_not_removed(world: Any, configuring: Any) -> None:
    ours, theirs = world.organization(OURS, "Acme"), world.organization(THEIRS, "Beta")
    row, _ = configuring("1").add_authority(ours, authority(), names_devices=False)
    with pytest.raises(NotFound):
        configuring("2").remove_authority(theirs, row["authority_id"])
