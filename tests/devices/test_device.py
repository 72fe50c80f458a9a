from __future__ import annotations

import pytest

from services.devices.attributes import parse
from services.devices.device import (
    ApproveDevice,
    ChangeMember,
    ClaimDevice,
    Command,
    DenyDevice,
    DescribeDevice,
    DesireAttributes,
    Device,
    Event,
    ForgiveDevice,
    GroupDevice,
    ImportDevice,
    LockDevice,
    MarkDevelopment,
    ProvisionDevice,
    QuarantineDevice,
    RemoveDevice,
    ReplaceToken,
    SetCertificate,
    SetKey,
    Step,
    UnclaimDevice,
    UnlockDevice,
    decide,
    evolve,
)
from shared.errors import NotFound, Refused
from shared.events.devices import (
    AttributesDesired,
    DevelopmentMarked,
    DeviceApproved,
    DeviceCertificateSet,
    DeviceClaimed,
    DeviceDenied,
    DeviceDescribed,
    DeviceForced,
    DeviceGrouped,
    DeviceImported,
    DeviceKeySet,
    DeviceLocked,
    DeviceProvisioned,
    DeviceQuarantined,
    DeviceRemoved,
    DeviceTokenReplaced,
    DeviceUnclaimed,
    DeviceUnlocked,
)

ID = "53ff6f066667574834212367"
P, OTHER = 1000, 2000


def after(*events: Event) -> Device:
    state = Device()
    for event in events:
        state = evolve(state, event)
    return state


def change(state: Device, *steps: Step) -> list[Event]:
    return decide(state, ChangeMember(ID, P, steps))


MEMBER = after(DeviceImported(ID, P, False))
QUARANTINED = after(DeviceQuarantined(ID, P))
DENIED = after(DeviceQuarantined(ID, P), DeviceDenied(ID, P))


def test_an_id_never_seen_before_becomes_a_member():  # DEV-1
    assert decide(Device(), ImportDevice(ID, P)) == [DeviceImported(ID, P, False)]


def test_importing_a_member_again_changes_nothing():  # DEV-1
    assert decide(MEMBER, ImportDevice(ID, P)) == []


def test_force_is_set_on_a_member_once():  # DEV-3
    assert decide(MEMBER, ImportDevice(ID, P, forced=True)) == [DeviceForced(ID, P)]
    assert decide(evolve(MEMBER, DeviceForced(ID, P)), ImportDevice(ID, P, forced=True)) == []


def test_an_import_without_force_leaves_a_forced_device_forced():  # DEV-3
    forced = after(DeviceImported(ID, P, True))
    assert forced.forced
    assert decide(forced, ImportDevice(ID, P, forced=False)) == []


@pytest.mark.parametrize("state", [MEMBER, QUARANTINED, DENIED])
def test_a_member_of_another_product_is_refused(state: Device):
    with pytest.raises(Refused) as refusal:
        decide(state, ImportDevice(ID, OTHER))
    assert refusal.value.code == "other_product"


def test_a_removed_device_can_be_imported_elsewhere():  # DEV-8
    removed = evolve(MEMBER, DeviceRemoved(ID, P))
    assert decide(removed, ImportDevice(ID, OTHER)) == [DeviceImported(ID, OTHER, False)]


@pytest.mark.parametrize("state", [QUARANTINED, DENIED])
@pytest.mark.parametrize("forced", [False, True])
def test_an_import_approves_a_device_in_quarantine(state: Device, forced: bool):  # DEV-4
    (event,) = decide(state, ImportDevice(ID, P, forced))
    assert event == DeviceApproved(ID, P, forced)
    approved = evolve(state, event)
    assert (approved.quarantined, approved.denied, approved.forced) == (False, False, forced)


