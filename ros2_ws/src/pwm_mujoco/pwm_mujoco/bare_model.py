# SPDX-License-Identifier: Apache-2.0
"""Any MJCF file as a world takes it: a body with joints and actuators, without task or reward."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from pwm_core.layout import ActionLayout, ObservationLayout
from pwm_core.tasks import SingleEnvironment
from pwm_core.tasks.mjcf_layout import ModelLayoutError, ModelObservation, action_layout

UNLIMITED = 1e6
"""Limit of an actuator that has none in the model, in its own unit."""


class RawActions(ActionLayout):
    """Actuators that the environment takes in their own units; there may be none."""

    def __post_init__(self) -> None:
        if self.channels:
            super().__post_init__()

    def to_units(self, action: np.ndarray) -> np.ndarray:
        return np.asarray(action)

    def to_normalised(self, command: np.ndarray) -> np.ndarray:
        return np.asarray(command)


@dataclass(frozen=True)
class BareModel:
    """What a world needs of a task, of a model that has none."""

    name: str
    """The file's name without its ending."""
    body: str
    """The same."""
    observation: ObservationLayout
    """All joints."""
    action: RawActions
    """All actuators."""
    control_step: float
    """Seconds per decision."""
    make_single: partial[ModelEnvironment]
    """``make_single(seed)``: one world."""
    episode_steps: int = sys.maxsize
    """Decisions per episode: it does not end by itself."""


def load_model(file: Path, control_step: float) -> BareModel:
    """Read an MJCF or URDF file for decisions of at least ``control_step`` seconds.

    Raises ``ValueError`` when it does not exist, does not compile, or has no joint.
    """
    if not file.is_file():
        raise ValueError(f"model_file {file} does not exist")
    try:
        model = mujoco.MjModel.from_xml_path(str(file))
        observation = ModelObservation(model)
    except (ModelLayoutError, ValueError) as error:
        raise ValueError(f"model_file {file}: {error}") from error
    substeps = max(1, round(control_step / model.opt.timestep))
    return BareModel(
        name=file.stem,
        body=file.stem,
        observation=observation.layout,
        action=RawActions(action_layout(_limited(model)).channels if model.nu else ()),
        control_step=substeps * model.opt.timestep,
        make_single=partial(ModelEnvironment, model, observation, substeps),
    )


def _limited(model: mujoco.MjModel) -> mujoco.MjModel:
    """Return the model with limits for the actuators that have none."""
    model = copy.copy(model)
    unlimited = model.actuator_ctrllimited == 0
    model.actuator_ctrlrange[unlimited] = (-UNLIMITED, UNLIMITED)
    model.actuator_ctrllimited[unlimited] = 1
    return model


class ModelEnvironment(SingleEnvironment):
    """A model that moves, one MuJoCo step at a time; the reward is 0."""

    def __init__(
        self, model: mujoco.MjModel, observation: ModelObservation, substeps: int, seed: int
    ) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        self.substeps = substeps
        self._observation = observation

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start at the model's first keyframe, or in its own pose; nothing is drawn."""
        super().reset(seed=seed)
        if self.model.nkey:
            mujoco.mj_resetDataKeyframe(self.model, self.data, 0)
        else:
            mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)
        return self.observation(), {}

    def substep(self, action: np.ndarray) -> float:
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)  # sensors are of the state before the step
        return 0.0

    def observation(self) -> np.ndarray:
        return self._observation.read(self.data)
