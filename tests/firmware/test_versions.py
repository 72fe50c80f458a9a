from __future__ import annotations

import pytest

from services.firmware.versions import (
    Command,
    DeleteVersion,
    DescribeVersion,
    Event,
    FollowGroup,
    RecordRun,
    Release,
    ReleaseToGroups,
    ReleaseVersion,
    UploadVersion,
    Versions,
    WithdrawRelease,
    decide,
    evolve,
)
from shared.errors import NotFound, Refused
from shared.events.firmware import (
    FirmwareReleased,
    FirmwareReleasedToGroups,
    ReleaseWithdrawn,
    VersionDeleted,
    VersionDescribed,
    VersionFirstRan,
    VersionUploaded,
)

P = 1000
ID = "53ff6f066667574834212367"


def uploaded(version: int, title: str | None = None) -> VersionUploaded:
    by = ("anna@example.com", "a" * 24)
    return VersionUploaded(P, version, title or f"v{version}", "", "firmware.bin", 1, "0" * 64, *by)


def after(*events: Event) -> Versions:
    state = Versions()
    for event in events:
        state = evolve(state, event)
    return state


def refusal(state: Versions, command: Command) -> str:
    with pytest.raises(Refused) as refused:
        decide(state, command)
    return refused.value.code


PROVEN = after(uploaded(3), VersionFirstRan(P, 3, ID))
RELEASED = evolve(PROVEN, FirmwareReleased(P, 3, None, False))


@pytest.mark.parametrize("version", [0, 1, 65_534])
def test_the_first_version_may_have_any_number(version: int):  # FW-1
    assert decide(Versions(), UploadVersion(uploaded(version))) == [uploaded(version)]


@pytest.mark.parametrize("version", [0, 6, 7])
def test_a_version_is_higher_than_every_earlier_one(version: int):  # FW-1
    state = after(uploaded(2), uploaded(7))
    assert refusal(state, UploadVersion(uploaded(version, "new"))) == "version_not_incremented"
    assert decide(state, UploadVersion(uploaded(9))) == [uploaded(9)]


def test_a_title_is_unique_in_the_product():  # FW-1
    assert refusal(after(uploaded(1, "Tea")), UploadVersion(uploaded(2, "Tea"))) == "title_taken"


def test_the_number_is_judged_before_the_title():  # contract 9.3
    assert refusal(after(uploaded(2, "Tea")), UploadVersion(uploaded(2, "Tea"))) == "version_not_incremented"


def test_a_version_that_no_device_has_run_is_not_released():  # FW-5
    assert refusal(after(uploaded(3)), ReleaseVersion(P, 3)) == "firmware_not_running"


def test_a_version_that_ran_is_released_in_place_of_the_earlier_one():  # FW-4
    assert decide(PROVEN, ReleaseVersion(P, 3)) == [FirmwareReleased(P, 3, None, False)]
    state = after(uploaded(3), uploaded(4), VersionFirstRan(P, 4, ID), FirmwareReleased(P, 3, None, False))
    assert decide(state, ReleaseVersion(P, 4, True)) == [FirmwareReleased(P, 4, 3, True)]


def test_releasing_what_is_released_changes_nothing_but_how():
    assert decide(RELEASED, ReleaseVersion(P, 3)) == []
    assert decide(RELEASED, ReleaseVersion(P, 3, True)) == [FirmwareReleased(P, 3, 3, True)]


def test_a_release_is_withdrawn_once():
    assert decide(RELEASED, WithdrawRelease(P, 3)) == [ReleaseWithdrawn(P, 3)]
    assert decide(evolve(RELEASED, ReleaseWithdrawn(P, 3)), WithdrawRelease(P, 3)) == []


def test_withdrawing_another_version_changes_nothing():
    assert decide(evolve(RELEASED, uploaded(4)), WithdrawRelease(P, 4)) == []


def test_a_release_that_was_withdrawn_needs_no_second_proof():  # contract 9.4
    withdrawn = evolve(RELEASED, ReleaseWithdrawn(P, 3))
    assert decide(withdrawn, ReleaseVersion(P, 3)) == [FirmwareReleased(P, 3, None, False)]


@pytest.mark.parametrize("command", [ReleaseVersion(P, 9), WithdrawRelease(P, 9)])
def test_an_unknown_version_is_not_found(command: Command):
    with pytest.raises(NotFound, match=r"Firmware not found\."):
        decide(PROVEN, command)


def test_the_first_run_is_recorded_once_and_only_of_what_was_uploaded():  # FW-5
    assert decide(after(uploaded(3)), RecordRun(P, 3, ID)) == [VersionFirstRan(P, 3, ID)]
    assert decide(PROVEN, RecordRun(P, 3, ID)) == []
    assert decide(PROVEN, RecordRun(P, 4, ID)) == []


