# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.errors import PwmError
from pwm_core.tasks import Task, get_task
from pwm_core.tasks.shift import Shift

TASK = "cartpole-swingup"


def play(task: Task, decisions: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Observations and rewards of episode 3 under one action."""
    environment = task.make_single(0)
    seen, rewards = [environment.reset(seed=3)[0]], []
    for _ in range(decisions):
        observation, reward, *_ = environment.step(np.full(task.action.size, 0.4, np.float32))
        seen.append(observation)
        rewards.append(reward)
    return np.array(seen), np.array(rewards)


def test_nothing_shifted_is_the_task_itself() -> None:
    task = get_task(TASK)
    assert Shift().of(task) is task
    assert str(Shift()) == "nominal"


@pytest.mark.parametrize("shift", [Shift(actuator_gain=0.6), Shift(mass_scale=1.5)])
def test_physics_differ_after_the_first_observation(shift: Shift) -> None:
    nominal, shifted = play(get_task(TASK))[0], play(shift.of(get_task(TASK)))[0]
    np.testing.assert_array_equal(nominal[0], shifted[0])
    assert np.abs(nominal - shifted).max() > 1e-3


def test_half_the_gain_is_half_the_force() -> None:
    efforts = []
    for shift in (Shift(), Shift(actuator_gain=0.5)):
        environment = shift.of(get_task("walker-walk")).make_single(0)
        environment.reset(seed=3)
        environment.step(np.full(6, 0.4, np.float32))
        efforts.append(environment.data.actuator_force.copy())
    np.testing.assert_allclose(efforts[1], 0.5 * efforts[0])


@pytest.mark.parametrize("delay", [1, 2])
def test_observations_are_late_and_rewards_are_not(delay: int) -> None:
    (seen, rewards), (late, same) = (
        play(shift.of(get_task(TASK))) for shift in (Shift(), Shift(observation_delay=delay))
    )
    np.testing.assert_array_equal(late[delay:], seen[:-delay])
    np.testing.assert_array_equal(late[:delay], seen[:1].repeat(delay, 0))
    np.testing.assert_array_equal(rewards, same)


def test_vectors_and_single_worlds_are_shifted_alike() -> None:
    task = Shift(actuator_gain=0.6, observation_delay=1).of(get_task(TASK))
    vector, single = task.make_vector(2, 5), task.make_single(6)
    action = np.full((2, 1), 0.4, np.float32)
    np.testing.assert_array_equal(vector.reset()[1], single.reset()[0])
    for _ in range(3):
        step, alone = vector.step(action), single.step(action[1])
    np.testing.assert_array_equal(step.observation[1], alone[0])
    assert task.make_dynamics is None


def test_shifts_say_what_they_are() -> None:
    assert str(Shift(actuator_gain=0.6, observation_delay=1)) == (
        "actuator_gain=0.6,observation_delay=1"
    )
    with pytest.raises(PwmError, match="mass_scale is 0"):
        Shift(mass_scale=0.0)
    with pytest.raises(PwmError, match="actuator_gain is -1"):
        Shift(actuator_gain=-1.0)
