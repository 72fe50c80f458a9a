"""What a device did wrong is counted by kind and told at most once a minute."""

from __future__ import annotations

from services.gateway.devices.conduct import Conduct
from services.gateway.devices.memory import DeviceMemory
from shared.events.gateway import DeviceMisbehaved

DEVICE = "0123456789abcdef01234567"


def test_a_kind_is_told_once_a_minute_with_its_count() -> None:
    conduct = Conduct()
    told = [
        (second, event.count)
        for second in range(150)
        if (event := conduct.noted(DEVICE, 1000, "bad_payload", "no JSON", b"x", float(second)))
    ]
    assert told == [(0, 1), (60, 60), (120, 60)]
    assert isinstance(conduct.noted(DEVICE, 1000, "unknown_topic", "", b"", 121.0), DeviceMisbehaved)


def test_what_was_sent_is_shown_in_part_and_without_control_characters() -> None:
    event = Conduct().noted(DEVICE, None, "bad_payload", "no JSON", b"a\\\0\xff" + b"b" * 300, 0.0)
    assert event is not None
    assert event.text == "no JSON; sent a\\x5c\\x00\\xff" + "b" * 60 + "…"


def test_bad_messages_are_counted_by_the_minute() -> None:
    conduct = Conduct()
    assert [conduct.bad_messages(at) for at in (0.0, 1.0, 59.0, 61.0)] == [1, 2, 3, 1]


def test_it_is_forgotten_when_it_would_be_told_anew() -> None:
    conduct = Conduct()
    conduct.noted(DEVICE, None, "bad_payload", "", b"", 0.0)
    assert not conduct.forgettable(59.0)
    assert conduct.forgettable(60.0)


def test_a_device_may_cause_a_thousand_facts_at_once_and_then_two_a_second() -> None:
    memory = DeviceMemory(DEVICE)
    assert memory.may_cause_facts_from(0.0) is None
    memory.caused(999, 0.0)
    assert memory.may_cause_facts_from(0.0) is None
    memory.caused(2, 0.0)  # what one message causes is recorded as a whole
    assert memory.may_cause_facts_from(0.0) == 1.0
    assert memory.may_cause_facts_from(1.0) is None
    assert not memory.forgettable(495.0)
    assert memory.forgettable(496.0)


def test_more_than_thirty_takeovers_of_young_connections_in_a_minute_are_a_storm() -> None:
    memory = DeviceMemory(DEVICE)
    assert [memory.storm(1.0, float(second)) for second in range(30)] == [False] * 30
    assert memory.storm(1.0, 30.0)
    assert memory.storm(100.0, 39.9)
    assert not memory.storm(10.0, 40.1)
    assert not DeviceMemory(DEVICE).storm(1.0, 0.0)
    assert not any(memory.storm(1.0, 200.0 + 3 * turn) for turn in range(100))
