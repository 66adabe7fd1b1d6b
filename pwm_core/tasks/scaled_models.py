# SPDX-License-Identifier: Apache-2.0
"""Copies of a MuJoCo model with other masses or weaker actuators."""

from __future__ import annotations

import copy

import mujoco
import numpy as np

MASS_FIELDS = (
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
GAIN_FIELDS = ("actuator_gainprm", "actuator_biasprm", "actuator_forcerange")
"""What scales with the force of actuators."""
_LINEAR = {int(mujoco.mjtGain.mjGAIN_FIXED), int(mujoco.mjtGain.mjGAIN_AFFINE)}
_MUSCLE = int(mujoco.mjtGain.mjGAIN_MUSCLE)
_MUSCLE_FORCE = (2, 3)
"""Peak force of a muscle, and the scale it has when that is to be computed."""


def write_fields(model: mujoco.MjModel, names: tuple[str, ...], source: mujoco.MjModel) -> None:
    """Make the arrays ``names`` of ``model`` those of ``source``; its data stays in use."""
    for name in names:
        getattr(model, name)[:] = getattr(source, name)


def with_masses(nominal: mujoco.MjModel, scale: float) -> mujoco.MjModel:
    """Return ``nominal`` with all masses and inertias times ``scale``."""
    model = copy.copy(nominal)
    if scale != 1.0:
        model.body_mass *= scale
        model.body_inertia *= scale
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def require_scalable_actuators(model: mujoco.MjModel) -> None:
    """Raise ``ValueError`` for an actuator whose force :func:`with_actuators` cannot scale."""
    for index, kind in enumerate(model.actuator_gaintype):
        if int(kind) not in (*_LINEAR, _MUSCLE):
            raise ValueError(
                f"actuator_gain: actuator {model.actuator(index).name!r} is of a kind "
                f"({mujoco.mjtGain(kind).name}) whose force cannot be scaled; expected motors, "
                "servos or muscles"
            )


def with_actuators(nominal: mujoco.MjModel, gain: float) -> mujoco.MjModel:
    """Return ``nominal`` with forces times ``gain``.

    Motors and servos give ``gain * control + bias``, muscles ``force * curve``.
    """
    model = copy.copy(nominal)
    linear = np.isin(model.actuator_gaintype, list(_LINEAR))
    model.actuator_gainprm[linear] *= gain
    model.actuator_biasprm[linear] *= gain
    for muscle in np.flatnonzero(model.actuator_gaintype == _MUSCLE):
        for parameters in (model.actuator_gainprm, model.actuator_biasprm):
            scaled = [index for index in _MUSCLE_FORCE if parameters[muscle, index] > 0]
            parameters[muscle, scaled] *= gain
    model.actuator_forcerange *= gain
    return model
