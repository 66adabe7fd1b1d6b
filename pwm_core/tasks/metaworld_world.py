# SPDX-License-Identifier: Apache-2.0
"""One world of Meta-World's Python package behind the Gymnasium interface."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import mujoco
import numpy as np

from pwm_core.tasks.metaworld_package import import_metaworld
from pwm_core.tasks.task import SingleEnvironment

ACTION_REPEAT = 2
EPISODE_STEPS = 100
_FRAME = 18
"""Numbers that the observation holds of one simulator step."""
_ROBOT_JOINTS = 9
"""Seven of the arm, two fingers; they come first in every scene."""
_WELD = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0])
"""Anchor (3), relative pose (7) and torque scale (1) of the weld that pulls the hand."""


def _reset_mocap_welds(world: Any) -> None:
    """Replace the package's own, which fails where MuJoCo has more than eleven columns here."""
    model = world.model
    welds = model.eq_type == mujoco.mjtEq.mjEQ_WELD
    model.eq_data[welds, : _WELD.size] = _WELD


def _make_world(name: str) -> Any:
    """Return the package's environment with the goal in its observation and no time limit."""
    kind = import_metaworld("env_dict").ALL_V3_ENVIRONMENTS[f"{name}-v3"]
    world = type(kind.__name__, (kind,), {"reset_mocap_welds": _reset_mocap_welds})()
    world._partially_observable = False
    del world.sawyer_observation_space  # cached while the goal was hidden
    world._set_task_called = True
    world.seeded_rand_vec = True  # draw from the world's own generator, not from NumPy's global one
    world.max_path_length = sys.maxsize  # the episode's end is ours, a bridge may run for hours
    return world


class MetaWorldEnvironment(SingleEnvironment):
    """One scene of Meta-World with task ``name``, goal visible, object and goal drawn per reset."""

    substeps = ACTION_REPEAT
    camera = "corner2"

    def __init__(self, name: str, seed: int) -> None:
        self._world = _make_world(name)
        self.model, self.data = self._world.model, self._world.data
        self.reset(seed=seed)
        shape = self._observation.shape
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the same ``seed`` gives the same initial state in any process."""
        super().reset(seed=seed)
        if seed is not None:
            self._world.seed(seed)
        # The package resets the model twice: with a draw each, the hand would start in the scene
        # of the first draw and the task in that of the second. EnvPool too keeps one draw.
        self._world._freeze_rand_vec = False
        self._world.reset_model()
        self._world._freeze_rand_vec = True
        self._world.reset()
        self._settle()
        self._steps = 0
        return self.observation(), {}

    def _settle(self) -> None:
        """Bring what was drawn into effect, and observe it.

        The package leaves two things undone: its first observation may show places of before the
        model's last change (window-close), and in stick-… it stops the wrong joints, so that the
        thermos drifts away from where the reset put it.
        """
        self.data.qvel[_ROBOT_JOINTS:] = 0
        mujoco.mj_forward(self.model, self.data)
        self._observe()

    def _observe(self, previous: np.ndarray | None = None) -> None:
        """Observe the present state, after the frame ``previous`` or after itself."""
        frame = self._world._get_curr_obs_combined_no_goal()
        self._world._prev_obs = frame
        parts = (frame, frame if previous is None else previous, self._world._get_pos_goal())
        space = self._world.sawyer_observation_space
        self._observation = np.clip(np.concatenate(parts), space.low, space.high)

    def substep(self, action: np.ndarray) -> float:
        self._observation, reward, _, _, info = self._world.step(action)
        self._success = bool(info["success"])
        return float(reward)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = sum(self.substep(action) for _ in range(self.substeps))
        self._steps += 1
        truncated = self._steps >= EPISODE_STEPS
        return self.observation(), reward, False, truncated, {"success": self._success}

    def observation(self) -> np.ndarray:
        return self._observation.astype(np.float32)

    def state(self) -> np.ndarray:
        """Return MuJoCo's state and the observation's frame before, ``[S]``."""
        return np.concatenate([super().state(), self._observation[_FRAME : 2 * _FRAME]])

    def restore(self, state: np.ndarray) -> None:
        super().restore(state[:-_FRAME])
        self._observe(state[-_FRAME:])

    def close(self) -> None:
        self._world.close()
