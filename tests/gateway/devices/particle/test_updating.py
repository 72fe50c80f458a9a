"""Updates over a session: when they begin, what is recorded of them, and who they wait for."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from services.gateway.devices.calls import FunctionCall, Probe, VariableRead
from services.gateway.devices.firmware import SETUP_S
from services.gateway.devices.particle import device_messages, device_reading
from services.gateway.devices.particle.device_updates import Habits, Receiver
from services.gateway.devices.particle.events import Event
from services.gateway.devices.particle.hello import UPDATE_APPLIED, UPDATE_EVENTS
from services.gateway.devices.particle.update_messages import UpdateBegin
from services.gateway.devices.transfers import TransferLimits, Transfers
from services.gateway.entries import ImageEntry
from shared.events.gateway import (
    DevicePublished,
    RolloutTurnAsked,
    UpdateFailed,
    UpdatesDeclared,
    UpdateStarted,
    UpdateSucceeded,
)
from shared.rollouts import PLACES, Releases, Rollout
from tests.gateway.devices.particle.desk import NEW, OLD, PRODUCT, Desk, ParticleDirectory

IMAGE = bytes(range(256)) * 160
VERSION = 2


def released(directory: ParticleDirectory, version: int = VERSION) -> None:
    sha256 = hashlib.sha256(IMAGE).hexdigest()
    directory.images[PRODUCT, version] = ImageEntry(PRODUCT, version, "v2", len(IMAGE), sha256)
    directory.change_product(released_version=version)
    directory.change(released_version=version)


def begins(desk: Desk) -> list[UpdateBegin]:
    return [said for said in map(device_reading.read, desk.sent) if isinstance(said, UpdateBegin)]


def run(desk: Desk, receiver: Receiver) -> None:
    """Let the device and the session talk until neither has anything more to say."""
    seen = len(desk.sent) - 1
    for _ in range(2_000):
        if desk.fetches:
            fetch = desk.fetches.pop(0)
            desk.supply(fetch.offset, IMAGE[fetch.offset : fetch.offset + fetch.length])
        elif seen < len(desk.sent):
            message = desk.sent[seen]
            seen += 1
            for answer in receiver.receive(message, desk.seconds):
                desk.say(answer)
        else:
            return
    raise AssertionError("it does not end")


def test_an_update_begins_when_the_device_has_described_itself(desk: Desk, directory: ParticleDirectory) -> None:
    released(directory)
    desk.connect()
    assert begins(desk) == []
    desk.describe()
    desk.wait(0.0)
    assert [begin.size_bytes for begin in begins(desk)] == [len(IMAGE)]
    assert desk.last(UpdateStarted).version == VERSION


def test_an_update_begins_two_seconds_after_the_hello_at_the_latest(desk: Desk, directory: ParticleDirectory) -> None:
    released(directory)
    desk.connect(NEW)
    desk.wait(1.9)
    assert begins(desk) == []
    desk.wait(0.2)
    assert len(begins(desk)) == 1


def test_an_update_ends_with_the_hello_of_the_new_version(desk: Desk, directory: ParticleDirectory) -> None:
    released(directory)
    desk.connect().describe()
    desk.wait(0.0)
    receiver = Receiver(Habits())
    run(desk, receiver)
    assert receiver.image == IMAGE
    assert [fact.state for fact in desk.facts if type(fact).__name__ == "UpdateAdvanced"][-1] == "applying"
    desk.lose()
    desk.connect(dataclasses.replace(OLD, product_version=VERSION, flags=UPDATE_APPLIED))
    assert desk.last(UpdateSucceeded).version == VERSION
    desk.wait(5.0)
    assert len(begins(desk)) == 1


def test_a_device_that_comes_back_with_the_old_version_has_failed(desk: Desk, directory: ParticleDirectory) -> None:
    released(directory)
    desk.connect().describe()
    desk.wait(0.0)
    run(desk, Receiver(Habits()))
    desk.lose()
    desk.connect()
    assert desk.last(UpdateFailed).reason == "came_back_unchanged"


def test_a_refusal_is_a_failure_and_is_tried_again_after_a_pause(desk: Desk, directory: ParticleDirectory) -> None:
    released(directory)
    desk.connect().describe()
    desk.wait(1.0)
    run(desk, Receiver(Habits(refuses=0x80)))
    assert desk.last(UpdateFailed).reason == "device_refused"
    desk.wait(599, alive=True)
    assert len(begins(desk)) == 1
    desk.wait(2, alive=True)
    assert len(begins(desk)) == 2


def test_an_image_that_is_larger_than_the_device_takes_is_not_sent(desk: Desk, directory: ParticleDirectory) -> None:
    released(directory)
    desk.connect()
    desk.publish("spark/hardware/max_binary", b"1000")
    desk.describe()
    desk.wait(0.0)
    assert begins(desk) == []
    failed = desk.last(UpdateFailed)
    assert failed.reason == "device_refused"
    assert "1000" in failed.text


def test_an_application_that_wants_no_updates_gets_none_until_it_does(desk: Desk, directory: ParticleDirectory) -> None:
    released(directory)
    desk.connect().publish("particle/device/updates/enabled", b"false")
    desk.describe()
    desk.wait(20.0, alive=True)
    assert begins(desk) == []
    desk.publish("particle/device/updates/enabled", b"true")
    desk.wait(0.0)
    assert len(begins(desk)) == 1


def test_while_it_is_updated_a_device_is_asked_nothing_and_told_nothing(
    desk: Desk, directory: ParticleDirectory
) -> None:
    released(directory)
    desk.connect().describe()
    desk.wait(0.0)
    assert desk.ask(FunctionCall("brew")) == []
    assert desk.outcome() == "busy"


def test_a_device_that_is_set_up_gets_its_firmware_before_anything_else(
    desk: Desk, directory: ParticleDirectory
) -> None:  # PRD-5
    released(directory)
    directory.change_product(programs_at_setup=True)
    desk.connect()
    for question in (FunctionCall("brew"), VariableRead("temp")):
        assert desk.ask(question) == []
        assert desk.outcome() == "busy"
    event = DevicePublished("f" * 24, PRODUCT, "fleet/alert", "x", "text", 60, False, desk.now.at, None, 1)
    assert desk.deliver(event) == []
    desk.ask(Probe())
    assert len(desk.answers) == 2  # a ping is asked all the same
    desk.describe()
    desk.wait(0.0)
    assert len(begins(desk)) == 1
    run(desk, Receiver(Habits()))
    desk.lose()
    directory.change(reported_product=PRODUCT, reported_version=VERSION, ever_updated=True)
    desk.connect(dataclasses.replace(OLD, product_version=VERSION, flags=UPDATE_APPLIED)).describe()
    assert len(desk.ask(FunctionCall("brew"))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"product": {"programs_at_setup": False}},
        {"device": {"ever_updated": True}},
        {"device": {"failures": 3, "attempt_version": VERSION, "attempts": 3}},
        {"device": {"member": {"development": True}}},
        {"device": {"released_version": None}},
        {"later_s": SETUP_S},
    ],
)
def test_whoever_is_not_set_up_is_asked_at_once(change: Any, desk: Desk, directory: ParticleDirectory) -> None:  # PRD-5
    released(directory)
    directory.change_product(programs_at_setup=True)
    directory.change_product(**change.get("product", {}))
    directory.change(**change.get("device", {}))
    desk.connect(dataclasses.replace(OLD, flags=0)).publish("particle/device/updates/enabled", b"false")
    desk.publish("particle/device/updates/enabled", b"true")
    desk.seconds += change.get("later_s", 0.0)
    desk.ask(FunctionCall("brew"))
    assert "busy" not in [getattr(answer.outcome, "code", None) for answer in desk.answers]


def test_the_target_that_is_withdrawn_is_not_sent_on(desk: Desk, directory: ParticleDirectory) -> None:
    released(directory)
    desk.connect().describe()
    desk.wait(0.0)
    directory.change(released_version=None)
    desk.news()
    assert desk.last(UpdateFailed).reason == "cancelled"
    assert len(desk.ask(FunctionCall("brew"))) == 1


def test_a_lock_that_is_to_be_flashed_now_does_not_wait_for_the_next_connection(  # FW-3
    desk: Desk, directory: ParticleDirectory
) -> None:
    desk.connect().describe()
    released(directory)
    directory.change(released_version=None, member={"locked_version": VERSION, "flash_pending": True})
    desk.news()
    desk.wait(0.0)
    assert len(begins(desk)) == 1
    assert desk.last(UpdateStarted).cause == "lock"


def test_devices_wait_for_their_turn(directory: ParticleDirectory) -> None:
    granted: list[str] = []
    transfers = Transfers(TransferLimits(at_once=1), granted.append)
    desk = Desk(directory)
    desk.around = dataclasses.replace(desk.around, transfers=transfers)
    released(directory)
    assert transfers.enter("another", desk.seconds)
    desk.connect().describe()
    desk.wait(1.0)
    assert begins(desk) == []
    transfers.done("another", desk.seconds)
    assert granted == [desk.session.device_id]
    desk.news()
    desk.wait(0.0)
    assert len(begins(desk)) == 1
    desk.lose()
    assert transfers.status() == {"running": 0, "waiting": 0}


def test_an_image_is_sent_no_faster_than_the_gateway_may(directory: ParticleDirectory) -> None:
    desk = Desk(directory)
    desk.around = dataclasses.replace(desk.around, transfers=Transfers(TransferLimits(device_bytes_per_s=10_000)))
    released(directory)
    desk.connect().describe()
    desk.wait(0.0)
    receiver, seconds = Receiver(Habits()), 0
    run(desk, receiver)
    while receiver.image is None:
        desk.wait(1.0, alive=True)
        run(desk, receiver)
        seconds += 1
    assert receiver.image == IMAGE
    assert seconds >= 2  # 40 KB at 10 KB a second, the first stretch at once


def test_an_update_that_the_connection_cuts_is_interrupted(desk: Desk, directory: ParticleDirectory) -> None:
    released(directory)
    desk.connect().describe()
    desk.wait(0.0)
    desk.lose()
    assert desk.kinds()[-2:] == ["UpdateInterrupted", "DeviceDisconnected"]


def test_a_late_error_of_a_device_that_has_everything_is_a_failure(desk: Desk, directory: ParticleDirectory) -> None:
    released(directory)
    desk.connect().describe()
    desk.wait(0.0)
    run(desk, Receiver(Habits()))
    desk.publish("spark/device/ota_result", b'{"r":"error"}')
    assert desk.last(UpdateFailed).reason == "device_failed"


# -- roll-outs, and devices that say not now ------------------------------------------------------------------------

ROLLOUT = Rollout("a" * 24, VERSION, share=PLACES)


def rolled_out(directory: ParticleDirectory, rollout: Rollout = ROLLOUT) -> None:
    released(directory)
    directory.change(released_version=None, releases=Releases(None, {}, (rollout,)))


def events_down(desk: Desk) -> list[tuple[str, bytes | None]]:
    said = [device_reading.read(one) for one in desk.sent]
    return [(one.name, one.data) for one in said if isinstance(one, Event)]


def test_a_device_is_sent_the_version_of_a_rollout_when_its_turn_comes(
    desk: Desk, directory: ParticleDirectory
) -> None:  # FW-6
    rolled_out(directory)
    desk.connect().describe()
    desk.wait(5.0)
    assert [fact for fact in desk.facts if isinstance(fact, RolloutTurnAsked)] == [
        RolloutTurnAsked(desk.session.device_id, PRODUCT, ROLLOUT.rollout_id, 0)
    ]
    assert begins(desk) == []
    directory.change(turn=ROLLOUT.rollout_id)
    desk.news()
    desk.wait(0.0)
    assert len(begins(desk)) == 1
    assert desk.last(UpdateStarted).cause == "rollout"


def test_a_pause_stops_the_transfer(desk: Desk, directory: ParticleDirectory) -> None:
    rolled_out(directory)
    directory.change(turn=ROLLOUT.rollout_id)
    desk.connect().describe()
    desk.wait(0.0)
    rolled_out(directory, dataclasses.replace(ROLLOUT, state="paused"))
    desk.news()
    assert desk.last(UpdateFailed).reason == "cancelled"
    rolled_out(directory, dataclasses.replace(ROLLOUT, resumed=1))
    desk.news()
    desk.wait(0.0)
    assert len(begins(desk)) == 2


def test_an_application_that_lets_nobody_update_is_told_what_waits_and_asked_again_when_it_says_so(
    desk: Desk, directory: ParticleDirectory
) -> None:
    desk.connect(NEW)
    desk.publish("particle/device/updates/enabled", b"false")
    assert desk.last(UpdatesDeclared).enabled is False
    directory.change_product(intelligent=True)
    released(directory)
    desk.news()
    desk.wait(5.0)
    assert begins(desk) == []
    assert events_down(desk) == [("particle/device/updates/pending", b"true")]
    desk.publish("particle/device/updates/enabled", b"true")
    desk.wait(0.0)
    assert len(begins(desk)) == 1
    assert events_down(desk)[1:] == [("particle/device/updates/pending", b"false")]


def test_flash_now_overrules_it_and_the_device_is_told_so_first(desk: Desk, directory: ParticleDirectory) -> None:
    desk.connect(NEW)
    desk.publish("particle/device/updates/enabled", b"false")
    released(directory)
    directory.change(released_version=None, member={"locked_version": VERSION, "flash_pending": True})
    desk.news()
    desk.wait(5.0)
    said = [device_reading.read(one) for one in desk.sent]
    told = [one for one in said if isinstance(one, Event | UpdateBegin)]
    assert isinstance(told[0], Event)
    assert (told[0].name, told[0].data) == ("particle/device/updates/forced", b"true")
    assert isinstance(told[1], UpdateBegin)


def test_firmware_that_knows_no_such_events_is_told_none(desk: Desk, directory: ParticleDirectory) -> None:
    desk.connect(dataclasses.replace(NEW, flags=NEW.flags & ~UPDATE_EVENTS))
    desk.publish("particle/device/updates/enabled", b"false")
    released(directory)
    directory.change_product(intelligent=True)
    desk.news()
    desk.wait(5.0)
    assert events_down(desk) == []


def test_a_device_that_begins_anew_in_its_session_gets_what_was_released_meanwhile(
    desk: Desk, directory: ParticleDirectory
) -> None:  # FW-4: on UDP a session may last for months
    desk.connect(NEW, reliable=False)
    released(directory)
    desk.news()
    desk.wait(5.0)
    assert begins(desk) == []
    desk.say(device_messages.hello(desk.id, NEW, confirmable=True))
    desk.wait(5.0)
    assert len(begins(desk)) == 1
