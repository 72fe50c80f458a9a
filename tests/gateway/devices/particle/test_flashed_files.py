"""A file that is flashed to one device over its session (contract 9.5): what is sent, and what is recorded of it."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from services.gateway.devices.calls import FlashFile, Probe
from services.gateway.devices.flashing import LAG_S
from services.gateway.devices.memory import DeviceMemory
from services.gateway.devices.particle import device_reading
from services.gateway.devices.particle.device_updates import Habits, Receiver
from services.gateway.devices.particle.hello import UPDATE_APPLIED
from services.gateway.devices.particle.update_messages import UpdateBegin
from services.gateway.entries import FlashEntry, ImageEntry
from shared.events.gateway import UpdateFailed, UpdateInterrupted, UpdateStarted, UpdateSucceeded
from tests.gateway.devices.particle.desk import OLD, PRODUCT, Desk, ParticleDirectory
from tests.gateway.devices.particle.test_updating import IMAGE, begins, released, run

FILE = FlashEntry("1" * 24, PRODUCT, 9, len(IMAGE), hashlib.sha256(IMAGE).hexdigest())


def flash(desk: Desk, file: FlashEntry = FILE) -> Any:
    """What the platform is answered."""
    desk.ask(FlashFile(file, "kettle.bin"))
    outcome = desk.outcome()
    desk.wait(0.0)
    return outcome


def ready(desk: Desk) -> Desk:
    desk.connect().describe()
    desk.wait(0.0)
    return desk


def returned(desk: Desk, version: int) -> None:
    """It begins anew, as the update that it had received."""
    desk.lose()
    desk.connect(dataclasses.replace(OLD, product_version=version, flags=UPDATE_APPLIED))


def test_a_file_is_sent_at_once_and_has_succeeded_when_the_device_reports_it(
    desk: Desk, directory: ParticleDirectory
) -> None:
    ready(desk)
    assert flash(desk) is True
    receiver = Receiver(Habits())
    run(desk, receiver)
    assert receiver.image == IMAGE
    assert (desk.last(UpdateStarted).version, desk.last(UpdateStarted).cause) == (FILE.version, "file")
    returned(desk, FILE.version)
    assert desk.last(UpdateSucceeded).version == FILE.version
    desk.wait(600, alive=True)
    assert len(begins(desk)) == 1


def test_a_file_goes_before_the_target_which_comes_again_afterwards(desk: Desk, directory: ParticleDirectory) -> None:
    ready(desk)
    assert flash(desk) is True
    released(directory)  # while it is being sent
    desk.news()
    receiver = Receiver(Habits())
    run(desk, receiver)
    returned(desk, FILE.version)
    desk.describe()
    desk.wait(0.0)
    assert [(one.version, one.cause) for one in desk.facts if isinstance(one, UpdateStarted)] == [
        (FILE.version, "file"),
        (2, "release"),
    ]


def test_a_file_may_carry_the_version_that_the_device_runs(desk: Desk, directory: ParticleDirectory) -> None:
    ready(desk)
    same = dataclasses.replace(FILE, version=OLD.product_version)
    assert flash(desk, same) is True
    run(desk, Receiver(Habits()))
    assert UpdateSucceeded.__name__ not in desk.kinds()
    returned(desk, OLD.product_version)
    assert desk.last(UpdateSucceeded).version == OLD.product_version


def test_a_file_that_failed_is_not_tried_again(desk: Desk, directory: ParticleDirectory) -> None:
    ready(desk)
    assert flash(desk) is True
    run(desk, Receiver(Habits(refuses=0x80)))
    assert desk.last(UpdateFailed).reason == "device_refused"
    desk.wait(3_600, alive=True)
    desk.lose()
    ready(desk)
    desk.wait(3_600, alive=True)
    assert len(begins(desk)) == 1


def test_a_file_that_was_cut_goes_on_at_the_next_connection_to_any_gateway(
    desk: Desk, directory: ParticleDirectory
) -> None:  # FW-7
    ready(desk)
    assert flash(desk) is True
    directory.change(flash=FILE)  # which every gateway hears
    desk.lose()
    assert desk.last(UpdateInterrupted).version == FILE.version
    elsewhere = Desk(directory)
    elsewhere.memory = DeviceMemory(desk.memory.device_id)
    ready(elsewhere)
    receiver = Receiver(Habits())
    run(elsewhere, receiver)
    assert receiver.image == IMAGE
    returned(elsewhere, FILE.version)
    assert elsewhere.last(UpdateSucceeded).version == FILE.version


def test_a_file_that_the_directory_never_hears_of_is_not_wanted_for_ever(
    desk: Desk, directory: ParticleDirectory
) -> None:
    ready(desk)
    assert flash(desk) is True
    desk.lose()
    desk.seconds += LAG_S
    ready(desk)
    assert len(begins(desk)) == 1


def test_a_command_that_is_repeated_flashes_nothing_a_second_time(desk: Desk, directory: ParticleDirectory) -> None:
    ready(desk)
    assert flash(desk) is True
    assert flash(desk) is False
    run(desk, Receiver(Habits(refuses=0x80)))
    assert flash(desk) is False
    assert len(begins(desk)) == 1
    assert flash(desk, dataclasses.replace(FILE, flash_id="2" * 24)) is True
    assert len(begins(desk)) == 2


def test_a_lock_ends_what_was_to_be_flashed(desk: Desk, directory: ParticleDirectory) -> None:
    ready(desk)
    assert flash(desk) is True
    directory.change(flash=FILE)
    desk.news()
    directory.images[PRODUCT, 3] = ImageEntry(PRODUCT, 3, "v3", len(IMAGE), FILE.sha256)
    directory.change(member={"locked_version": 3, "flash_pending": True}, flash=None)
    desk.news()
    assert desk.last(UpdateFailed).reason == "cancelled"


@pytest.mark.parametrize("member", [{"quarantined": True}, {"product_id": 1001}])
def test_whoever_is_held_or_goes_elsewhere_meanwhile_is_not_sent_the_rest(
    desk: Desk, directory: ParticleDirectory, member: dict[str, Any]
) -> None:
    directory.products[1001] = dataclasses.replace(directory.products[PRODUCT], product_id=1001)
    ready(desk)
    assert flash(desk) is True
    directory.change(member=member)
    desk.news()
    assert desk.last(UpdateFailed).reason == "cancelled"


def test_what_cannot_be_flashed_now_is_refused_and_leaves_nothing_behind(
    desk: Desk, directory: ParticleDirectory
) -> None:
    desk.connect()
    desk.publish("spark/hardware/max_binary", b"100000")
    desk.describe()
    desk.wait(0.0)
    assert flash(desk, dataclasses.replace(FILE, product_id=1001)) == "product_mismatch"
    assert flash(desk, dataclasses.replace(FILE, size_bytes=10_000_000)) == "too_large_for_device"
    directory.change(member={"quarantined": True})
    desk.news()
    assert flash(desk) == "device_quarantined"
    directory.change(member={"quarantined": False})
    desk.news()
    assert flash(desk) is True
    assert flash(desk, dataclasses.replace(FILE, flash_id="2" * 24)) == "busy"
    desk.ask(Probe())
    assert desk.outcome() == "busy"
    assert len([said for said in map(device_reading.read, desk.sent) if isinstance(said, UpdateBegin)]) == 1


def test_a_second_file_takes_the_place_of_one_that_waits_and_is_refused_while_that_is_sent(
    desk: Desk, directory: ParticleDirectory
) -> None:
    ready(desk)
    second, third = (dataclasses.replace(FILE, flash_id=digit * 24, version=10) for digit in "23")
    for file in (FILE, second):
        desk.ask(FlashFile(file, "kettle.bin"))
        assert desk.outcome() is True
    desk.wait(0.0)
    assert [fact.version for fact in desk.facts if isinstance(fact, UpdateStarted)] == [10]
    assert flash(desk, third) == "busy"
    assert len(begins(desk)) == 1


def test_a_second_file_takes_the_place_of_one_that_was_cut(desk: Desk, directory: ParticleDirectory) -> None:
    ready(desk)
    assert flash(desk) is True
    directory.change(flash=FILE)
    desk.lose()
    desk.connect()  # and has not described itself yet
    second = dataclasses.replace(FILE, flash_id="2" * 24, version=10)
    desk.ask(FlashFile(second, "kettle.bin"))
    desk.news()  # the directory has not heard of the second
    desk.describe()
    desk.wait(0.0)
    assert [fact.version for fact in desk.facts if isinstance(fact, UpdateStarted)] == [9, 10]