@pytest.mark.parametrize(
    ("state", "joined"),
    [
        (Device(), [DeviceImported(ID, P, False)]),
        (MEMBER, []),
        (QUARANTINED, [DeviceApproved(ID, P, False)]),
        (after(DeviceImported(ID, P, False), DeviceKeySet(ID, P, "rsa", "AAAA", first_use=True)), []),
        (after(DeviceImported(ID, P, False), DeviceKeySet(ID, P, "ecc", "CCCC", first_use=False)), []),
    ],
)
def test_an_import_with_a_key_puts_it_on_record_in_place_of_any_other(state: Device, joined: list[Event]):
    command = ImportDevice(ID, P, key=SetKey("ecc", "BBBB"))
    events = decide(state, command)
    assert events == [*joined, DeviceKeySet(ID, P, "ecc", "BBBB", first_use=False)]
    for event in events:
        state = evolve(state, event)
    assert decide(state, command) == []
    assert decide(state, ImportDevice(ID, P)) == []
    assert state.public_key == "BBBB"


def test_an_import_sets_no_key_of_a_device_of_another_product():
    with pytest.raises(Refused) as refusal:
        decide(MEMBER, ImportDevice(ID, OTHER, key=SetKey("ecc", "BBBB")))
    assert refusal.value.code == "other_product"


def test_only_a_device_of_no_product_is_put_into_quarantine():  # DEV-4
    assert decide(Device(), QuarantineDevice(ID, P)) == [DeviceQuarantined(ID, P)]
    for state in (MEMBER, QUARANTINED, DENIED, after(DeviceImported(ID, OTHER, False))):
        assert decide(state, QuarantineDevice(ID, P)) == []


def test_a_denial_can_be_taken_back_into_quarantine():  # DEV-4
    (event,) = change(DENIED, ForgiveDevice())
    assert evolve(DENIED, event) == QUARANTINED


STEPS: list[tuple[Step, Event]] = [
    (DenyDevice(), DeviceDenied(ID, P)),
    (DescribeDevice(name="Kettle"), DeviceDescribed(ID, P, "Kettle", "")),
    (DescribeDevice(notes="in the hall"), DeviceDescribed(ID, P, "", "in the hall")),
    (MarkDevelopment(True), DevelopmentMarked(ID, P, True)),
    (GroupDevice(frozenset({"b", "a"})), DeviceGrouped(ID, P, ["a", "b"])),
    (LockDevice(3), DeviceLocked(ID, P, 3, False)),
    (ReplaceToken("0" * 64), DeviceTokenReplaced(ID, P, "0" * 64)),
    (SetKey("rsa", "AAAA"), DeviceKeySet(ID, P, "rsa", "AAAA", first_use=False)),
    (SetKey("ecc", "AAAA", first_use=True), DeviceKeySet(ID, P, "ecc", "AAAA", first_use=True)),
    (SetCertificate("1" * 64), DeviceCertificateSet(ID, P, "1" * 64)),
    (DesireAttributes(parse({"rate": 5}, ["gone"])), AttributesDesired(ID, P, '{"rate":5}', [])),
]


@pytest.mark.parametrize(("step", "event"), STEPS)
def test_a_step_happens_once(step: Step, event: Event):
    assert change(MEMBER, step) == [event]
    assert change(evolve(MEMBER, event), step) == []


@pytest.mark.parametrize("held", [QUARANTINED, DENIED])
def test_what_is_approved_may_be_forced_also_when_it_is_approved_already(held: Device):  # DEV-3, DEV-4
    assert change(held, ApproveDevice()) == [DeviceApproved(ID, P, False)]
    assert change(held, ApproveDevice(forced=True)) == [DeviceApproved(ID, P, True)]
    assert change(MEMBER, ApproveDevice(forced=True)) == [DeviceForced(ID, P)]
    assert change(evolve(MEMBER, DeviceForced(ID, P)), ApproveDevice(forced=True)) == []


@pytest.mark.parametrize(
    "step",
    [
        ApproveDevice(),
        ForgiveDevice(),
        UnlockDevice(),
        DescribeDevice(),
        MarkDevelopment(False),
        UnclaimDevice(),
        DesireAttributes(parse({}, ["none"])),
    ],
)
def test_what_is_true_already_is_not_told_again(step: Step):
    assert change(MEMBER, step) == []


