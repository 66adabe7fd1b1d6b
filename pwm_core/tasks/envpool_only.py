# SPDX-License-Identifier: Apache-2.0
"""Tasks that exist in EnvPool alone: a catalogue of them, and one world of one.

A catalogue is a JSON file beside this module, so that describing a task loads no simulator. Its
family's module writes it from EnvPool and its MJCF files (``python -m pwm_core.tasks.myosuite``):

    tasks       {name: {id, body, actions, control_step (s), episode_steps, episodic,
                        observation_key, success_key, observation: [[name, size], …]}}
    actuators   {actions: [[name, interpretation, unit, low, high, safe], …]}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np

from pwm_core.errors import PwmError
from pwm_core.layout import ActionChannel, ActionLayout, ObservationLayout
from pwm_core.tasks.channels import vector
from pwm_core.tasks.envpool import EnvPoolEnvironment, has_envpool
from pwm_core.tasks.task import SingleEnvironment, Task, VectorEnvironment


class EnvPoolOnlyError(PwmError, ValueError):
    """The task runs in EnvPool alone, and something else was asked for."""


class Catalogue(Mapping[str, Task]):
    """The tasks of a catalogue by name; each is described when it is first asked for."""

    def __init__(self, suite: str, path: Path) -> None:
        self.suite = suite
        self._path = path
        self._described: dict[str, Task] = {}

    @cached_property
    def _content(self) -> dict[str, Any]:
        return json.loads(self._path.read_text())

    def __iter__(self) -> Iterator[str]:
        return iter(self._content["tasks"])

    def __len__(self) -> int:
        return len(self._content["tasks"])

    def __contains__(self, name: object) -> bool:
        return name in self._content["tasks"]

    def __getitem__(self, name: str) -> Task:
        if name not in self._described:
            self._described[name] = self._describe(name)
        return self._described[name]

    def _describe(self, name: str) -> Task:
        entry = self._content["tasks"][name]
        action = ActionLayout(
            tuple(
                ActionChannel(actuator, actuator, interpretation, unit, low, high, safe)
                for actuator, interpretation, unit, low, high, safe in self._content["actuators"][
                    entry["actions"]
                ]
            )
        )
        observation = ObservationLayout(
            tuple(channel for block in entry["observation"] for channel in vector(*block))
        )
        make_vector = partial(_make_vector, name, entry, action.size)
        return Task(
            name=name,
            suite=self.suite,
            body=entry["body"],
            observation=observation,
            action=action,
            control_step=entry["control_step"],
            episode_steps=entry["episode_steps"],
            make_single=partial(EnvPoolSingle, name, make_vector, observation.size, action.size),
            make_vector=make_vector,
            episodic=entry["episodic"],
            reports_success=entry["success_key"] is not None,
        )


def _make_vector(
    name: str, entry: Mapping[str, Any], actions: int, num_envs: int, seed: int
) -> VectorEnvironment:
    if not has_envpool():
        raise EnvPoolOnlyError(
            f"task {name} runs in EnvPool only, which is not installed: EnvPool has wheels for "
            "Python 3.11 and later on Linux (make setup, or pip install '.[train]' in a clone)"
        )
    return EnvPoolEnvironment(
        entry["id"],
        actions,
        num_envs,
        seed,
        episode_steps=entry["episode_steps"],
        observation_key=entry["observation_key"],
        success_key=entry["success_key"],
    )


class EnvPoolSingle(SingleEnvironment):
    """One world in EnvPool, which shows neither its MuJoCo model nor its state.

    It can be evaluated like any other, but not rendered, planned in, or driven by the ROS bridge:
    ``model``, ``data`` and ``state`` raise ``EnvPoolOnlyError``. An episode that has ended stays
    ended until ``reset``.
    """

    substeps = 1

    def __init__(
        self,
        name: str,
        make_vector: Callable[[int, int], VectorEnvironment],
        observations: int,
        actions: int,
        seed: int,
    ) -> None:
        self._name, self._make_vector = name, make_vector
        self._world: VectorEnvironment | None = None
        self._seed = seed
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observations,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (actions,), np.float32)

    @property
    def model(self) -> mujoco.MjModel:
        raise self._refusal("its MuJoCo model")

    @property
    def data(self) -> mujoco.MjData:
        raise self._refusal("its MuJoCo data")

    def state(self) -> np.ndarray:
        raise self._refusal("its state")

    def _refusal(self, what: str) -> EnvPoolOnlyError:
        return EnvPoolOnlyError(
            f"task {self._name} runs in EnvPool only, which does not show {what}: it can be "
            "collected, trained and evaluated, but not rendered, planned in by MPC, or simulated "
            "by the ROS bridge"
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the same ``seed`` gives the same one in any process.

        EnvPool takes its seed when it is made: a seed makes a new world, which takes a while.
        """
        super().reset(seed=seed)
        if seed is not None or self._world is None:
            self._world = self._make_vector(1, self._seed if seed is None else seed)
        self._observation = self._world.reset()[0]
        self.terminated = self._truncated = self._success = False
        return self.observation(), {}

    def substep(self, action: np.ndarray) -> float:
        if self._world is None:
            self.reset()
        assert self._world is not None
        after = self._world.step(np.reshape(action, (1, -1)))
        self._observation = after.observation[0]
        self.terminated, self._truncated = bool(after.terminated[0]), bool(after.truncated[0])
        self._success = bool(after.success[0])
        return float(after.reward[0])

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = self.substep(action)
        info = {"success": self._success}
        return self.observation(), reward, self.terminated, self._truncated, info

    def observation(self) -> np.ndarray:
        return self._observation.copy()
