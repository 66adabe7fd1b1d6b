# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_policy.cadence import Beat, Cadence

NEW, AGAIN = Beat(repeated=False), Beat(repeated=True)
STEP = 0.02


def beats(*stamps: float) -> list[Beat | None]:
    """What messages are that arrive as fast as they can."""
    cadence = Cadence(STEP)
    assert not any(cadence.objection(stamp, 0.0) for stamp in sorted(stamps))
    return [cadence.hear(stamp, 0.0) for stamp in stamps]


@pytest.mark.parametrize("rate", [50, 100, 500, 1000])
def test_one_message_per_control_step_of_a_faster_sensor(rate: int) -> None:
    jitter = np.random.default_rng(0).uniform(-0.0005, 0.0005, rate * 4)
    stamps = 100 + np.arange(rate * 4) / rate + jitter
    decided = [stamp for stamp, beat in zip(stamps, beats(*stamps), strict=True) if beat]
    assert len(decided) == pytest.approx(200, abs=1)
    assert max(np.diff(decided)) < STEP + 1.5 / rate + 0.001
    assert np.diff(decided).mean() == pytest.approx(STEP, rel=0.01)


def test_every_message_of_a_slower_sensor() -> None:
    assert beats(1.0, 1.03, 1.06, 1.09) == [NEW] * 4


def test_a_message_that_comes_again() -> None:
    assert beats(1.0, 1.0, 1.02, 1.02, 1.02) == [NEW, AGAIN, NEW, AGAIN, AGAIN]


def test_time_that_jumps_begins_anew() -> None:
    assert beats(9.0, 1.0, 1.01, 1.02) == [NEW, NEW, None, NEW]
    assert beats(1.0, 9.0, 9.01, 9.02) == [NEW, NEW, None, NEW]


def test_messages_without_stamps_are_picked_by_their_arrival() -> None:
    cadence = Cadence(STEP)
    decided = [number for number in range(1000) if cadence.hear(0.0, 0.002 * number)]
    assert len(decided) == pytest.approx(2.0 / STEP, rel=0.15)
    assert not cadence.objection(0.02, 2.0), "a simulator whose time begins"
    assert cadence.hear(0.02, 2.0) == NEW
    assert cadence.objection(0.0, 2.1), "beside one that has stamps"


def test_of_two_clocks_one_sets_the_pace_until_it_falls_silent() -> None:
    cadence, decided = Cadence(STEP), []
    for number in range(1000):  # two sensors at 500 Hz each, for two seconds
        arrived = 0.002 * number
        for stamp in (5.0 + arrived, 9.0 + arrived):
            if not cadence.objection(stamp, arrived) and cadence.hear(stamp, arrived):
                decided.append(stamp)
    assert len(decided) == pytest.approx(2.0 / STEP, abs=2)
    assert "before 10.998000 s: late, or of another clock" in cadence.objection(7.0, 2.5)
    assert not cadence.objection(7.0, 3.1)