def test_flashing_now_again_is_a_new_wish():  # FW-3
    locked = evolve(MEMBER, DeviceLocked(ID, P, 3, True))
    assert change(locked, LockDevice(3, flash=True)) == [DeviceLocked(ID, P, 3, True)]
    assert change(locked, LockDevice(3)) == []


def test_a_lock_is_taken_off():  # FW-3
    assert change(evolve(MEMBER, DeviceLocked(ID, P, 3, False)), UnlockDevice()) == [DeviceUnlocked(ID, P)]


def test_a_description_keeps_what_is_not_named():
    named = evolve(MEMBER, DeviceDescribed(ID, P, "Kettle", "old"))
    assert change(named, DescribeDevice(notes="")) == [DeviceDescribed(ID, P, "Kettle", "")]


def test_several_steps_see_each_other():
    events = change(MEMBER, DescribeDevice(name="a"), DescribeDevice(notes="b"), DescribeDevice(name="a"))
    assert events == [DeviceDescribed(ID, P, "a", ""), DeviceDescribed(ID, P, "a", "b")]


@pytest.mark.parametrize("state", [Device(), after(DeviceImported(ID, OTHER, False))])
def test_who_is_no_member_is_not_found(state: Device):
    with pytest.raises(NotFound, match="Device not found for this product"):
        change(state, MarkDevelopment(True))


def test_nothing_follows_a_removal():
    with pytest.raises(NotFound):
        change(MEMBER, RemoveDevice(), MarkDevelopment(True))


def test_a_removal_forgets_what_the_team_decided():  # DEV-8
    busy = after(
        DeviceImported(ID, P, True),
        DeviceLocked(ID, P, 3, True),
        DeviceTokenReplaced(ID, P, "0" * 64),
        DeviceUnlocked(ID, P),
        DevelopmentMarked(ID, P, True),
        DeviceGrouped(ID, P, ["a"]),
    )
    assert change(busy, RemoveDevice()) == [DeviceRemoved(ID, P)]
    assert evolve(busy, DeviceRemoved(ID, P)) == Device()


def test_a_removal_says_whose_the_device_was():
    owned = after(DeviceImported(ID, P, True), DeviceClaimed(ID, P, ADA))
    assert change(owned, RemoveDevice()) == [DeviceRemoved(ID, P, ADA)]


def test_repeating_any_command_after_its_events_adds_nothing_but_a_second_flash():
    commands: list[Command] = [ImportDevice(ID, P, True), QuarantineDevice(ID, P)]
    for state in (Device(), MEMBER, QUARANTINED, DENIED):
        for command in commands:
            done = state
            for event in decide(state, command):
                done = evolve(done, event)
            assert decide(done, command) == []


ADA, BOB = "a" * 24, "b" * 24
CLAIMED = DeviceClaimed(ID, P, ADA)


def test_the_team_replaces_a_key_and_the_first_use_does_not():
    known = evolve(MEMBER, DeviceKeySet(ID, P, "rsa", "AAAA", first_use=True))
    assert change(known, SetKey("rsa", "BBBB", first_use=True)) == []
    assert change(known, SetKey("rsa", "BBBB")) == [DeviceKeySet(ID, P, "rsa", "BBBB", first_use=False)]


@pytest.mark.parametrize("state", [QUARANTINED, DENIED])
def test_who_is_no_full_member_brings_no_first_key(state: Device):  # DEV-4
    assert change(state, SetKey("rsa", "AAAA", first_use=True)) == []


def test_desired_attributes_change_and_go_by_name():  # MQX-3
    state = evolve(MEMBER, AttributesDesired(ID, P, '{"a":1,"b":2}', []))
    (event,) = change(state, DesireAttributes(parse({"a": 1, "b": None, "c": [3]})))
    assert event == AttributesDesired(ID, P, '{"c":[3]}', ["b"])
    assert evolve(state, event).desired == {"a": "1", "c": "[3]"}