def test_what_is_not_named_stays_as_it_is():  # contract 9.2
    state = after(uploaded(3, "three"), uploaded(4, "four"))
    assert decide(state, DescribeVersion(P, 3, description="new")) == [VersionDescribed(P, 3, "three", "new")]
    assert decide(state, DescribeVersion(P, 3, title="3")) == [VersionDescribed(P, 3, "3", "")]
    assert decide(state, DescribeVersion(P, 3, "three", "")) == []
    assert refusal(state, DescribeVersion(P, 3, "four")) == "title_taken"
    with pytest.raises(NotFound):
        decide(state, DescribeVersion(P, 5, "five"))


def test_a_version_that_nobody_ran_and_nobody_needs_is_deleted_and_its_number_is_not_used_again():  # FW-2
    state = after(uploaded(3, "three"))
    assert decide(state, DeleteVersion(P, 3)) == [VersionDeleted(P, 3)]
    gone = evolve(state, VersionDeleted(P, 3))
    with pytest.raises(NotFound):
        decide(gone, DeleteVersion(P, 3))
    assert refusal(gone, UploadVersion(uploaded(3))) == "version_not_incremented"
    assert decide(gone, UploadVersion(uploaded(4, "three"))) == [uploaded(4, "three")]
    assert decide(gone, RecordRun(P, 3, ID)) == []
    with pytest.raises(NotFound):
        decide(gone, ReleaseVersion(P, 3))


@pytest.mark.parametrize(
    ("state", "locked", "code"),
    [
        (PROVEN, 0, "firmware_ran"),
        (after(uploaded(3), FirmwareReleased(P, 3, None, False), ReleaseWithdrawn(P, 3)), 0, "firmware_released"),
        (after(uploaded(3)), 2, "firmware_in_use"),
    ],
)
def test_a_version_with_a_history_or_a_device_is_not_deleted(state: Versions, locked: int, code: str):  # FW-2
    assert refusal(state, DeleteVersion(P, 3, locked)) == code


BOTH = after(*(event for one in (3, 4) for event in (uploaded(one), VersionFirstRan(P, one, ID))))


def to_groups(state: Versions, version: int, *groups: str) -> Versions:
    for event in decide(state, ReleaseToGroups(P, version, frozenset(groups))):
        state = evolve(state, event)
    return state


def test_a_group_has_one_release_at_a_time():  # contract 9.4
    state = to_groups(BOTH, 3, "lab", "hall")
    assert decide(state, ReleaseToGroups(P, 3, frozenset({"hall", "lab"}))) == []
    taken = decide(state, ReleaseToGroups(P, 4, frozenset({"lab"}), intelligent=True))
    assert taken == [FirmwareReleasedToGroups(P, 4, ["lab"], [3], True)]
    assert evolve(state, taken[0]).group_releases == {"hall": 3, "lab": 4}
    assert decide(state, ReleaseToGroups(P, 3, frozenset())) == [FirmwareReleasedToGroups(P, 3, [], [], False)]
    once = after(uploaded(3), FirmwareReleasedToGroups(P, 3, ["lab"], [], False))
    assert refusal(once, DeleteVersion(P, 3)) == "firmware_released"


def test_a_version_that_never_ran_is_released_to_no_group():  # FW-5
    state = after(uploaded(3))
    assert refusal(state, ReleaseToGroups(P, 3, frozenset({"lab"}))) == "firmware_not_running"
    assert decide(state, ReleaseToGroups(P, 3, frozenset())) == []
    with pytest.raises(NotFound):
        decide(state, ReleaseToGroups(P, 4, frozenset()))


def test_a_release_to_all_and_one_to_groups_are_one_command():
    steps = (ReleaseVersion(P, 3), ReleaseToGroups(P, 3, frozenset({"lab"})))
    happened = [FirmwareReleased(P, 3, None, False), FirmwareReleasedToGroups(P, 3, ["lab"], [], False)]
    assert decide(BOTH, Release(steps)) == happened
    assert decide(to_groups(RELEASED, 3, "lab"), Release(steps)) == []
    assert refusal(after(uploaded(3)), Release(steps)) == "firmware_not_running"


def test_what_is_released_to_a_group_goes_with_it():
    state = to_groups(BOTH, 3, "lab", "hall")
    renamed = decide(state, FollowGroup(P, "lab", "den"))
    assert renamed == [FirmwareReleasedToGroups(P, 3, ["den", "hall"], [], False)]
    assert decide(evolve(state, renamed[0]), FollowGroup(P, "lab", "den")) == []
    assert decide(state, FollowGroup(P, "lab")) == [FirmwareReleasedToGroups(P, 3, ["hall"], [], False)]
    assert decide(state, FollowGroup(P, "attic")) == []
