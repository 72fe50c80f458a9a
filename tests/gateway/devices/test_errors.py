import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.conduct import KINDS, Conduct
from services.gateway.devices.effects import SessionName
from services.gateway.devices.errors import Error, published, reset
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.gateway import DeviceErred

DEVICE, NAME = "a" * 24, SessionName("a", 1, 1)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("panic, hard_fault", "reset/panic.hard_fault"),
        ("panic, moon_phase", "reset/panic"),
        ("panic", "reset/panic"),
        ("watchdog", "reset/watchdog"),
        ("update_error", "reset/update_error"),
        ("power_down", None),
        ("user", None),
        ("140", None),
        ("", None),
    ],
)
def test_a_fault_for_which_a_device_started_anew_is_an_error(reason: str, kind: str | None) -> None:
    found = reset(reason)
    assert (None if found is None else found.kind) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("error", "app/error"),
        ("error/", "app/error"),
        ("error/Sensor Lost!", "app/sensor_lost"),
        ("error/pump/dry", "app/pump_dry"),
        ("errors", None),
        ("temperature", None),
    ],
)
def test_an_event_that_is_named_as_an_error_is_one(name: str, kind: str | None) -> None:
    found = published(name, "42")
    assert (None if found is None else found.kind) == kind


@given(st.text(max_size=64), st.none() | st.text())
def test_whatever_a_device_publishes_as_an_error_can_be_recorded(name: str, data: str | None) -> None:
    error = published(f"error/{name}"[:64], data)
    assert error is not None
    fact = Conduct().erred(DEVICE, 1000, error, 7, NAME, 1.0)
    assert fact is not None
    CONTRACTS.encode(fact, 0, Context.new("device:a", "tests"))


def test_an_error_is_told_once_a_minute_with_how_often_it_came() -> None:
    conduct, error = Conduct(), Error("app/dry", "pump")
    told = [conduct.erred(DEVICE, 1000, error, 7, NAME, at) for at in (0.0, 1.0, 2.0, 61.0)]
    assert told == [
        DeviceErred(DEVICE, 1000, "app/dry", "pump", 1, 7, *NAME),
        None,
        None,
        DeviceErred(DEVICE, 1000, "app/dry", "pump", 3, 7, *NAME),
    ]


def test_kinds_that_a_device_makes_up_are_one_kind_when_there_are_too_many() -> None:
    conduct = Conduct()
    facts = [conduct.erred(DEVICE, 1000, Error(f"app/{number}", ""), 7, NAME, 1.0) for number in range(1_000)]
    kinds = [fact.kind for fact in facts if fact is not None]
    assert len(kinds) == KINDS + 1
    assert kinds[-1] == "app/other"
