"""Whole updates: a session and a simulated device of each generation, to the Hello that proves it, and slow links."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from services.gateway.devices.particle import coap, device_messages
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.device_updates import Habits, Receiver
from services.gateway.devices.particle.hello import Hello
from services.gateway.devices.transfers import TransferLimits, Transfers
from services.gateway.entries import ImageEntry
from shared.events.gateway import UpdateFailed, UpdateStarted, UpdateSucceeded
from tests.gateway.devices.particle.desk import NEW, OLD, PRODUCT, Desk, ParticleDirectory

IMAGE = bytes(range(253)) * 160
"""40,480 bytes: 80 chunks, in three stretches."""
DEVICE_ID = "0123456789abcdef01234567"
V3 = Hello(PRODUCT, 1, NEW.flags | 0x80, 6, DEVICE_ID)
EVERY = [
    (OLD, Habits("self_finishing")),
    (OLD, Habits("self_finishing", fast=False)),
    (NEW, Habits("waiting")),
    (replace(OLD, device_id=DEVICE_ID), Habits("self_finishing", reliable=False)),
    (V3, Habits("v3", reliable=False)),
]
NAMES = ["old", "slow", "new", "udp", "v3"]


@pytest.fixture
def released(desk: Desk, directory: ParticleDirectory) -> Desk:
    """A desk whose device has version 7 released for it; it runs version 1."""
    sha256 = hashlib.sha256(IMAGE).hexdigest()
    directory.images[PRODUCT, 7] = ImageEntry(PRODUCT, 7, "seven", len(IMAGE), sha256)
    directory.change(released_version=7)
    return desk


class Device:
    """The device's half of an update beside a desk; ``mute`` devices go on listening."""

    def __init__(self, desk: Desk, habits: Habits) -> None:
        self.desk = desk
        self.receiver = Receiver(habits, first_id=20_000)
        self.taken = len(desk.sent)
        self.supplied = len(desk.fetches)
        self.mute = False

    def run(self, seconds: float = 60.0) -> None:
        """Until so much time has gone by, or the device applies the image."""
        end = self.desk.seconds + seconds
        while self.desk.seconds < end and self.desk.closed is None:
            if not self.exchange():
                if self.receiver.image is not None and not self.mute:
                    return
                self.desk.wait(0.05)

    def exchange(self) -> bool:
        """Whether anything was said, by either side."""
        sent, self.taken = self.desk.sent[self.taken :], len(self.desk.sent)
        answers = [answer for message in sent for answer in self.receiver.receive(message, self.desk.seconds)]
        answers += self.receiver.tick(self.desk.seconds)
        for answer in [] if self.mute else answers:
            self.desk.say(answer)
        fetches, self.supplied = self.desk.fetches[self.supplied :], len(self.desk.fetches)
        for fetch in fetches:
            self.desk.supply(fetch.offset, IMAGE[fetch.offset : fetch.offset + fetch.length])
        return bool(sent or answers or fetches)


def connected(desk: Desk, hello: Hello, habits: Habits) -> Device:
    desk.connect(hello, reliable=habits.reliable)
    device = Device(desk, habits)
    desk.wait(2.1)
    return device


def updates(desk: Desk) -> list[Any]:
    return [fact for fact in desk.facts if type(fact).__name__.startswith("Update")]


def begun(sent: list[Message]) -> int:
    """How often an update was offered."""
    return len([m for m in sent if m.code == coap.POST and coap.path(m) in ((b"u",), (b"S",))])


@pytest.mark.parametrize(("hello", "habits"), EVERY, ids=NAMES)
def test_a_device_is_updated_and_success_is_its_next_hello(released: Desk, hello: Hello, habits: Habits) -> None:
    device = connected(released, hello, habits)
    device.run()
    assert device.receiver.image == IMAGE
    assert isinstance(updates(released)[0], UpdateStarted)
    assert (updates(released)[-1].state, updates(released)[-1].percent) == ("applying", 100)
    released.lose()
    assert not [fact for fact in updates(released) if isinstance(fact, UpdateSucceeded | UpdateFailed)]
    released.wait(20)
    released.connect(replace(hello, product_version=7, flags=hello.flags | 1), reliable=habits.reliable)
    assert updates(released)[-1] == UpdateSucceeded(released.session.device_id, PRODUCT, 7, 1, "release")
    released.wait(20)
    assert begun(released.sent) == 1


