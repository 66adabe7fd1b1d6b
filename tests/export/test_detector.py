# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_export.monitor import LEAST_ODD, Detector, unexplained

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


@pytest.mark.parametrize("late_by", [0.0, 0.5, 1.0])
def test_what_a_late_command_explains_is_not_novel(detector: Detector, late_by: float) -> None:
    """The command changes once by 0.5; the robot follows by the part of it that was in time."""
    detector.observe(at(0.0), STILL)
    detector.observe(at(0.0), np.array([0.5]))
    assert detector.observe(at(0.5 * (1 - late_by)), np.array([0.5])) == pytest.approx(0)


def test_more_than_a_late_command_explains_is_novel(detector: Detector) -> None:
    detector.observe(at(0.0), STILL)
    detector.observe(at(0.0), np.array([0.5]))
    assert detector.observe(at(-0.5), STILL) == pytest.approx(0.1)


def test_late_commands_do_not_explain_what_they_do_not_cause(detector: Detector) -> None:
    commands = (0.0, 1.0, -1.0, 1.0, -1.0, 1.0)
    found = [detector.observe(at(0.5 * t, 1), np.array([c])) for t, c in enumerate(commands)]
    assert found[-1] > 0.4


def test_the_command_before_an_interruption_may_still_act(detector: Detector) -> None:
    detector.observe(at(0.0), np.array([0.7]))
    detector.interrupt()
    detector.observe(at(0.0), STILL)
    assert detector.observe(at(0.7), STILL) == pytest.approx(0)


def test_unexplained_is_the_distance_to_the_nearest_point() -> None:
    at_once, late = np.zeros((4, 2)), np.tile([2.0, 0.0], (4, 1))
    seen = np.array([[1.0, 1.0], [-1.0, 0.0], [3.0, 0.0], [2.0, -2.0]])
    expected = [[0.0, 1.0], [-1.0, 0.0], [1.0, 0.0], [0.0, -2.0]]
    np.testing.assert_allclose(unexplained(seen, at_once, late), expected)
