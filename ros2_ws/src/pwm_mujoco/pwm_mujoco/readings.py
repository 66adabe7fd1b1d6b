# SPDX-License-Identifier: Apache-2.0
"""What a body's sensors say: the simulator's state, with errors, some time later."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeVar

import mujoco
import numpy as np

from pwm_core.layout import ObservationChannel, ObservationLayout
from pwm_mujoco.disturbances import Disturbances, draws

_QUATERNION = {
    int(mujoco.mjtJoint.mjJNT_FREE): (3, 7),
    int(mujoco.mjtJoint.mjJNT_BALL): (0, 4),
}
"""Kind of joint to its numbers in ``qpos`` that are an orientation."""
_LENGTHS = ("m", "rad")
Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Reading:
    """Everything measured at one moment, in MuJoCo's order."""

    position: np.ndarray
    """Joints, ``[nq]``."""
    velocity: np.ndarray
    """Joints, ``[nv]``."""
    effort: np.ndarray
    """Actuator force on the joints, ``[nv]``."""
    sensors: np.ndarray
    """The model's sensors, ``[nsensordata]``."""


class Sensors:
    """Measures one environment; what is not disturbed comes back unchanged, bit for bit.

    Errors depend on the episode's seed and on the number of the simulator step only. Errors of a
    joint are the same in its reading and in the observation.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        layout: ObservationLayout,
        substeps: int,
    ) -> None:
        self._data, self._layout, self._substeps = data, layout, substeps
        self._places = [_place(model, channel) for channel in layout.channels]
        self._sizes = (model.nq, model.nv, model.nsensordata, layout.size)
        self._turns = np.zeros(model.nq, bool)
        for joint, start in enumerate(model.jnt_qposadr):
            first, last = _QUATERNION.get(int(model.jnt_type[joint]), (0, 0))
            self._turns[start + first : start + last] = True
        self.start(Disturbances(), 0)

    def start(self, acting: Disturbances, seed: int) -> None:
        """Forget the past: an episode begins."""
        self._seed, self._count = seed, 0
        self._readings: deque[Reading] = deque()
        self._observations: deque[np.ndarray] = deque()
        self.change(acting)

    def change(self, acting: Disturbances) -> None:
        """Measure under other disturbances from now on."""
        self._acting = acting

    def measure(self) -> Reading:
        """Measure the joints and sensors after a simulator step; return what is known by now."""
        self._count += 1
        position_error, velocity_error, sensor_error, _ = self._errors()
        newest = Reading(
            self._data.qpos + position_error,
            self._data.qvel + velocity_error,
            self._data.qfrc_actuator.copy(),
            self._data.sensordata + sensor_error,
        )
        return _delayed(self._readings, newest, self._acting.observation_delay * self._substeps)

    def observe(self, observation: np.ndarray) -> np.ndarray:
        """Return the observation ``[O]`` that is known at the end of a decision."""
        if self._acting.sensor_bias or self._acting.sensor_noise:
            observation = self._with_errors(observation)
        return _delayed(self._observations, observation, self._acting.observation_delay)

    def _errors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        noise = np.zeros(sum(self._sizes))
        if self._acting.sensor_noise:
            generator = draws(self._seed, "noise", self._count)
            noise = generator.normal(0.0, self._acting.sensor_noise, noise.size)
        position, velocity, sensors, entries = np.split(noise, np.cumsum(self._sizes)[:-1])
        return self._biased(position), velocity, sensors, entries

    def _biased(self, noise: np.ndarray) -> np.ndarray:
        return np.where(self._turns, 0.0, noise + self._acting.sensor_bias)

    def _with_errors(self, observation: np.ndarray) -> np.ndarray:
        position_error, velocity_error, _, entry_error = self._errors()
        wrong = observation.copy()
        for index, (channel, place) in enumerate(
            zip(self._layout.channels, self._places, strict=True)
        ):
            if place is None:
                bias = self._acting.sensor_bias if channel.unit in _LENGTHS else 0.0
                wrong[index] += entry_error[index] + channel.scale * bias
                continue
            kind, address = place
            raw = (self._data.qpos if kind == "position" else self._data.qvel)[address]
            error = (position_error if kind == "position" else velocity_error)[address]
            wrong[index] += channel.read(raw + error) - channel.read(raw)
        return wrong


def _place(model: mujoco.MjModel, channel: ObservationChannel) -> tuple[str, int] | None:
    """Return where an entry's raw value lies in MuJoCo's joints; None when it is no joint's."""
    if channel.topic != "joint_states" or channel.field not in ("position", "velocity"):
        return None
    joint = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, channel.key)
    if joint < 0:
        return None
    starts = model.jnt_qposadr if channel.field == "position" else model.jnt_dofadr
    return channel.field, int(starts[joint])


def _delayed(kept: deque[Measured], newest: Measured, delay: int) -> Measured:
    """Keep the newest and return the one of ``delay`` steps before, or the episode's first."""
    kept.append(newest)
    while len(kept) > delay + 1:
        kept.popleft()
    return kept[0]
