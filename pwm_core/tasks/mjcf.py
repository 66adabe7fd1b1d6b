# SPDX-License-Identifier: Apache-2.0
"""A user's own robot: any MJCF file with a reward written in Python.

The reward's module may hold, beside ``def walk(model, data, action) -> float``,

    def terminated(model, data) -> bool       whether the episode has ended in a terminal state
    def reset(model, data, rng)               puts a new episode's start into data.qpos, data.qvel

``model`` and ``data`` are MuJoCo's, ``action [A]`` is in [-1, 1], ``rng`` is a numpy Generator.
Without ``reset`` an episode starts at the first keyframe (else the model's pose) with all hinges,
slides and velocities shifted by up to ``START_NOISE``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import mujoco
import numpy as np

from pwm_core.errors import PwmError
from pwm_core.tasks.mjcf_layout import JOINTS, action_layout
from pwm_core.tasks.mjcf_memory import RememberedObservation
from pwm_core.tasks.sequential import SequentialVector
from pwm_core.tasks.stability import diverged
from pwm_core.tasks.stepped import SteppedDynamics
from pwm_core.tasks.task import SingleEnvironment, Task

SUITE = "own"
START_NOISE = 0.01
"""m, rad, m/s or rad/s."""


class MjcfTaskError(PwmError, ValueError):
    """A task of one's own cannot be used; the message names file, mistake and cure."""


@dataclass(frozen=True)
class MjcfTask:
    """All that makes a task of an MJCF file."""

    name: str
    """Name of the task, e.g. ``my-robot-walk``."""
    mjcf: Path
    """MJCF or URDF file."""
    reward: str
    """``module:function``; the module is looked for in ``modules``, then where Python looks."""
    modules: Path
    """Directory of the reward's module."""
    observation: tuple[str, ...] = (JOINTS,)
    """``joints`` and names of sensors, in the order of the observation."""
    control_step: float = 0.02
    """Seconds per decision; a multiple of the model's timestep."""
    episode_steps: int = 500
    """Decisions per episode."""
    history: int = 0
    """Earlier decisions whose observations are seen as well."""
    previous_action: bool = False
    """Whether the command sent before is seen."""

    def load_model(self) -> mujoco.MjModel:
        """Compile the MJCF; ``MjcfTaskError`` with MuJoCo's message where it does not."""
        if not self.mjcf.is_file():
            raise MjcfTaskError(f"task {self.name}: {self.mjcf} does not exist")
        try:
            return mujoco.MjModel.from_xml_path(str(self.mjcf))
        except ValueError as error:
            raise MjcfTaskError(
                f"task {self.name}: {self.mjcf} does not compile: {error}"
            ) from error

    def load_rules(self) -> Rules:
        """Import the reward's module; ``MjcfTaskError`` where module or function are missing."""
        module_name, _, function = self.reward.partition(":")
        if not (module_name and function):
            raise MjcfTaskError(
                f"task {self.name}: reward {self.reward!r} is not of the form module:function, "
                "e.g. my_rewards:walk"
            )
        module = self._import(module_name)
        reward = getattr(module, function, None)
        if not callable(reward):
            raise MjcfTaskError(f"task {self.name}: {module.__file__} has no function {function!r}")
        return Rules(reward, getattr(module, "terminated", None), getattr(module, "reset", None))

    def _import(self, module: str) -> ModuleType:
        directory = self.modules.resolve()
        if str(directory) not in sys.path:
            sys.path.insert(0, str(directory))
        file = directory / f"{module}.py"
        if file.is_file():
            return _loaded(file)
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module.partition(".")[0] and error.name != module:
                raise
            raise MjcfTaskError(
                f"task {self.name}: no module {module!r}, neither in {directory} nor installed"
            ) from error

    def observe(self, model: mujoco.MjModel) -> RememberedObservation:
        """Return the reader of observations; ``MjcfTaskError`` where the model lacks something."""
        try:
            return RememberedObservation(
                model, self.observation, action_layout(model), self.history, self.previous_action
            )
        except ValueError as error:
            raise MjcfTaskError(f"task {self.name}: {self.mjcf}: {error}") from error

    def physics_steps(self, model: mujoco.MjModel) -> int:
        """Return the simulator's steps per decision; ``MjcfTaskError`` when not a whole number."""
        steps = self.control_step / model.opt.timestep
        if round(steps) < 1 or abs(steps - round(steps)) > 1e-6 * steps:
            raise MjcfTaskError(
                f"task {self.name}: a control step of {self.control_step} s is no multiple of the "
                f"timestep of {self.mjcf}, {model.opt.timestep} s"
            )
        return round(steps)


@cache
def _loaded(file: Path) -> ModuleType:
    """Import ``file`` itself, once: other robots' rewards may lie in files of the same name."""
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@dataclass(frozen=True)
class Rules:
    """The user's functions."""

    reward: Callable[[mujoco.MjModel, mujoco.MjData, np.ndarray], float]
    """``reward(model, data, action)`` after each decision."""
    terminated: Callable[[mujoco.MjModel, mujoco.MjData], bool] | None
    """``terminated(model, data)`` after each decision."""
    reset: Callable[[mujoco.MjModel, mujoco.MjData, np.random.Generator], None] | None
    """``reset(model, data, rng)`` at an episode's start."""


