"""A device's part in a roll-out, in one session: when it asks for its turn, and what its turn brings (FW-6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.gateway.devices.effects import SessionName
from services.gateway.devices.firmware import SAYS_AGAIN_S, Firmware
from services.gateway.devices.identity import Identity
from services.gateway.devices.updates import APPLYING_S, RETRY_S, Updates
from services.gateway.entries import FlashEntry
from shared.events.gateway import RolloutTurnAsked, UpdateFailed, UpdatesDeclared, UpdateStarted, UpdateSucceeded
from shared.rollouts import PLACES, Releases, Rollout, place
from shared.targets import MOST_FAILURES, Target

DEVICE = "0123456789abcdef01234567"
R, NEXT = "a" * 24, "b" * 24
OLD, NEW = (Identity(1000, version, "", "", True) for version in (5, 7))
RUNNING = Rollout(R, 7, share=PLACES)


class Connected:
    """A device of a product whose release is 5, and in which 7 is being rolled out."""

    def __init__(self, directory: Any) -> None:
        self.directory = directory
        self.updates = Updates(DEVICE)
        self.firmware: Firmware
        self.now = 0.0
        for version in (5, 7):
            directory.put_image(version, b"image")
        self.set(RUNNING)

    def set(self, *rollouts: Rollout, **changes: Any) -> None:
        """The directory knows this."""
        default = changes.pop("default", 5)
        releases = Releases(default, {}, rollouts)
        self.directory.change(released_version=default, releases=releases if rollouts else None, **changes)

    def hello(self, told: Identity = OLD) -> list[Any]:
        entry = self.directory.devices[DEVICE]
        self.updates.know(entry, self.now)
        self.updates.connected()
        self.firmware = Firmware(entry, self.updates, self.directory, SessionName("a", 1, 1), self.now)
        return [fact for fact in self.firmware.told(told, self.now) if type(fact).__name__.startswith("Update")]

    def asks(self) -> list[Any]:
        return self.firmware.ask(self.now)

    def news(self) -> list[Any]:
        return self.firmware.directory_changed(self.now)

    def turn(self, rollout_id: str | None = R, ended: int = 0) -> list[Any]:
        self.directory.change(turn=rollout_id, turns_ended=ended)
        return self.news()

    def begin(self) -> list[Any]:
        wanted = self.firmware.wanted()
        assert wanted is not None
        return [*self.updates.begin(wanted, self.now)]

    @property
    def is_offered(self) -> bool:
        at = self.firmware.may_bring_from()
        return at is not None and at <= self.now


ASKED = RolloutTurnAsked(DEVICE, 1000, R, 0)


@pytest.fixture
def device(directory: Any) -> Connected:
    return Connected(directory)


def test_a_device_asks_once_and_is_brought_to_the_version_in_the_same_connection(device: Connected) -> None:
    device.hello()
    assert not device.is_offered
    assert device.asks() == [ASKED]
    assert device.asks() == device.news() == device.asks() == []
    assert not device.is_offered
    device.turn()
    assert device.firmware.target == Target(7, "rollout")
    assert device.is_offered
    assert device.begin() == [UpdateStarted(DEVICE, 1000, 7, 1, "rollout", 5)]
    assert device.hello(NEW) == [UpdateSucceeded(DEVICE, 1000, 7, 1, "rollout")]
    device.turn(None, 1)
    assert (device.asks(), device.firmware.may_bring_from()) == ([], None)


@pytest.mark.parametrize(
    "member",
    [
        {"development": True},
        {"locked_version": 5},
        {"quarantined": True},
        {"denied": True},
        {"product_id": None},
        {"product_id": 1001},  # it reports another product than it is in
    ],
)
def test_who_would_not_get_a_release_does_not_ask(device: Connected, member: Any) -> None:
    device.directory.change(member=member)
    device.hello()
    assert device.asks() == []


def test_one_of_a_later_stage_asks_when_that_has_begun_at_its_next_connection(device: Connected) -> None:
    mine = place(R, DEVICE)
    device.set(replace(RUNNING, share=mine))
    device.hello()
    assert device.asks() == []
    device.set(replace(RUNNING, stage=1, share=mine + 1))
    device.news()
    assert device.asks() == []  # it was connected already when the stage began
    device.hello()
    assert device.asks() == [RolloutTurnAsked(DEVICE, 1000, R, 1)]


def test_in_an_intelligent_rollout_devices_that_are_online_ask_now(device: Connected) -> None:
    device.set()
    device.hello()
    device.set(replace(RUNNING, intelligent=True))
    device.news()
    assert device.asks() == [ASKED]
    device.set(replace(RUNNING, intelligent=True, stage=1))
    device.news()
    assert device.asks() == [RolloutTurnAsked(DEVICE, 1000, R, 1)]


def test_a_share_that_grows_within_a_stage_is_for_those_who_are_connected(device: Connected) -> None:
    device.set(replace(RUNNING, share=0))
    device.hello()
    assert device.asks() == []
    device.set(RUNNING)
    device.news()
    assert device.asks() == [ASKED]


def test_after_a_pause_it_asks_again_also_if_nobody_here_saw_the_pause(device: Connected) -> None:
    device.hello()
    assert device.asks() == [ASKED]
    device.set(replace(RUNNING, resumed=1))
    device.news()
    assert device.asks() == [ASKED]


def test_a_turn_that_ended_without_success_is_asked_for_again_as_its_back_off_allows(device: Connected) -> None:
    device.hello()
    device.asks()
    device.turn()
    device.begin()
    [failed] = device.updates.failed("stalled", "", 1.0)
    device.directory.change(attempt_version=7, attempts=1, failures=failed.failures, attempt_cause="rollout")
    device.turn(None, 1)
    assert device.asks() == []
    assert device.firmware.ask_from() == 1.0 + RETRY_S
    device.now = 1.0 + RETRY_S
    assert device.asks() == [ASKED]


def test_a_failing_device_does_not_ask(device: Connected) -> None:  # FW-7
    device.directory.change(attempt_version=7, attempts=3, failures=MOST_FAILURES)
    device.hello()
    assert device.firmware.ask_from() is None
    device.directory.change(failures=0)  # somebody wants it tried again
    device.news()
    assert device.asks() == [ASKED]


def test_a_turn_that_began_and_ended_unseen_is_asked_for_again(device: Connected) -> None:
    device.hello()
    device.asks()
    device.turn(None, 1)
    assert device.asks() == [ASKED]


@pytest.mark.parametrize("state", ["paused", "cancelled"])
def test_a_pause_breaks_off_what_is_not_being_applied_yet_and_counts_as_no_failure(
    device: Connected, state: Any
) -> None:
    device.hello()
    device.turn()
    device.begin()
    device.set(replace(RUNNING, state=state))
    [broken] = device.news()
    assert isinstance(broken, UpdateFailed)
    assert (broken.reason, broken.failures, broken.cause) == ("cancelled", 0, "rollout")
    assert not device.is_offered
    assert device.asks() == []
    device.set(replace(RUNNING, resumed=1))
    device.news()
    assert device.is_offered  # its turn has not ended


@pytest.mark.parametrize("told", [NEW, OLD])
def test_who_is_applying_it_already_is_let_be_until_it_says_what_it_runs(device: Connected, told: Identity) -> None:
    device.hello()
    device.turn()
    device.begin()
    device.updates.delivered(1.0)
    device.set(replace(RUNNING, state="paused"))
    assert device.news() == []
    assert device.updates.running
    [fate] = device.hello(told)
    assert isinstance(fate, UpdateSucceeded if told == NEW else UpdateFailed)
    assert device.firmware.runs_target  # it keeps the version, or has what is released


def test_a_lock_that_is_flashed_now_ends_even_what_is_being_applied(device: Connected) -> None:
    device.hello()
    device.turn()
    device.begin()
    device.updates.says("UPDATING", "", None, 1.0)
    device.directory.change(member={"locked_version": 5, "flash_pending": True})
    [broken] = device.news()
    assert broken.reason == "cancelled"
    assert device.updates.due(APPLYING_S) == []


def test_rolled_back_whoever_runs_it_goes_back_in_this_connection(device: Connected) -> None:
    device.hello(NEW)
    assert not device.is_offered
    device.set(replace(RUNNING, state="rolled_back"))
    device.news()
    assert device.firmware.target == Target(5, "release")
    assert device.is_offered


def test_rolled_back_whoever_had_its_turn_only_is_let_be(device: Connected) -> None:
    device.hello()
    device.turn()
    device.begin()
    device.set(replace(RUNNING, state="rolled_back"))
    [broken] = device.news()
    assert broken.reason == "cancelled"
    assert device.firmware.runs_target
    assert not device.is_offered


def test_nobody_takes_a_new_version_away_while_the_directory_has_not_heard_that_it_runs(device: Connected) -> None:
    device.set(replace(RUNNING, state="paused"), reported_version=5, reported_product=1000, ever_reported=True)
    device.hello(NEW)
    assert device.firmware.target == Target(7, "rollout")
    assert not device.is_offered


def test_the_same_number_of_another_product_is_another_version(device: Connected) -> None:  # contract 7.4
    device.directory.change(member={"forced": True})
    device.hello(replace(NEW, product=6))
    assert device.firmware.target == Target(5, "release")
    assert device.asks() == [ASKED]


def test_completed_it_goes_on_as_the_release_that_it_has_become(device: Connected) -> None:
    device.hello()
    device.turn()
    device.begin()
    device.set(replace(RUNNING, state="completed"))
    assert device.news() == []
    device.set(default=7)
    assert device.news() == []
    assert device.updates.running


def test_a_device_that_is_flashed_a_file_asks_when_that_is_over(device: Connected) -> None:
    device.hello()
    device.updates.flashing.ask(FlashEntry("f" * 24, 1000, 9, 5, "1" * 64), 0.0)
    assert device.asks() == []
    device.updates.flashing.end()
    assert device.asks() == [ASKED]


def test_a_release_that_fails_ends_no_file_that_has_the_same_number(device: Connected) -> None:  # contract 9.5
    device.hello()
    device.turn()
    device.begin()
    device.updates.flashing.ask(FlashEntry("f" * 24, 1000, 7, 5, "1" * 64), 0.0)
    [broken] = device.updates.failed("stalled", "", 1.0)
    assert broken.cause == "rollout"
    assert device.firmware.flash is not None
    assert device.begin()[0].cause == "file"
    [failed] = device.updates.failed("stalled", "", 2.0)
    assert (failed.cause, device.firmware.flash) == ("file", None)


# -- not now ------------------------------------------------------------------------------------------------------


def test_who_says_not_now_neither_asks_nor_is_offered_anything_until_it_says_otherwise(device: Connected) -> None:
    device.hello()
    assert device.firmware.declares(enabled=False) == [UpdatesDeclared(DEVICE, 1000, False, False, "a", 1, 1)]
    assert device.firmware.declares(enabled=False) == []
    assert (device.asks(), device.firmware.is_put_off) == ([], True)
    device.turn()
    assert not device.is_offered
    assert device.firmware.declares(enabled=True) == [UpdatesDeclared(DEVICE, 1000, True, False, "a", 1, 1)]
    assert device.is_offered
    assert not device.firmware.is_put_off


def test_what_it_said_is_overruled_by_a_lock_that_is_to_be_flashed_now(device: Connected) -> None:  # FW-3
    device.hello()
    device.firmware.declares(enabled=False)
    device.directory.change(member={"locked_version": 7, "flash_pending": True})
    device.news()
    assert (device.firmware.overruled, device.is_offered) == (True, True)
    device.directory.change(member={"flash_pending": False})
    device.news()
    assert (device.firmware.overruled, device.is_offered) == (False, False)


def test_who_forces_itself_is_updated(device: Connected) -> None:
    device.hello()
    device.firmware.declares(enabled=False)
    assert device.firmware.declares(forced=True) == [UpdatesDeclared(DEVICE, 1000, False, True, "a", 1, 1)]
    assert device.asks() == [ASKED]


def test_at_its_next_connection_it_has_a_moment_to_say_it_again(device: Connected) -> None:
    device.directory.change(updates_enabled=False)
    device.hello()
    assert device.firmware.ask_from() == SAYS_AGAIN_S
    assert device.firmware.declares(enabled=False) == []  # as before
    assert device.firmware.ask_from() is None
    device.hello()
    device.now = SAYS_AGAIN_S
    assert device.asks() == [ASKED]


def test_a_connection_that_goes_on_is_in_what_it_said_before(device: Connected) -> None:
    device.directory.change(updates_enabled=False)
    device.hello()
    device.firmware.goes_on()
    assert device.firmware.ask_from() is None


# -- attempts -----------------------------------------------------------------------------------------------------


def test_attempts_at_a_version_are_numbered_on_when_another_was_tried_in_between(device: Connected) -> None:  # FW-7
    device.directory.change(tried={7: 2, 5: 4}, attempt_version=5, attempts=4)
    device.hello()
    device.turn()
    assert device.begin() == [UpdateStarted(DEVICE, 1000, 7, 3, "rollout", 5)]


def test_a_device_that_reports_another_version_than_it_was_brought_to_has_not_succeeded(device: Connected) -> None:
    device.hello()
    device.turn()
    device.begin()
    device.set(default=8)  # while it was on its way, something else was released, and it got that by other means
    device.directory.put_image(8, b"other")
    facts = device.firmware.told(replace(NEW, version=8), 1.0)
    assert not [fact for fact in facts if isinstance(fact, UpdateSucceeded)]
