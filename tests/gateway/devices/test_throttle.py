from __future__ import annotations

from services.gateway.devices.throttle import AdmissionLimits, Throttle

LIMITS = AdmissionLimits()


def simulated(capacity: float, seconds: float, throttle: Throttle) -> tuple[list[float], int]:
    """A loop that takes ``capacity`` connections a second and a crowd that never ends: how late each turn was, and
    how many were let in."""
    now, lates, let_in = 0.0, [], 0
    while now < seconds:
        in_this_turn = 0
        while throttle.take(now):
            in_this_turn += 1
        let_in += in_this_turn
        turn_s = in_this_turn / capacity
        late_s = max(0.0, turn_s - LIMITS.tick_s)
        now += max(LIMITS.tick_s, turn_s)
        throttle.observe(late_s, True, now)
        lates.append(late_s)
    return lates, let_in


def test_a_fast_machine_is_found_out() -> None:
    throttle = Throttle(LIMITS, 0.0)
    _, let_in = simulated(5_000.0, 10.0, throttle)
    assert throttle.rate > 3_000
    assert let_in > 20_000


def test_a_slow_machine_is_never_late_for_long() -> None:
    throttle = Throttle(LIMITS, 0.0)
    lates, let_in = simulated(100.0, 20.0, throttle)
    assert let_in > 0.8 * 100 * 20  # it is used all the same
    assert max(lates[len(lates) // 2 :]) < 0.11  # MQL-4, and a turn more


def test_the_rate_stays_within_its_bounds() -> None:
    throttle = Throttle(LIMITS, 0.0)
    for turn in range(1_000):
        throttle.observe(10.0, True, turn * LIMITS.change_s)
    assert throttle.rate == LIMITS.least_rate
    for turn in range(1_000, 2_000):
        throttle.observe(0.0, True, turn * LIMITS.change_s)
    assert throttle.rate == LIMITS.most_rate


def test_the_rate_does_not_rise_while_nobody_waits() -> None:
    throttle = Throttle(LIMITS, 0.0)
    throttle.observe(0.0, False, 1.0)
    assert throttle.rate == LIMITS.first_rate


def test_the_rate_changes_once_in_a_while_only() -> None:
    throttle = Throttle(LIMITS, 0.0)
    throttle.observe(1.0, True, 1.0)
    throttle.observe(1.0, True, 1.0 + LIMITS.change_s / 2)
    assert throttle.rate == LIMITS.first_rate * LIMITS.share
    assert throttle.late == 1


def test_a_quiet_time_allows_no_more_at_once_than_the_burst() -> None:
    throttle = Throttle(LIMITS, 0.0)
    let_in = 0
    while throttle.take(3_600.0):
        let_in += 1
    assert let_in == LIMITS.first_rate * LIMITS.burst_s
