# SPDX-License-Identifier: Apache-2.0
"""DM Control tasks: dm_control for one world, EnvPool's C++ for many, mujoco.rollout to plan."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np
from mujoco import rollout

from pwm_core.layout import ActionLayout, ObservationLayout
from pwm_core.tasks.envpool import EnvPoolEnvironment, has_envpool
from pwm_core.tasks.task import SingleEnvironment, Task, VectorEnvironment, VectorStep

ACTION_REPEAT = 2
EPISODE_STEPS = 500
BatchReward = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""``reward(qpos [N, nq], qvel [N, nv], ctrl [N, nu]) -> [N]``, equal to the task's own."""


def dm_control_task(
    domain: str,
    name: str,
    envpool_id: str,
    observation: ObservationLayout,
    action: ActionLayout,
    batch_reward: BatchReward,
    simulator_step: float,
) -> Task:
    """Describe task ``name`` of dm_control's ``domain``; repeat 2, 500 decisions as published.

    ``simulator_step`` is dm_control's control step in seconds.
    """
    return Task(
        name=f"{domain}-{name}",
        suite="dm_control",
        body=domain,
        observation=observation,
        action=action,
        control_step=simulator_step * ACTION_REPEAT,
        episode_steps=EPISODE_STEPS,
        make_single=partial(DmControlEnvironment, domain, name, action),
        make_vector=partial(_make_vector, domain, name, action, envpool_id),
        make_dynamics=partial(RolloutDynamics, domain, name, action, batch_reward),
    )


def _flatten(observation: Any) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in observation.values()]).astype(np.float32)


def _load(domain: str, name: str, seed: int) -> Any:
    with warnings.catch_warnings():  # on a machine without a display glfw warns in every process
        warnings.filterwarnings("ignore", module="glfw")
        from dm_control import suite  # slow to import, and not needed to describe a task

    # No time limit of its own: the episode's end is ours, and a bridge may run on for hours.
    return suite.load(domain, name, task_kwargs={"random": seed, "time_limit": float("inf")})


class DmControlEnvironment(SingleEnvironment):
    """One dm_control world behind the Gymnasium interface."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (Gymnasium's convention)
    substeps = ACTION_REPEAT

    def __init__(self, domain: str, name: str, action: ActionLayout, seed: int) -> None:
        self._environment = _load(domain, name, seed)
        self._action = action
        self._steps = 0
        self.model = self._environment.physics.model.ptr
        self.data = self._environment.physics.data.ptr
        self._time_step = self._environment.reset()
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, self.observation().shape, np.float32
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (action.size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the same ``seed`` gives the same initial state in any process."""
        super().reset(seed=seed)
        if seed is not None:
            self._environment.task.random.seed(seed)
        self._time_step = self._environment.reset()
        self._steps = 0
        return self.observation(), {}

    def substep(self, action: np.ndarray) -> float:
        self._time_step = self._environment.step(self._action.to_units(action))
        return float(self._time_step.reward)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = sum(self.substep(action) for _ in range(self.substeps))
        self._steps += 1
        truncated = self._steps >= EPISODE_STEPS
        return self.observation(), reward, False, truncated, {}

    def observation(self) -> np.ndarray:
        return _flatten(self._environment.task.get_observation(self._environment.physics))

    def state(self) -> np.ndarray:
        """Return MuJoCo's full physics state, as :class:`RolloutDynamics` takes it."""
        return _full_state(self.model, self.data)

    def render(self, width: int = 480, height: int = 360) -> np.ndarray:
        """Return a picture ``[height, width, 3]``, uint8, from the model's first camera."""
        return self._environment.physics.render(height, width, camera_id=0)

    def close(self) -> None:
        self._environment.close()


def _make_vector(
    domain: str, name: str, action: ActionLayout, envpool_id: str, num_envs: int, seed: int
) -> VectorEnvironment:
    """Return EnvPool's environments; without it (no wheel for Python 3.10), dm_control's."""
    if has_envpool():
        return EnvPoolEnvironment(
            envpool_id,
            action.size,
            num_envs,
            seed,
            episode_steps=EPISODE_STEPS,
            action_repeat=ACTION_REPEAT,
            frame_skip=1,
        )
    return DmControlVector(
        [DmControlEnvironment(domain, name, action, seed + i) for i in range(num_envs)]
    )


class DmControlVector:
    """Single worlds stepped one after the other."""

    def __init__(self, environments: list[DmControlEnvironment]) -> None:
        self._environments = environments
        self.num_envs = len(environments)

    def reset(self) -> np.ndarray:
        return np.stack([environment.reset()[0] for environment in self._environments])

    def step(self, action: np.ndarray) -> VectorStep:
        outcomes = [e.step(a) for e, a in zip(self._environments, action, strict=True)]
        observation, reward, terminated, truncated = zip(*(o[:4] for o in outcomes), strict=True)
        success = np.zeros(self.num_envs, bool)
        return VectorStep(
            np.stack(observation),
            np.array(reward),
            np.array(terminated),
            np.array(truncated),
            success,
        )


def _full_state(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    kind = mujoco.mjtState.mjSTATE_FULLPHYSICS
    state = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, state, kind)
    return state


class RolloutDynamics:
    """``mujoco.rollout`` over many candidate plans on C++ threads, with the task's reward."""

    def __init__(
        self,
        domain: str,
        name: str,
        action: ActionLayout,
        reward: BatchReward,
        environments: Sequence[SingleEnvironment],
        threads: int,
    ) -> None:
        environment = _load(domain, name, 0)
        self._physics = environment.physics  # owns the model
        self._model = environment.physics.model.ptr
        self._sim_steps = ACTION_REPEAT * round(
            environment.control_timestep() / self._model.opt.timestep
        )
        self._action, self._reward = action, reward
        self._data = [mujoco.MjData(self._model) for _ in range(threads)]
        self._pool = rollout.Rollout(nthread=threads if threads > 1 else 0)

    def rollout(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Return rewards ``[E, N, T]`` of decisions ``[E, N, T, A]`` from states ``[E, S]``."""
        environments, plans, decisions, size = action.shape
        flat = self._action.to_units(action.reshape(-1, decisions, size))
        control = np.repeat(flat, self._sim_steps, axis=1)
        start = np.repeat(state, plans, axis=0)
        states, _ = self._pool.rollout(self._model, self._data, start, control)
        nq, nv, width = self._model.nq, self._model.nv, control.shape[-1]
        per_repeat = self._sim_steps // ACTION_REPEAT
        after = states[:, per_repeat - 1 :: per_repeat].reshape(-1, states.shape[-1])
        applied = control[:, per_repeat - 1 :: per_repeat].reshape(-1, width)
        reward = self._reward(after[:, 1 : 1 + nq], after[:, 1 + nq : 1 + nq + nv], applied)
        return reward.reshape(environments, plans, decisions, ACTION_REPEAT).sum(axis=-1)
