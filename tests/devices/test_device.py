from __future__ import annotations

import pytest

from services.devices.device import (
    ApproveDevice,
    ChangeMember,
    Command,
    DenyDevice,
    DescribeDevice,
    Device,
    Event,
    ForgiveDevice,
    GroupDevice,
    ImportDevice,
    LockDevice,
    MarkDevelopment,
    QuarantineDevice,
    RemoveDevice,
    ReplaceToken,
    Step,
    UnlockDevice,
    decide,
    evolve,
)
from shared.errors import NotFound, Refused
from shared.events.devices import (
    DevelopmentMarked,
    DeviceApproved,
    DeviceDenied,
    DeviceDescribed,
    DeviceForced,
    DeviceGrouped,
    DeviceImported,
    DeviceLocked,
    DeviceQuarantined,
    DeviceRemoved,
    DeviceTokenReplaced,
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
]


@pytest.mark.parametrize(("step", "event"), STEPS)
def test_a_step_happens_once(step: Step, event: Event):
    assert change(MEMBER, step) == [event]
    assert change(evolve(MEMBER, event), step) == []


@pytest.mark.parametrize(
    "step", [ApproveDevice(), ForgiveDevice(), UnlockDevice(), DescribeDevice(), MarkDevelopment(False)]
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


def test_repeating_any_command_after_its_events_adds_nothing_but_a_second_flash():
    commands: list[Command] = [ImportDevice(ID, P, True), QuarantineDevice(ID, P)]
    for state in (Device(), MEMBER, QUARANTINED, DENIED):
        for command in commands:
            done = state
            for event in decide(state, command):
                done = evolve(done, event)
            assert decide(done, command) == []
