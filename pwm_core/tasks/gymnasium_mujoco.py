# SPDX-License-Identifier: Apache-2.0
"""Gymnasium's eleven MuJoCo tasks, version 5: its own Python for one world, EnvPool for many.

Source of layouts and episode rules: gymnasium.farama.org/environments/mujoco.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np

from pwm_core.layout import ActionChannel, ActionLayout, ObservationLayout
from pwm_core.tasks.channels import (
    Channels,
    body_pose,
    body_twist,
    joint_efforts,
    joint_positions,
    joint_velocities,
    vector,
)
from pwm_core.tasks.envpool import EnvPoolEnvironment, has_envpool
from pwm_core.tasks.sequential import SequentialVector
from pwm_core.tasks.stepped import SteppedDynamics
from pwm_core.tasks.task import SingleEnvironment, Task, VectorEnvironment

SUITE = "gymnasium"


class GymnasiumEnvironment(SingleEnvironment):
    """One world of a Gymnasium MuJoCo environment, in the core's range of actions."""

    substeps = 1

    def __init__(
        self, environment_id: str, action: ActionLayout, episode_steps: int, seed: int
    ) -> None:
        # Without its wrappers: the time limit is ours, and a bridge may run on for hours.
        self._environment: Any = gymnasium.make(environment_id).unwrapped
        self._action, self._episode_steps = action, episode_steps
        self._steps = 0
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, self._environment.observation_space.shape, np.float32
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (action.size,), np.float32)
        self.reset(seed=seed)

    @property
    def model(self) -> mujoco.MjModel:
        return self._environment.model

    @property
    def data(self) -> mujoco.MjData:
        return self._environment.data

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the same ``seed`` gives the same initial state in any process."""
        super().reset(seed=seed)
        self._environment.reset(seed=seed)
        self._steps = 0
        self.terminated = False
        return self.observation(), {}

    def substep(self, action: np.ndarray) -> float:
        _, reward, self.terminated, _, _ = self._environment.step(self._action.to_units(action))
        return float(reward)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = self.substep(action)
        self._steps += 1
        truncated = not self.terminated and self._steps >= self._episode_steps
        return self.observation(), reward, self.terminated, truncated, {}

    def observation(self) -> np.ndarray:
        return self._environment._get_obs().astype(np.float32)

    def close(self) -> None:
        self._environment.close()


def _make_vector(
    environment_id: str, action: ActionLayout, episode_steps: int, num_envs: int, seed: int
) -> VectorEnvironment:
    """Return EnvPool's worlds; without it (no wheel for Python 3.10), Gymnasium's."""
    if has_envpool():
        return EnvPoolEnvironment(
            environment_id,
            action.size,
            num_envs,
            seed,
            episode_steps=episode_steps,
            low=action.low,
            high=action.high,
        )
    return SequentialVector(
        [
            GymnasiumEnvironment(environment_id, action, episode_steps, seed + i)
            for i in range(num_envs)
        ]
    )


def _make_dynamics(
    make_single: Callable[[int], SingleEnvironment],
    environments: Sequence[SingleEnvironment],
    threads: int,
    coarseness: int = 1,
) -> SteppedDynamics:
    """Plan on worlds of their own, whose state is all that an episode draws.

    Restoring a state renews the places of bodies, which are one simulator step old in Gymnasium's
    rewards: the environments themselves would pay less for the step after.
    """
    return SteppedDynamics([make_single(0) for _ in environments], threads, coarseness)


def _task(
    gymnasium_name: str,
    control_step: float,
    observation: Channels,
    action: tuple[ActionChannel, ...],
    episode_steps: int = 1000,
    episodic: bool = False,
) -> Task:
    """Describe ``gymnasium_name``; ``gym-…`` in lower case is its name here, as in Minari."""
    name = f"gym-{gymnasium_name.lower()}"
    layout = ActionLayout(action)
    environment_id = f"{gymnasium_name}-v5"
    make_single = partial(GymnasiumEnvironment, environment_id, layout, episode_steps)
    return Task(
        name=name,
        suite=SUITE,
        body=name,
        observation=ObservationLayout(observation),
        action=layout,
        control_step=control_step,
        episode_steps=episode_steps,
        make_single=make_single,
        make_vector=partial(_make_vector, environment_id, layout, episode_steps),
        make_dynamics=partial(_make_dynamics, make_single),
        episodic=episodic,
    )


def _motors(
    joints: Sequence[str], gear: float | Sequence[float], limit: float = 1.0
) -> tuple[ActionChannel, ...]:
    """Return one torque motor per joint; ``limit`` is that of the command, ``gear`` in N·m."""
    gears = np.broadcast_to(gear, len(joints)).tolist()
    return tuple(
        ActionChannel(joint, joint, "effort", "1", -limit, limit, 0.0, gear)
        for joint, gear in zip(joints, gears, strict=True)
    )


def _planar(joints: Sequence[str]) -> Channels:
    """A body in the vertical plane; how far it has gone (``rootx``) is not observed."""
    # Hopper and Walker2d clip velocities to ±10, which a layout does not say.
    return (
        *joint_positions(["rootz"], "m"),
        *joint_positions(["rooty", *joints]),
        *joint_velocities(["rootx", "rootz"], "m/s"),
        *joint_velocities(["rooty", *joints]),
    )


def _walking(joints: Sequence[str]) -> Channels:
    """A free body; where it stands in the plane is not observed."""
    return (
        *body_pose("torso")[2:],
        *joint_positions(joints),
        *body_twist("torso"),
        *joint_velocities(joints),
    )


CHEETAH = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")
HOPPER = ("thigh_joint", "leg_joint", "foot_joint")
WALKER = (*HOPPER, "thigh_left_joint", "leg_left_joint", "foot_left_joint")
ANT = tuple(f"{part}_{leg}" for leg in (1, 2, 3, 4) for part in ("hip", "ankle"))
ANT_MOTORS = ANT[-2:] + ANT[:-2]
LIMBS = (
    *(
        f"{side}_{joint}"
        for side in ("right", "left")
        for joint in ("hip_x", "hip_z", "hip_y", "knee")
    ),
    *(
        f"{side}_{joint}"
        for side in ("right", "left")
        for joint in ("shoulder1", "shoulder2", "elbow")
    ),
)
HUMANOID = ("abdomen_z", "abdomen_y", "abdomen_x", *LIMBS)
HUMANOID_MOTORS = ("abdomen_y", "abdomen_z", "abdomen_x", *LIMBS)
HUMANOID_GEAR = (100.0,) * 3 + (100.0, 100.0, 300.0, 200.0) * 2 + (25.0,) * 6
HUMANOID_BODIES = 13
PUSHER = (
    "r_shoulder_pan_joint",
    "r_shoulder_lift_joint",
    "r_upper_arm_roll_joint",
    "r_elbow_flex_joint",
    "r_forearm_roll_joint",
    "r_wrist_flex_joint",
    "r_wrist_roll_joint",
)
HUMANOID_OBSERVATION = (
    *_walking(HUMANOID),
    *vector("inertia", 10 * HUMANOID_BODIES),
    *vector("body_velocity", 6 * HUMANOID_BODIES),
    *joint_efforts(HUMANOID),
    *vector("contact_force", 6 * HUMANOID_BODIES, "N"),
)

TASKS = (
    _task("HalfCheetah", 0.05, _planar(CHEETAH), _motors(CHEETAH, (120, 90, 60, 120, 60, 30))),
    _task("Hopper", 0.008, _planar(HOPPER), _motors(HOPPER, 200), episodic=True),
    _task("Walker2d", 0.008, _planar(WALKER), _motors(WALKER, 100), episodic=True),
    _task(
        "Ant",
        0.05,
        (*_walking(ANT), *vector("contact_force", 6 * 13, "N")),
        _motors(ANT_MOTORS, 150),
        episodic=True,
    ),
    _task(
        "Humanoid",
        0.015,
        HUMANOID_OBSERVATION,
        _motors(HUMANOID_MOTORS, HUMANOID_GEAR, 0.4),
        episodic=True,
    ),
    _task(
        "HumanoidStandup",
        0.015,
        HUMANOID_OBSERVATION,
        _motors(HUMANOID_MOTORS, HUMANOID_GEAR, 0.4),
    ),
    _task(
        "InvertedPendulum",
        0.04,
        (
            *joint_positions(["slider"], "m"),
            *joint_positions(["hinge"]),
            *joint_velocities(["slider"], "m/s"),
            *joint_velocities(["hinge"]),
        ),
        _motors(["slider"], 100, 3.0),
        episodic=True,
    ),
    _task(
        "InvertedDoublePendulum",
        0.05,
        (
            *joint_positions(["slider"], "m"),
            *joint_positions(["hinge", "hinge2"], transform="sin"),
            *joint_positions(["hinge", "hinge2"], transform="cos"),
            *joint_velocities(["slider"], "m/s"),
            *joint_velocities(["hinge", "hinge2"]),
            *vector("slider/constraint_force", 1, "N"),
        ),
        _motors(["slider"], 500),
        episodic=True,
    ),
    _task(
        "Reacher",
        0.02,
        (
            *joint_positions(["joint0", "joint1"], transform="cos"),
            *joint_positions(["joint0", "joint1"], transform="sin"),
            *joint_positions(["target_x", "target_y"], "m"),
            *joint_velocities(["joint0", "joint1"]),
            *vector("fingertip_from_target", 2, "m"),
        ),
        _motors(["joint0", "joint1"], 200),
        episode_steps=50,
    ),
    _task(
        "Pusher",
        0.05,
        (
            *joint_positions(PUSHER),
            *joint_velocities(PUSHER),
            *vector("tips_arm", 3, "m"),
            *vector("object", 3, "m"),
            *vector("goal", 3, "m"),
        ),
        _motors(PUSHER, 1, 2.0),
        episode_steps=100,
    ),
    _task(
        "Swimmer",
        0.04,
        (
            *joint_positions(["free_body_rot", "motor1_rot", "motor2_rot"]),
            *joint_velocities(["slider1", "slider2"], "m/s"),
            *joint_velocities(["free_body_rot", "motor1_rot", "motor2_rot"]),
        ),
        _motors(["motor1_rot", "motor2_rot"], 150),
    ),
)
