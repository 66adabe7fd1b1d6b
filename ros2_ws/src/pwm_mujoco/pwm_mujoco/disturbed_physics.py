# SPDX-License-Identifier: Apache-2.0
"""Disturbances that change a MuJoCo model: actuators, masses, friction, pushes."""

from __future__ import annotations

import copy

import mujoco
import numpy as np

from pwm_core.tasks.scaled_models import (
    GAIN_FIELDS,
    MASS_FIELDS,
    require_scalable_actuators,
    with_actuators,
    with_masses,
    write_fields,
)
from pwm_mujoco.disturbances import Disturbances

_FRICTION_FIELDS = ("geom_friction", "pair_friction")


class DisturbedPhysics:
    """One model, changed from its nominal self and back; untouched while nothing is disturbed."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._nominal = copy.copy(model)
        self._acting = Disturbances()
        self._pushed: int | None = None

    def check(self, wanted: Disturbances) -> None:
        """Raise ``ValueError`` when this model cannot be disturbed so."""
        if wanted.push_force:
            self._push_body(wanted)
        if wanted.actuator_gain != 1.0 or wanted.gain_range != (1.0, 1.0):
            require_scalable_actuators(self._model)

    def apply(self, drawn: Disturbances) -> None:
        """Change what differs from what acts now."""
        if drawn.mass_scale != self._acting.mass_scale:
            write_fields(self._model, MASS_FIELDS, with_masses(self._nominal, drawn.mass_scale))
        if drawn.friction_scale != self._acting.friction_scale:
            write_fields(self._model, _FRICTION_FIELDS, self._scaled_friction(drawn.friction_scale))
        if drawn.actuator_gain != self._acting.actuator_gain:
            scaled = with_actuators(self._nominal, drawn.actuator_gain)
            write_fields(self._model, GAIN_FIELDS, scaled)
        self._acting = drawn

    def push(self, time: float, seed: int) -> None:
        """Let the force of ``time`` seconds into the episode act on the pushed body."""
        if self._pushed is not None:
            self._data.xfrc_applied[self._pushed] = 0.0
            self._pushed = None
        if self._acting.push_force == 0:
            return
        force = self._acting.push(time, seed)
        if force.any():
            self._pushed = self._push_body(self._acting)
            self._data.xfrc_applied[self._pushed, :3] = force

    def _push_body(self, wanted: Disturbances) -> int:
        if not wanted.push_body:
            moving = np.flatnonzero(self._model.body_dofnum)
            if not moving.size:
                raise ValueError("push_force: no body of this model moves")
            return int(moving[0])
        index = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_BODY, wanted.push_body)
        if index < 1:
            known = [self._model.body(i).name for i in range(1, self._model.nbody)]
            raise ValueError(f"push_body {wanted.push_body!r} is none of {', '.join(known)}")
        return index

    def _scaled_friction(self, scale: float) -> mujoco.MjModel:
        model = copy.copy(self._nominal)
        model.geom_friction *= scale
        model.pair_friction *= scale
        return model