def task_from_mjcf(description: MjcfTask) -> Task:
    """Return the task; every mistake in MJCF, layout, reward or times is found here.

    To make it known by name to later commands and to worker processes, save the description with
    :func:`pwm_core.tasks.task_files.save`; ``get_task(name)`` then finds it.
    """
    model = description.load_model()
    observation = description.observe(model)
    if description.episode_steps < 1:
        raise MjcfTaskError(
            f"task {description.name}: an episode of {description.episode_steps} decisions; "
            "at least 1 is needed"
        )
    description.physics_steps(model)
    rules = description.load_rules()
    return Task(
        name=description.name,
        suite=SUITE,
        body=description.mjcf.stem,
        observation=observation.layout,
        action=observation.action,
        control_step=description.control_step,
        episode_steps=description.episode_steps,
        make_single=partial(MjcfEnvironment, description),
        make_vector=partial(_make_vector, description),
        make_dynamics=SteppedDynamics,
        episodic=rules.terminated is not None,
    )


def _make_vector(description: MjcfTask, num_envs: int, seed: int) -> SequentialVector:
    return SequentialVector([MjcfEnvironment(description, seed + i) for i in range(num_envs)])


class MjcfEnvironment(SingleEnvironment):
    """One world of an MJCF file under the user's reward."""

    substeps = 1

    def __init__(self, description: MjcfTask, seed: int) -> None:
        self._description = description
        self._rules = description.load_rules()
        self.model = description.load_model()
        self.data = mujoco.MjData(self.model)
        self._physics_steps = description.physics_steps(self.model)
        self._observation = description.observe(self.model)
        self._action = self._observation.action
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (self._observation.layout.size,), np.float32
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self._action.size,), np.float32)
        self.reset(seed=seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the same ``seed`` gives the same initial state in any process."""
        super().reset(seed=seed)
        if self.model.nkey:
            mujoco.mj_resetDataKeyframe(self.model, self.data, 0)
        else:
            mujoco.mj_resetData(self.model, self.data)
        if self._rules.reset is None:
            self._disturb()
        else:
            self._rules.reset(self.model, self.data, self.np_random)
        mujoco.mj_forward(self.model, self.data)
        self._observation.reset()
        self._steps, self.terminated = 0, False
        return self.observation(), {}

    def _disturb(self) -> None:
        scalar = np.isin(
            self.model.jnt_type, [mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE]
        )
        places = self.model.jnt_qposadr[scalar]
        self.data.qpos[places] += self.np_random.uniform(-START_NOISE, START_NOISE, len(places))
        self.data.qvel += self.np_random.uniform(-START_NOISE, START_NOISE, self.model.nv)

    def state(self) -> np.ndarray:
        return np.concatenate([self._observation.state(), super().state()])

    def restore(self, state: np.ndarray) -> None:
        for warning in self.data.warning:  # a plan may have diverged
            warning.number = 0
        remembered = len(self._observation.state())
        self._observation.restore(state[:remembered])
        super().restore(state[remembered:])

    def substep(self, action: np.ndarray) -> float:
        action = np.clip(np.asarray(action, np.float64), -1, 1)
        command = self._action.to_units(action)
        self._observation.decided(self.data, command)
        self.data.ctrl[:] = command
        mujoco.mj_step(self.model, self.data, self._physics_steps)
        # Sensors and places of bodies are those of the state before the last step.
        mujoco.mj_forward(self.model, self.data)
        self._require_stable()
        if self._rules.terminated is not None:
            self.terminated = bool(self._rules.terminated(self.model, self.data))
        return self._reward(action)

    def _require_stable(self) -> None:
        if diverged(self.data):
            raise MjcfTaskError(
                f"task {self._description.name}: the physics of {self._description.mjcf} "
                "diverged; a smaller timestep, more damping or armature, or weaker actuators help"
            )

    def _reward(self, action: np.ndarray) -> float:
        value = self._rules.reward(self.model, self.data, action)
        if np.ndim(value) != 0 or not np.issubdtype(np.asarray(value).dtype, np.number):
            raise self._bad_reward(value, "a number was expected")
        if not np.isfinite(value):
            raise self._bad_reward(value, "a finite number was expected")
        return float(value)

    def _bad_reward(self, value: object, expected: str) -> MjcfTaskError:
        return MjcfTaskError(
            f"task {self._description.name}: reward {self._description.reward} returned "
            f"{value!r} at {self.data.time:.3f} s; {expected}"
        )

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = self.substep(action)
        self._steps += 1
        truncated = not self.terminated and self._steps >= self._description.episode_steps
        return self.observation(), reward, self.terminated, truncated, {}

    def observation(self) -> np.ndarray:
        return self._observation.read(self.data)
