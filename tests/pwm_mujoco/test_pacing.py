# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pwm_mujoco.pacing import Pacer, RealTimeFactor


class HandClock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_deadlines_do_not_drift() -> None:
    clock = HandClock()
    pacer = Pacer(clock=clock)
    assert pacer.delay(0.01, 0.02) == pytest.approx(0.01)
    clock.now += 0.013  # woke up late
    assert pacer.delay(0.01, 0.02) == pytest.approx(0.007)


def test_a_short_stall_is_made_up() -> None:
    clock = HandClock()
    pacer = Pacer(catch_up_limit=0.1, clock=clock)
    pacer.delay(0.01, 0.02)
    clock.now += 0.06
    assert [pacer.delay(0.01, 0.02) for _ in range(4)] == [0.0] * 4
    assert pacer.dropped == 0.0


def test_a_long_stall_drops_whole_grid_periods() -> None:
    clock = HandClock()
    pacer = Pacer(catch_up_limit=0.1, clock=clock)
    pacer.delay(0.01, 0.02)
    clock.now += 1.005
    pacer.delay(0.01, 0.02)
    assert pacer.dropped == pytest.approx(0.98)
    clock.now += 0.001
    assert pacer.delay(0.01, 0.02) > 0


def test_standing_still_on_purpose_is_not_counted() -> None:
    clock = HandClock()
    pacer = Pacer(clock=clock)
    pacer.delay(0.01, 0.02)
    pacer.idle()
    clock.now += 5.0
    pacer.delay(0.01, 0.02)
    assert pacer.dropped == 0.0


def test_real_time_factor() -> None:
    clock = HandClock()
    factor = RealTimeFactor(clock)
    assert factor.read(3.0) == 0.0
    clock.now += 2.0
    assert factor.read(4.0) == pytest.approx(0.5)