def test_a_device_has_one_owner():  # CUS-5
    assert decide(MEMBER, ClaimDevice(ID, ADA)) == [CLAIMED]
    owned = evolve(MEMBER, CLAIMED)
    assert decide(owned, ClaimDevice(ID, ADA)) == []
    with pytest.raises(Refused, match="belongs to someone else") as refusal:
        decide(owned, ClaimDevice(ID, BOB))
    assert refusal.value.code == "claimed_elsewhere"
    (freed,) = change(owned, UnclaimDevice())
    assert freed == DeviceUnclaimed(ID, P, ADA)
    assert decide(evolve(owned, freed), ClaimDevice(ID, BOB)) == [DeviceClaimed(ID, P, BOB)]


def test_who_may_claim_devices_of_one_product_claims_none_that_has_moved_to_another():  # CUS-5
    assert decide(MEMBER, ClaimDevice(ID, ADA, product_id=P)) == [CLAIMED]
    with pytest.raises(NotFound):
        decide(MEMBER, ClaimDevice(ID, ADA, product_id=P + 1))


def test_only_a_full_member_is_claimed():  # DEV-4
    with pytest.raises(NotFound):
        decide(Device(), ClaimDevice(ID, ADA))
    for state in (QUARANTINED, DENIED):
        with pytest.raises(Refused) as refusal:
            decide(state, ClaimDevice(ID, ADA))
        assert refusal.value.code == "not_claimable"


TOKEN, PRINT = "0" * 64, "1" * 64
TOKEN_SET = DeviceTokenReplaced(ID, P, TOKEN)
CERTIFICATE_SET = DeviceCertificateSet(ID, P, PRINT)


@pytest.mark.parametrize("create", [False, True])
def test_a_member_is_provisioned_once(create: bool):  # MQTT section 8
    events = decide(MEMBER, ProvisionDevice(ID, P, TOKEN, None, create))
    assert events == [DeviceProvisioned(ID, P, created=False), TOKEN_SET]
    for event in (*events, CERTIFICATE_SET):
        with pytest.raises(Refused) as refusal:
            decide(evolve(MEMBER, event), ProvisionDevice(ID, P, TOKEN, None, create))
        assert refusal.value.code == "already_provisioned"


def test_a_device_of_no_product_is_created_where_that_is_allowed():  # MQTT section 8
    assert decide(Device(), ProvisionDevice(ID, P, None, PRINT, create=True, name="Kettle")) == [
        DeviceImported(ID, P, False),
        DeviceDescribed(ID, P, "Kettle", ""),
        DeviceProvisioned(ID, P, created=True),
        CERTIFICATE_SET,
    ]
    with pytest.raises(NotFound):
        decide(Device(), ProvisionDevice(ID, P, TOKEN, None, create=False))


@pytest.mark.parametrize("create", [False, True])
def test_a_device_that_is_not_the_products_is_not_provisioned(create: bool):
    with pytest.raises(NotFound):
        decide(after(DeviceImported(ID, OTHER, False)), ProvisionDevice(ID, P, TOKEN, None, create))
    for state in (QUARANTINED, DENIED):
        with pytest.raises(Refused) as refusal:
            decide(state, ProvisionDevice(ID, P, TOKEN, None, create))
        assert refusal.value.code == "not_provisionable"


def test_leaving_the_product_drops_all_that_it_had_there():  # DEV-8
    key = DeviceKeySet(ID, P, "rsa", "AAAA", first_use=False)
    desired = AttributesDesired(ID, P, '{"a":1}', [])
    provisioned = DeviceProvisioned(ID, P, created=False)
    had = after(DeviceImported(ID, P, False), key, TOKEN_SET, CERTIFICATE_SET, provisioned, CLAIMED, desired)
    assert evolve(had, DeviceRemoved(ID, P)) == Device(claims=1)  # consents to hand it over name a claim
