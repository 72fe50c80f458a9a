from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.effects import Now
from services.gateway.devices.usage import DEVICES_A_FACT, DEVICES_A_SECOND, TOLD_AFTER_S, Usage
from services.gateway.entries import DeviceEntry
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.gateway import DeviceUsage, UsageCounted
from shared.targets import Membership

EVENING = datetime(2030, 1, 1, 23, 50, tzinfo=UTC)
TODAY = datetime(2030, 1, 1, tzinfo=UTC)
A, B, STRANGER = "a" * 24, "b" * 24, "c" * 24
ADA = "d" * 24


def at(seconds: float) -> Now:
    return Now(seconds, EVENING + timedelta(seconds=seconds))


def device(device_id: str) -> DeviceEntry | None:
    if device_id == STRANGER:
        return None
    product_id, owner_id = (1000, ADA) if device_id == A else (1001, None)
    return DeviceEntry(
        device_id, Membership(product_id), None, None, "", "", False, None, None, 0, 0, owner_id=owner_id
    )


def told(usage: Usage, seconds: float) -> list[UsageCounted]:
    return list(usage.due(at(seconds), device))


def test_what_devices_do_is_told_a_minute_later_by_product_with_the_owner() -> None:
    usage = Usage("a", 1, at(0))
    usage.published(A)
    usage.published(A)
    usage.called(A)
    usage.read(B)
    usage.published(STRANGER)
    assert told(usage, TOLD_AFTER_S - 1) == []
    assert told(usage, TOLD_AFTER_S + 9) == [
        UsageCounted(1000, TODAY, [DeviceUsage(A, ADA, 2, 1, 0, 0, 0)], "a", 1),
        UsageCounted(1001, TODAY, [DeviceUsage(B, None, 0, 0, 1, 0, 0)], "a", 1),
    ]
    assert told(usage, 200) == []
    assert len(usage) == 0


def test_sessions_count_when_they_begin_and_their_time_when_they_end() -> None:
    usage = Usage("a", 1, at(0))
    usage.began(A, 1.0)
    usage.began(A, 11.5)  # a newer connection took over
    usage.ended(A, 21.9)
    usage.ended(A, 30.0)
    [fact] = told(usage, 70)
    assert fact.devices == [DeviceUsage(A, ADA, 0, 0, 0, 2, 20)]


def test_a_session_over_midnight_counts_for_both_days() -> None:
    usage = Usage("a", 1, at(0))
    usage.began(A, 0.0)
    assert [fact.day for fact in told(usage, 100)] == [TODAY]
    [first] = told(usage, 600)
    assert (first.day, first.devices) == (TODAY, [DeviceUsage(A, ADA, 0, 0, 0, 0, 600)])
    usage.ended(A, 650)
    [second] = told(usage, 700)
    assert (second.day, second.devices) == (TODAY + timedelta(days=1), [DeviceUsage(A, ADA, 0, 0, 0, 0, 50)])


def test_when_many_devices_are_in_use_each_is_told_of_more_seldom() -> None:
    usage, devices = Usage("a", 1, at(0)), [f"{number:024x}" for number in range(2_000)]
    for device_id in devices:
        usage.published(device_id)
    facts = told(usage, 50) + told(usage, 60)
    assert sum(len(fact.devices) for fact in facts) == 10 * DEVICES_A_SECOND
    assert all(len(fact.devices) <= DEVICES_A_FACT for fact in facts)
    assert [one.device_id for fact in facts for one in fact.devices] == devices[:500]


def test_the_end_of_a_gateway_tells_the_rest() -> None:
    usage = Usage("a", 1, at(0))
    usage.began(A, 0.0)
    usage.published(B)
    facts = list(usage.rest(at(5), device))
    assert [fact.devices for fact in facts] == [
        [DeviceUsage(A, ADA, 0, 0, 0, 1, 5)],
        [DeviceUsage(B, None, 1, 0, 0, 0, 0)],
    ]
    for fact in facts:
        CONTRACTS.encode(fact, 0, Context.new("system:gateway", "tests"))


STEPS = st.lists(st.tuples(st.sampled_from("pcrbe"), st.sampled_from([A, B]), st.floats(0, 400)), max_size=30)


@given(STEPS)
def test_nothing_is_counted_twice_and_nothing_is_left_out(steps: list[tuple[str, str, float]]) -> None:
    usage, now, facts = Usage("a", 1, at(0)), 0.0, list[UsageCounted]()
    for step, device_id, later_s in steps:
        now += later_s
        facts += told(usage, now)
        match step:
            case "p":
                usage.published(device_id)
            case "c":
                usage.called(device_id)
            case "r":
                usage.read(device_id)
            case "b":
                usage.began(device_id, now)
            case _:
                usage.ended(device_id, now)
    facts += list(usage.rest(at(now), device))
    for name, step in (("events", "p"), ("calls", "c"), ("reads", "r"), ("sessions", "b")):
        for device_id in (A, B):
            counted = sum(getattr(one, name) for fact in facts for one in fact.devices if one.device_id == device_id)
            assert counted == sum((word, who) == (step, device_id) for word, who, _ in steps)