def test_a_device_that_refuses_is_tried_again_after_ten_minutes_then_twenty_then_never(released: Desk) -> None:  # FW-7
    device = connected(released, NEW, Habits("waiting", refuses=coap.UNAVAILABLE))
    for _ in range(60):
        device.run(1.0)
        released.wait(60.0, alive=True)
    failures = [fact for fact in updates(released) if isinstance(fact, UpdateFailed)]
    assert [(fact.reason, fact.failures) for fact in failures] == [("device_refused", n) for n in (1, 2, 3)]
    assert "5.03" in failures[0].text
    assert begun(released.sent) == 3


def test_a_device_waits_for_its_turn_and_is_told_nothing(released: Desk) -> None:
    transfers = Transfers(TransferLimits(at_once=1))
    transfers.enter("another", released.seconds)
    released.around = replace(released.around, transfers=transfers)
    device = connected(released, OLD, Habits("self_finishing"))
    released.wait(40, alive=True)
    assert begun(released.sent) == 0
    assert updates(released) == []
    transfers.done("another", released.seconds)
    released.news()
    device.run()
    assert device.receiver.image == IMAGE
    assert transfers.status() == {"running": 0, "waiting": 0}


@pytest.mark.parametrize("when", ["waiting", "sending"])
def test_a_device_that_goes_gives_its_turn_to_another(released: Desk, when: str) -> None:
    transfers = Transfers(TransferLimits(at_once=1))
    if when == "waiting":
        transfers.enter("another", released.seconds)
    released.around = replace(released.around, transfers=transfers)
    connected(released, OLD, Habits("self_finishing"))
    assert transfers.status()["running" if when == "sending" else "waiting"] == 1
    released.lose()
    assert transfers.status() == {"running": 1 if when == "waiting" else 0, "waiting": 0}


def test_the_image_is_not_asked_for_faster_than_the_rate_of_the_device(released: Desk) -> None:
    transfers = Transfers(TransferLimits(device_bytes_per_s=4_096))
    released.around = replace(released.around, transfers=transfers)
    device = connected(released, OLD, Habits("self_finishing"))
    begins = released.seconds
    device.run()
    assert device.receiver.image == IMAGE
    assert 32_768 / 4_096 - 1 <= released.seconds - begins <= 32_768 / 4_096 + 1


def test_a_device_that_takes_the_image_slowly_and_says_nothing_is_not_gone(released: Desk) -> None:
    device = connected(released, OLD, Habits("self_finishing"))
    device.exchange()  # it agrees
    device.exchange()
    device.mute = True
    for _ in range(2):
        released.wait(25)  # the socket takes nothing more for so long
        device.exchange()
    released.wait(25)
    assert released.closed is None


def test_a_device_that_falls_silent_in_the_middle_has_failed_and_is_then_gone(released: Desk) -> None:
    device = connected(released, OLD, Habits("self_finishing"))
    device.exchange()
    device.mute = True
    device.run(200)
    assert isinstance(updates(released)[-1], UpdateFailed)
    assert updates(released)[-1].reason == "stalled"
    assert released.closed is not None
    assert [fact.attempt for fact in updates(released) if isinstance(fact, UpdateStarted)] == [1]


def test_a_device_that_says_it_could_not_apply_what_it_got_has_failed(released: Desk) -> None:
    device = connected(released, OLD, Habits("self_finishing", verdict=-1))
    device.run(5)
    assert isinstance(updates(released)[-1], UpdateFailed)
    assert updates(released)[-1].reason == "device_failed"


def test_pings_are_answered_during_an_update(released: Desk) -> None:
    connected(released, OLD, Habits("self_finishing"))
    assert released.say(device_messages.ping(77)) == [device_messages.acknowledgement(77)]
