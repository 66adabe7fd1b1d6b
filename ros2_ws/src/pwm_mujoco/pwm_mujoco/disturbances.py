# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a simulated robot: settings, and what an episode draws from their ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

UNCHANGED = (1.0, 1.0)
NO_SHIFT = (0.0, 0.0)


def _setting(default: Any, description: str) -> Any:
    """A field that says itself what it means, for the node that offers it as a parameter."""
    return field(default=default, metadata={"description": description})


def draws(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Return the generator of one purpose, so that each draws the same whatever the others do."""
    return np.random.default_rng([seed, *purpose.encode(), index])


@dataclass(frozen=True)
class Disturbances:
    """Differences between the simulated robot and the nominal one; the defaults are none.

    Raises ``ValueError`` naming the setting that cannot be.
    """

    actuator_gain: float = _setting(
        1.0, "Factor on the force or torque of every actuator, and on its limits."
    )
    sensor_bias: float = _setting(0.0, "Added to every measured position, in rad or m.")
    sensor_noise: float = _setting(
        0.0, "Standard deviation of white noise on every measured quantity, in its SI unit."
    )
    observation_delay: int = _setting(
        0, "Decisions by which everything measured is late; its stamp does not say so."
    )
    mass_scale: float = _setting(1.0, "Factor on all masses and inertias.")
    friction_scale: float = _setting(1.0, "Factor on the friction of all contacts.")
    push_force: float = _setting(
        0.0, "Force of a push in a horizontal direction drawn for each, in N."
    )
    push_duration: float = _setting(0.1, "Seconds that a push lasts.")
    push_interval: float = _setting(
        2.0, "Seconds from the start of a push to that of the next; the first comes after as many."
    )
    push_body: str = _setting(
        "", "Body that is pushed at its centre of mass; empty: the model's first."
    )
    gain_range: tuple[float, float] = _setting(
        UNCHANGED, "Lowest and highest factor on actuator_gain; one is drawn per episode."
    )
    bias_range: tuple[float, float] = _setting(
        NO_SHIFT, "Lowest and highest addition to sensor_bias; one is drawn per episode."
    )
    delay_range: tuple[int, int] = _setting(
        (0, 0), "Lowest and highest addition to observation_delay; one is drawn per episode."
    )
    mass_range: tuple[float, float] = _setting(
        UNCHANGED, "Lowest and highest factor on mass_scale; one is drawn per episode."
    )
    friction_range: tuple[float, float] = _setting(
        UNCHANGED, "Lowest and highest factor on friction_scale; one is drawn per episode."
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            self._check(setting.name, getattr(self, setting.name))
        if self.mass_scale == 0 or self.mass_range[0] == 0:
            raise ValueError("mass_scale and mass_range must be above 0")
        if not 0 < self.push_duration <= self.push_interval:
            raise ValueError(
                f"push_duration {self.push_duration} s and push_interval {self.push_interval} s: "
                "expected 0 < duration <= interval"
            )

    def _check(self, name: str, value: object) -> None:
        if isinstance(value, str):
            return
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"{name} is {value}, expected finite numbers")
        if name not in ("sensor_bias", "bias_range") and min(numbers) < 0:
            raise ValueError(f"{name} is {value}, expected nothing below 0")
        if name.endswith("_range") and (len(numbers) != 2 or numbers[0] > numbers[1]):
            raise ValueError(f"{name} is {value}, expected the lowest and the highest value")

    def drawn(self, seed: int) -> Disturbances:
        """Return what acts in the episode of ``seed``: one value from each range."""
        generator = draws(seed, "episode")
        gain = self.actuator_gain * generator.uniform(*self.gain_range)
        bias = self.sensor_bias + generator.uniform(*self.bias_range)
        low, high = self.delay_range
        delay = self.observation_delay + int(generator.integers(low, high, endpoint=True))
        mass = self.mass_scale * generator.uniform(*self.mass_range)
        friction = self.friction_scale * generator.uniform(*self.friction_range)
        return replace(
            self,
            actuator_gain=gain,
            sensor_bias=bias,
            observation_delay=delay,
            mass_scale=mass,
            friction_scale=friction,
            gain_range=UNCHANGED,
            bias_range=NO_SHIFT,
            delay_range=(0, 0),
            mass_range=UNCHANGED,
            friction_range=UNCHANGED,
        )

    def push(self, time: float, seed: int) -> np.ndarray:
        """Return the force ``[3]`` that pushes at ``time`` seconds into the episode, in N."""
        number, phase = divmod(time, self.push_interval)
        if number < 1 or phase >= self.push_duration:
            return np.zeros(3)
        angle = draws(seed, "push", int(number)).uniform(0, 2 * np.pi)
        return self.push_force * np.array([np.cos(angle), np.sin(angle), 0.0])
