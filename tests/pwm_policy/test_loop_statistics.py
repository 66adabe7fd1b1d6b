# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest

from pwm_policy.loop_statistics import LoopStatistics


def test_no_ticks_give_no_figures() -> None:
    snapshot = LoopStatistics().snapshot()
    assert math.isnan(snapshot["rate_hz"])
    assert math.isnan(snapshot["period_p99_ms"])


def test_periods_in_milliseconds() -> None:
    statistics = LoopStatistics()
    for started in (0.0, 0.02, 0.04, 0.08):
        statistics.tick(started)
    statistics.inference(0.001)
    snapshot = statistics.snapshot()
    assert snapshot["ticks"] == 4
    assert snapshot["period_p50_ms"] == pytest.approx(20.0)
    assert snapshot["period_max_ms"] == pytest.approx(40.0)
    assert snapshot["rate_hz"] == pytest.approx(37.5)
    assert snapshot["inference_max_ms"] == pytest.approx(1.0)


def test_only_the_last_ticks_count() -> None:
    statistics = LoopStatistics(window=2)
    for started in (0.0, 5.0, 5.1, 5.2):
        statistics.tick(started)
    assert statistics.snapshot()["period_max_ms"] == pytest.approx(100.0)


def test_clear_starts_over() -> None:
    statistics = LoopStatistics()
    statistics.count("missed_ticks", 3)
    statistics.tick(0.0)
    statistics.clear()
    statistics.tick(100.0)
    snapshot = statistics.snapshot()
    assert snapshot["missed_ticks"] == 0
    assert math.isnan(snapshot["period_max_ms"])
