# SPDX-License-Identifier: Apache-2.0
"""A robot that is not the one it was: weaker, heavier or late, as the ROS bridge simulates it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from pwm_core.limits import NOT_NEGATIVE, POSITIVE
from pwm_core.tasks.scaled_models import (
    GAIN_FIELDS,
    MASS_FIELDS,
    require_scalable_actuators,
    with_actuators,
    with_masses,
    write_fields,
)
from pwm_core.tasks.sequential import SequentialVector
from pwm_core.tasks.task import SingleEnvironment, Task


@dataclass(frozen=True)
class Shift:
    """Differences between a robot and the nominal one; the defaults are none.

    Names and meaning are those of the bridge's parameters.
    """

    actuator_gain: float = 1.0
    """Factor on the force or torque of every actuator, and on its limits."""
    mass_scale: float = 1.0
    """Factor on all masses and inertias."""
    observation_delay: int = 0
    """Decisions by which every observation is late."""

    def __post_init__(self) -> None:
        NOT_NEGATIVE.require(self, "actuator_gain", "observation_delay")
        POSITIVE.require(self, "mass_scale")

    def __str__(self) -> str:
        """Return what differs: ``actuator_gain=0.6``; ``nominal`` when nothing does."""
        values = ((f, getattr(self, f.name)) for f in fields(self))
        return ",".join(f"{f.name}={v:g}" for f, v in values if v != f.default) or "nominal"

    def of(self, task: Task) -> Task:
        """Return ``task`` on the robot that has shifted; ``task`` itself when nothing differs.

        It cannot be planned on: the true dynamics of a robot that has shifted are not known.
        """
        if self == NOMINAL:
            return task

        def single(seed: int) -> SingleEnvironment:
            return self._on(task.make_single(seed))

        def vector(count: int, seed: int) -> SequentialVector:
            return SequentialVector([single(seed + index) for index in range(count)])

        return replace(task, make_single=single, make_vector=vector, make_dynamics=None)

    def _on(self, environment: SingleEnvironment) -> SingleEnvironment:
        """Change the physics of ``environment``; return it, as it is observed."""
        model = environment.model
        if self.mass_scale != 1.0:
            write_fields(model, MASS_FIELDS, with_masses(model, self.mass_scale))
        if self.actuator_gain != 1.0:
            require_scalable_actuators(model)
            write_fields(model, GAIN_FIELDS, with_actuators(model, self.actuator_gain))
        if not self.observation_delay:
            return environment
        return DelayedEnvironment(environment, self.observation_delay)


NOMINAL = Shift()
"""Nothing is different."""


class DelayedEnvironment(SingleEnvironment):
    """An environment whose observations come ``delay`` decisions late, rewards in time.

    Until then the episode's first observation stands.
    """

    def __init__(self, environment: SingleEnvironment, delay: int) -> None:
        self._environment = environment
        self._seen: deque[np.ndarray] = deque(maxlen=delay + 1)
        self.model, self.data = environment.model, environment.data
        self.substeps, self.camera = environment.substeps, environment.camera
        self.observation_space = environment.observation_space
        self.action_space = environment.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        observation, info = self._environment.reset(seed=seed, options=options)
        self._seen.clear()
        self._seen.append(observation)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self._environment.step(action)
        self.terminated = terminated
        self._seen.append(observation)
        return self._seen[0], float(reward), terminated, truncated, info

    def observation(self) -> np.ndarray:
        return self._seen[0]

    def render(self) -> Any:
        return self._environment.render()

    def close(self) -> None:
        self._environment.close()
