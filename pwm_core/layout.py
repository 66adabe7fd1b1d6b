# SPDX-License-Identifier: Apache-2.0
"""Observation and action layouts: what each number of a vector means on the robot.

Tasks, datasets and bundles share these classes. The module needs numpy only, so that a robot can
read a bundle without torch or a simulator.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np

TRANSFORMS: dict[str, Callable[[float], float]] = {
    "identity": float,
    "cos": math.cos,
    "sin": math.sin,
}
INTERPRETATIONS = ("position", "velocity", "effort")


@dataclass(frozen=True)
class ObservationChannel:
    """One observation entry: ``scale * transform(raw) + offset``."""

    name: str
    """Unique name, e.g. ``hinge_1/position/cos``."""
    unit: str
    """Unit of the entry: ``m``, ``rad/s``, ``1`` …"""
    topic: str
    """Where the raw value comes from: ``joint_states``, ``imu/data``, ``odom``, ``observation``."""
    key: str
    """Joint (or sensor) name on that topic."""
    field: str
    """Field of the message: ``position``, ``velocity``, ``effort`` …"""
    transform: str = "identity"
    """``identity``, ``cos`` or ``sin``, applied to the raw value."""
    scale: float = 1.0
    """Factor after the transform."""
    offset: float = 0.0
    """Added last."""

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise ValueError(
                f"channel {self.name}: transform {self.transform!r} is none of {list(TRANSFORMS)}"
            )

    def read(self, raw: float) -> float:
        """Return the observation entry for one raw sensor value."""
        return self.scale * TRANSFORMS[self.transform](raw) + self.offset


@dataclass(frozen=True)
class ActionChannel:
    """One actuator command, in actuator units (MuJoCo ``ctrl``)."""

    name: str
    """Actuator name."""
    joint: str
    """Joint it drives."""
    interpretation: str
    """``position``, ``velocity`` or ``effort``."""
    unit: str
    """Unit of the command."""
    low: float
    """Lowest command."""
    high: float
    """Highest command."""
    safe: float
    """Command that is safe to hold when the policy cannot be trusted."""
    gear: float = 1.0
    """Joint force or torque per unit of command (N or N·m), for effort actuators."""

    def __post_init__(self) -> None:
        if self.interpretation not in INTERPRETATIONS:
            raise ValueError(
                f"channel {self.name}: interpretation {self.interpretation!r} is none of "
                f"{list(INTERPRETATIONS)}"
            )
        if not self.low <= self.safe <= self.high or self.low == self.high:
            raise ValueError(
                f"channel {self.name}: need low <= safe <= high and low < high, "
                f"got {self.low}, {self.safe}, {self.high}"
            )


Channel = TypeVar("Channel", ObservationChannel, ActionChannel)


@dataclass(frozen=True)
class _Layout(Generic[Channel]):
    channels: tuple[Channel, ...]

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("a layout needs at least one channel")
        repeated = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if repeated:
            raise ValueError(f"channel names repeat: {repeated}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(channel.name for channel in self.channels)

    @property
    def size(self) -> int:
        return len(self.channels)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the channels as JSON-ready dictionaries, in order."""
        return [asdict(channel) for channel in self.channels]

    def hash(self) -> str:
        """Return 16 hex digits that change with any name, order, unit, source or scale."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def difference(self, other: _Layout) -> list[str]:
        """Return one sentence per difference to ``other``; empty when the layouts are equal."""
        if self.names != other.names:
            missing = [name for name in self.names if name not in other.names]
            extra = [name for name in other.names if name not in self.names]
            sentences = [f"{name} is missing" for name in missing]
            sentences += [f"{name} is not expected" for name in extra]
            return sentences or [f"order is {list(other.names)}, expected {list(self.names)}"]
        return [
            f"{mine.name}: {field.name} is {getattr(theirs, field.name)!r}, "
            f"expected {getattr(mine, field.name)!r}"
            for mine, theirs in zip(self.channels, other.channels, strict=True)
            for field in fields(mine)
            if getattr(mine, field.name) != getattr(theirs, field.name)
        ]


class ObservationLayout(_Layout[ObservationChannel]):
    """Order and meaning of an observation vector."""

    @classmethod
    def from_json(cls, channels: list[dict[str, Any]]) -> ObservationLayout:
        """Read what :meth:`to_json` wrote; ``TypeError`` or ``ValueError`` for anything else."""
        return cls(tuple(ObservationChannel(**channel) for channel in channels))


class ActionLayout(_Layout[ActionChannel]):
    """Order, limits and meaning of an action vector."""

    @classmethod
    def from_json(cls, channels: list[dict[str, Any]]) -> ActionLayout:
        """Read what :meth:`to_json` wrote; ``TypeError`` or ``ValueError`` for anything else."""
        return cls(tuple(ActionChannel(**channel) for channel in channels))

    @property
    def low(self) -> np.ndarray:
        """Lowest commands ``[A]``, float32."""
        return np.array([c.low for c in self.channels], np.float32)

    @property
    def high(self) -> np.ndarray:
        """Highest commands ``[A]``, float32."""
        return np.array([c.high for c in self.channels], np.float32)

    @property
    def safe(self) -> np.ndarray:
        """Safe commands ``[A]``, float32."""
        return np.array([c.safe for c in self.channels], np.float32)

    def to_units(self, action: np.ndarray) -> np.ndarray:
        """Map ``[-1, 1]`` (the core's range) ``[…, A]`` to actuator units."""
        return self.low + (np.asarray(action) + 1.0) * 0.5 * (self.high - self.low)

    def to_normalised(self, command: np.ndarray) -> np.ndarray:
        """Map actuator units ``[…, A]`` to ``[-1, 1]``."""
        return (np.asarray(command) - self.low) / (self.high - self.low) * 2.0 - 1.0
