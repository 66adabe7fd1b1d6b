# SPDX-License-Identifier: Apache-2.0
"""What a body's sensors say: the simulator's state, with errors, some time later."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeVar

import mujoco
import numpy as np

from pwm_core.layout import ObservationChannel, ObservationLayout
from pwm_core.sources import SOURCES, Kind
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


@dataclass(frozen=True)
class _Errors:
    """What is added to a reading, and to the entries of an observation that are no joint's."""

    position: np.ndarray
    velocity: np.ndarray
    sensors: np.ndarray
    entries: np.ndarray

    def on(self, reading: Reading) -> Reading:
        """Return a true reading as it is measured."""
        return Reading(
            reading.position + self.position,
            reading.velocity + self.velocity,
            reading.effort,
            reading.sensors + self.sensors,
        )


@dataclass(frozen=True)
class _Moment:
    """The joints at the end of a decision, and the errors of that reading."""

    position: np.ndarray
    velocity: np.ndarray
    errors: _Errors

    def joint(self, quantity: str, address: int) -> tuple[float, float]:
        """Return the true value and its error."""
        return getattr(self, quantity)[address], getattr(self.errors, quantity)[address]


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
        self._far = np.array([channel.unit in _LENGTHS for channel in layout.channels])
        self._turns = np.zeros(model.nq, bool)
        for joint, start in enumerate(model.jnt_qposadr):
            first, last = _QUATERNION.get(int(model.jnt_type[joint]), (0, 0))
            self._turns[start + first : start + last] = True
        self._remembered = 1 + max(channel.lag for channel in layout.channels)
        self.start(Disturbances(), 0)

    def start(self, acting: Disturbances, seed: int) -> None:
        """Forget the past: an episode begins."""
        self._seed, self._count = seed, 0
        self._readings: deque[Reading] = deque()
        self._observations: deque[np.ndarray] = deque()
        self._moments: deque[_Moment] = deque(maxlen=self._remembered)
        self.change(acting)

    def change(self, acting: Disturbances) -> None:
        """Measure under other disturbances from now on."""
        self._acting = acting
        self._wrong = bool(acting.sensor_bias or acting.sensor_noise)

    def measure(self) -> Reading:
        """Measure the joints and sensors after a simulator step; return what is known by now."""
        self._count += 1
        data = self._data
        newest = Reading(
            data.qpos.copy(), data.qvel.copy(), data.qfrc_actuator.copy(), data.sensordata.copy()
        )
        if self._wrong:
            newest = self._errors().on(newest)
        return _delayed(self._readings, newest, self._acting.observation_delay * self._substeps)

    def observe(self, observation: np.ndarray) -> np.ndarray:
        """Return the observation ``[O]`` that is known at the end of a decision."""
        if self._wrong:
            observation = self._with_errors(observation)
        return _delayed(self._observations, observation, self._acting.observation_delay)

    def _errors(self) -> _Errors:
        noise = np.zeros(sum(self._sizes))
        if self._acting.sensor_noise:
            generator = draws(self._seed, "noise", self._count)
            noise = generator.normal(0.0, self._acting.sensor_noise, noise.size)
        position, velocity, sensors, entries = np.split(noise, np.cumsum(self._sizes)[:-1])
        position = np.where(self._turns, 0.0, position + self._acting.sensor_bias)
        return _Errors(position, velocity, sensors, entries + self._acting.sensor_bias * self._far)

    def _with_errors(self, observation: np.ndarray) -> np.ndarray:
        self._moments.appendleft(
            _Moment(self._data.qpos.copy(), self._data.qvel.copy(), self._errors())
        )
        wrong = observation.copy()
        for index, channel in enumerate(self._layout.channels):
            moment = self._moments[min(channel.lag, len(self._moments) - 1)]
            wrong[index] += self._error(index, channel, moment)
        return wrong

    def _error(self, index: int, channel: ObservationChannel, moment: _Moment) -> float:
        """Return what the sensor's error makes of an observation's entry."""
        if SOURCES[channel.topic].kind is not Kind.MEASUREMENT:
            return 0.0
        place = self._places[index]
        if place is None:
            return channel.scale * moment.errors.entries[index]
        true, error = moment.joint(*place)
        return channel.read(true + error) - channel.read(true)


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
