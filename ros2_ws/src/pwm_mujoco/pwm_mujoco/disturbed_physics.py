# SPDX-License-Identifier: Apache-2.0
"""Disturbances that change a MuJoCo model: actuators, masses, friction, pushes."""

from __future__ import annotations

import copy

import mujoco
import numpy as np

from pwm_mujoco.disturbances import Disturbances

_MASS_FIELDS = (
    "body_mass",
    "body_inertia",
    "body_subtreemass",
    "body_invweight0",
    "dof_M0",
    "dof_invweight0",
    "tendon_invweight0",
    "actuator_acc0",
)
"""What ``mj_setConst`` derives from the masses."""
_FRICTION_FIELDS = ("geom_friction", "pair_friction")
_GAIN_FIELDS = ("actuator_gainprm", "actuator_biasprm", "actuator_forcerange")
_LINEAR = {int(mujoco.mjtGain.mjGAIN_FIXED), int(mujoco.mjtGain.mjGAIN_AFFINE)}
_MUSCLE = int(mujoco.mjtGain.mjGAIN_MUSCLE)
_MUSCLE_FORCE = (2, 3)
"""Peak force of a muscle, and the scale it has when that is to be computed."""


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
        if wanted.actuator_gain == 1.0 and wanted.gain_range == (1.0, 1.0):
            return
        for index, kind in enumerate(self._model.actuator_gaintype):
            if int(kind) not in (*_LINEAR, _MUSCLE):
                raise ValueError(
                    f"actuator_gain: actuator {self._model.actuator(index).name!r} is of a kind "
                    f"({mujoco.mjtGain(kind).name}) whose force cannot be scaled; expected motors, "
                    "servos or muscles"
                )

    def apply(self, drawn: Disturbances) -> None:
        """Change what differs from what acts now."""
        if drawn.mass_scale != self._acting.mass_scale:
            self._write(_MASS_FIELDS, self._scaled_masses(drawn.mass_scale))
        if drawn.friction_scale != self._acting.friction_scale:
            self._write(_FRICTION_FIELDS, self._scaled_friction(drawn.friction_scale))
        if drawn.actuator_gain != self._acting.actuator_gain:
            self._write(_GAIN_FIELDS, self._scaled_actuators(drawn.actuator_gain))
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

    def _write(self, names: tuple[str, ...], source: mujoco.MjModel) -> None:
        for name in names:
            getattr(self._model, name)[:] = getattr(source, name)

    def _scaled_masses(self, scale: float) -> mujoco.MjModel:
        model = copy.copy(self._nominal)
        if scale != 1.0:
            model.body_mass *= scale
            model.body_inertia *= scale
            mujoco.mj_setConst(model, mujoco.MjData(model))
        return model

    def _scaled_friction(self, scale: float) -> mujoco.MjModel:
        model = copy.copy(self._nominal)
        model.geom_friction *= scale
        model.pair_friction *= scale
        return model

    def _scaled_actuators(self, gain: float) -> mujoco.MjModel:
        """Motors and servos give ``gain * control + bias``, muscles ``force * curve``."""
        model = copy.copy(self._nominal)
        linear = np.isin(model.actuator_gaintype, list(_LINEAR))
        model.actuator_gainprm[linear] *= gain
        model.actuator_biasprm[linear] *= gain
        for muscle in np.flatnonzero(model.actuator_gaintype == _MUSCLE):
            for parameters in (model.actuator_gainprm, model.actuator_biasprm):
                scaled = [index for index in _MUSCLE_FORCE if parameters[muscle, index] > 0]
                parameters[muscle, scaled] *= gain
        model.actuator_forcerange *= gain
        return model
