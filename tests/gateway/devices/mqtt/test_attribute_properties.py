"""Whatever is reported and desired, in whatever order: both sides end up knowing the same (MQU-3, MQX-3)."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.gateway.devices.mqtt.packets import Publish, decode
from services.gateway.devices.mqtt.reader import FrameReader
from shared.events.gateway import AttributesReported
from tests.gateway.devices.conftest import ClientWire, Desk, FakeDirectory

ATTRIBUTES = "v1/devices/me/attributes"
names = st.sampled_from(["a", "b", "c", "d"])
scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 1.5]) | st.text("xé", max_size=2)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2), max_leaves=4
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(names, values, max_size=4), max_size=8))
def test_the_recorded_changes_add_up_to_what_was_reported(reports: list[dict[str, Any]]) -> None:
    directory = FakeDirectory()
    directory.add()
    desk = Desk(directory).connect()
    told: dict[str, Any] = {}
    for report in reports:
        told = {name: value for name, value in {**told, **report}.items() if value is not None}
        desk.up(ATTRIBUTES, json.dumps(report).encode())
        desk.up(ATTRIBUTES, json.dumps(report).encode())  # as devices do at each boot
    changes = [fact for fact in desk.facts if isinstance(fact, AttributesReported)]
    folded: dict[str, Any] = {}
    for change in changes:
        before = json.dumps(folded, sort_keys=True)
        folded |= json.loads(change.values)
        folded = {name: value for name, value in folded.items() if name not in change.removed}
        assert json.dumps(folded, sort_keys=True) != before  # no event without a change
    assert json.dumps(folded, sort_keys=True) == json.dumps(told, sort_keys=True)


class Device:
    """Keeps what it is told on the attributes topic."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.known: dict[str, Any] = {}
        self.unacknowledged: list[int] = []

    def hear(self, sent: list[bytes]) -> None:
        reader = FrameReader(1 << 20)
        reader.feed(b"".join(sent))
        while (frame := reader.take()) is not None:
            if frame.first >> 4 != 3:
                continue
            packet = decode(frame, self.desk.session.level)
            assert isinstance(packet, Publish)
            self.unacknowledged.append(packet.packet_id)
            told = json.loads(packet.payload)
            for name in told.pop("deleted", []):
                self.known.pop(name, None)
            self.known |= told

    def acknowledge(self) -> None:
        while self.unacknowledged:
            self.hear(self.desk.send(b"\x40\x02" + self.unacknowledged.pop(0).to_bytes(2, "big")))


steps = st.lists(
    st.tuples(st.just("desire"), st.dictionaries(names, st.integers(0, 3), max_size=3), st.lists(names, max_size=2))
    | st.tuples(st.sampled_from(["acknowledge", "take over", "unsubscribe", "subscribe"])),
    max_size=12,
)


@settings(max_examples=80, deadline=None)
@given(steps)
@example([("unsubscribe",), ("desire", {"a": 1}, []), ("take over",)])
@example([("desire", {"a": 1}, []), ("take over",), ("take over",), ("desire", {"b": 1}, ["a"])])
def test_a_device_that_listens_in_the_end_knows_all_that_was_desired_meanwhile(story: list[Any]) -> None:
    directory = FakeDirectory()
    directory.add()
    desk = Desk(directory).connect()
    device = Device(desk)
    device.hear(desk.send(ClientWire.subscribe(ATTRIBUTES)))
    wanted: dict[str, Any] = {}
    for what, *given_ in story:
        match what:
            case "desire":
                changed, removed = given_
                gone = [name for name in removed if name not in changed]
                directory.desire(changed, gone)
                wanted = {name: value for name, value in {**wanted, **changed}.items() if name not in gone}
                device.hear(desk.news())
            case "acknowledge":
                device.acknowledge()
            case "take over":
                desk.replaced()
                device.unacknowledged.clear()
                desk.connect(replaced_address="192.0.2.9")
                device.hear(desk.send(ClientWire.subscribe(ATTRIBUTES)))
            case "unsubscribe":
                desk.send(ClientWire.packet(0xA2, b"\x00\x09" + ClientWire.text(ATTRIBUTES)))
            case "subscribe":
                device.hear(desk.send(ClientWire.subscribe(ATTRIBUTES)))
    device.hear(desk.send(ClientWire.subscribe(ATTRIBUTES)))
    for _ in range(5):
        device.acknowledge()
    assert device.known == wanted
