# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_export.monitor import LEAST_ODD, Detector

STILL = np.zeros(1)


def at(value: float, entry: int = 0) -> np.ndarray:
    observation = np.zeros(5)
    observation[entry] = value
    return observation


@pytest.fixture
def detector(make_monitor) -> Detector:
    return Detector(make_monitor(window=5, threshold=1.0))


def test_a_robot_that_moves_as_predicted_is_not_novel(detector: Detector) -> None:
    position, commands = 0.0, (1.0, -2.0, 0.5, 0.0, 3.0, 1.0, 1.0)
    for command in commands:
        assert detector.observe(at(position), np.array([command])) == pytest.approx(0, abs=1e-6)
        position += command


def test_an_error_in_one_direction_adds_up_over_the_window(detector: Detector) -> None:
    found = [detector.observe(at(0.5 * step), STILL) for step in range(8)]
    np.testing.assert_allclose(found, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5])


def test_the_threshold_is_the_unit(make_monitor) -> None:
    detector = Detector(make_monitor(window=5, threshold=0.25))
    found = [detector.observe(at(0.25 * step), STILL) for step in range(8)]
    assert found[-1] == pytest.approx(1.0)


def test_noise_averages_out(detector: Detector) -> None:
    rng = np.random.default_rng(0)
    found = [detector.observe(rng.normal(size=5), STILL) for _ in range(100)]
    assert max(found) < 1
    steady = [detector.observe(at(2.0 * step), STILL) for step in range(20)]
    assert steady[-1] == pytest.approx(LEAST_ODD**-1 * 5)  # as much as an error may count


def test_one_odd_observation_does_not_alarm(detector: Detector) -> None:
    found = [detector.observe(at(1000.0 * (step >= 3)), STILL) for step in range(10)]
    assert max(found) == pytest.approx(1 / LEAST_ODD)
    assert found[-1] == 0


def test_as_many_odd_ones_as_it_takes_do(detector: Detector) -> None:
    found = [detector.observe(at(1000.0 * step), STILL) for step in range(LEAST_ODD + 2)]
    assert found[LEAST_ODD - 1] < 1
    assert found[LEAST_ODD + 1] > 1


def test_numbers_past_float32_count_as_odd(detector: Detector) -> None:
    with np.errstate(over="ignore"):
        found = [detector.observe(at(1e39), STILL) for _ in range(6)]
    assert np.isfinite(found).all()
    assert found[-1] > 1


def test_what_follows_an_interruption_is_not_compared(detector: Detector) -> None:
    detector.observe(at(0.0), STILL)
    detector.interrupt()
    assert detector.observe(at(2.0), STILL) == 0
    assert detector.observe(at(2.5), STILL) == pytest.approx(0.1)


def test_a_restart_forgets_the_window(detector: Detector) -> None:
    for step in range(4):
        detector.observe(at(0.5 * step), STILL)
    detector.restart()
    assert detector.observe(at(9.0), STILL) == 0
    assert detector.observe(at(9.5), STILL) == pytest.approx(0.1)
