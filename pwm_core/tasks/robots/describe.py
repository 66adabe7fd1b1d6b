# SPDX-License-Identifier: Apache-2.0
"""Tasks of robots, from a reward for many states at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pwm_core.tasks.readings import Reward
from pwm_core.tasks.robots.environment import RobotEnvironment, Success
from pwm_core.tasks.robots.robot import Robot
from pwm_core.tasks.rollout_dynamics import RolloutDynamics
from pwm_core.tasks.sequential import SequentialVector
from pwm_core.tasks.task import Expert, Task

SUITE = "robots"


def describe(
    robot: Robot,
    name: str,
    reward: Reward,
    success: Success,
    episode_steps: int,
    make_expert: Callable[[], Expert] | None = None,
) -> Task:
    """Describe a task of ``robot``, whose reward is in [0, 1] per decision."""
    make = partial(RobotEnvironment, robot, reward, success, episode_steps)
    return Task(
        name=name,
        suite=SUITE,
        body=robot.name,
        observation=robot.observation,
        action=robot.action,
        control_step=robot.simulator_step,
        episode_steps=episode_steps,
        make_single=make,
        make_vector=partial(_make_vector, make),
        make_dynamics=partial(RolloutDynamics, robot, reward),
        reports_success=True,
        make_expert=make_expert,
    )


def _make_vector(
    make: Callable[[int], RobotEnvironment], num_envs: int, seed: int
) -> SequentialVector:
    return SequentialVector([make(seed + i) for i in range(num_envs)])
