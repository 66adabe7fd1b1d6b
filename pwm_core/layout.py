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
from dataclasses import MISSING, dataclass, fields
from dataclasses import field as dataclass_field
from functools import cached_property
from numbers import Real
from typing import Any, Generic, TypeVar

import numpy as np

from pwm_core.sources import SOURCES

TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "identity": np.positive,
    "cos": np.cos,
    "sin": np.sin,
}
INTERPRETATIONS = ("position", "velocity", "effort")
LATER = {"left_out_at_default": True}
"""Marks a field that came after the first bundles: a default is not written, nor hashed."""


def _require_finite(channel: ObservationChannel | ActionChannel, *names: str) -> None:
    for name in names:
        value = getattr(channel, name)
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ValueError(
                f"channel {channel.name}: {name} is {value!r}, expected a finite number"
            )


@dataclass(frozen=True)
class ObservationChannel:
    """One observation entry: ``scale * transform(raw) + offset``."""

    name: str
    """Unique name, e.g. ``hinge_1/position/cos``."""
    unit: str
    """Unit of the entry: ``m``, ``rad/s``, ``1`` …"""
    topic: str
    """Where the raw value comes from, one of :data:`pwm_core.sources.SOURCES`."""
    key: str
    """Joint, actuator or sensor name on that topic."""
    field: str
    """Field of the message: ``position``, ``angular_velocity.x`` …"""
    transform: str = "identity"
    """``identity``, ``cos`` or ``sin``, applied to the raw value."""
    scale: float = 1.0
    """Factor after the transform."""
    offset: float = 0.0
    """Added last."""
    lag: int = dataclass_field(default=0, metadata=LATER)
    """Decisions ago: 0 is the newest value, 1 the one of the decision before …"""

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise ValueError(
                f"channel {self.name}: transform {self.transform!r} is none of {list(TRANSFORMS)}"
            )
        if self.topic not in SOURCES:
            raise ValueError(
                f"channel {self.name}: topic {self.topic!r} is none of {list(SOURCES)}"
            )
        objection = SOURCES[self.topic].objection(self.field)
        if objection:
            raise ValueError(f"channel {self.name}: {objection}")
        _require_finite(self, "scale", "offset")
        if type(self.lag) is not int or self.lag < 0:
            raise ValueError(
                f"channel {self.name}: lag is {self.lag!r}, expected decisions: 0, 1, 2 …"
            )

    def read(self, raw: float) -> float:
        """Return the observation entry for one raw sensor value."""
        return float(self.scale * TRANSFORMS[self.transform](raw) + self.offset)


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
    """Joint's unit (N·m, rad, rad/s …) per unit of command; negative where the joint turns the
    other way."""
    offset: float = dataclass_field(default=0.0, metadata=LATER)
    """Joint's unit: the joint gets ``gear * command + offset``."""
    rate: float | None = dataclass_field(default=None, metadata=LATER)
    """Largest change of the command per second; None: any."""

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
        _require_finite(self, "low", "high", "gear", "offset")
        if self.gear == 0:
            raise ValueError(f"channel {self.name}: gear is 0: the command would move nothing")
        if self.rate is not None:
            _require_finite(self, "rate")
            if self.rate <= 0:
                raise ValueError(
                    f"channel {self.name}: rate is {self.rate}, expected more than 0 per second"
                )


Channel = TypeVar("Channel", ObservationChannel, ActionChannel)


def _written(channel: ObservationChannel | ActionChannel) -> dict[str, Any]:
    """Return what is stored of a channel."""
    pairs = ((field, getattr(channel, field.name)) for field in fields(channel))
    return {
        field.name: value
        for field, value in pairs
        if field.metadata != LATER or value != field.default
    }


def _read(kind: type[Channel], stored: Any) -> Channel:
    if not isinstance(stored, dict):
        raise ValueError(f"a channel is {stored!r}, expected an object")
    name = stored.get("name")
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(set(stored) - set(known))
    if unknown:
        raise ValueError(
            f"channel {name}: unknown field {', '.join(unknown)}: written by a newer version? "
            f"This one knows {', '.join(known)}"
        )
    missing = [n for n, field in known.items() if field.default is MISSING and n not in stored]
    if missing:
        raise ValueError(f"channel {name}: {', '.join(missing)} is missing")
    return kind(**stored)


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
        return [_written(channel) for channel in self.channels]

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
        """Read what :meth:`to_json` wrote; ``ValueError`` for anything else."""
        return cls(tuple(_read(ObservationChannel, channel) for channel in channels))

    def read(self, raw: np.ndarray) -> np.ndarray:
        """Return the observation ``[O]``, float32, for one raw sensor value per channel ``[O]``."""
        values = np.array(raw, np.float64)
        for transform, entries in self._transformed:
            values[entries] = transform(values[entries])
        return (self._scale * values + self._offset).astype(np.float32)

    @cached_property
    def _transformed(self) -> list[tuple[Callable[[Any], Any], np.ndarray]]:
        used = np.array([channel.transform for channel in self.channels])
        plain = ObservationChannel.transform
        return [(TRANSFORMS[name], np.flatnonzero(used == name)) for name in set(used) - {plain}]

    @cached_property
    def _scale(self) -> np.ndarray:
        return np.array([channel.scale for channel in self.channels], np.float64)

    @cached_property
    def _offset(self) -> np.ndarray:
        return np.array([channel.offset for channel in self.channels], np.float64)


class ActionLayout(_Layout[ActionChannel]):
    """Order, limits and meaning of an action vector."""

    @classmethod
    def from_json(cls, channels: list[dict[str, Any]]) -> ActionLayout:
        """Read what :meth:`to_json` wrote; ``ValueError`` for anything else."""
        return cls(tuple(_read(ActionChannel, channel) for channel in channels))

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
