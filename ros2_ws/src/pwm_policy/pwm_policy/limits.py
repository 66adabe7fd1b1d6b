# SPDX-License-Identifier: Apache-2.0
"""Limits of one robot, narrower than the contract of its policies.

    slider_motor:      # name of the actuator
      low: -0.5        # actuator units, like the bundle's
      high: 0.5
      rate: 4.0        # largest change per second

Anything left out stays as the contract has it. Actions are cut off, not scaled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from pwm_core.layout import ActionChannel, ActionLayout

KINDS = ("low", "high", "rate")


class LimitsError(ValueError):
    """A limits file cannot be used; the message names every entry that is wrong."""


def narrowed(layout: ActionLayout, path: Path) -> ActionLayout:
    """Return ``layout`` with the limits of the file; :class:`LimitsError` if any is wider."""
    limits = _read(path)
    unknown = [name for name in limits if name not in layout.names]
    objections = [f"{name} is none of {', '.join(layout.names)}" for name in unknown]
    channels = []
    for channel in layout.channels:
        given = limits.get(channel.name, {})
        wrong = _objections(channel, given)
        objections += [f"{channel.name}: {reason}" for reason in wrong]
        channels.append(channel if wrong else replace(channel, **given))
    if objections:
        raise LimitsError(f"limits file {path}: {'; '.join(objections)}")
    return ActionLayout(tuple(channels))


def require_rates(layout: ActionLayout) -> None:
    """Refuse positions without a rate, whose first command would be a leap.

    :class:`LimitsError` names the actuators.
    """
    leaping = [
        channel.name
        for channel in layout.channels
        if channel.interpretation == "position" and channel.rate is None
    ]
    if leaping:
        raise LimitsError(
            f"{', '.join(leaping)} command positions without a rate: a robot would leap; give "
            "each a `rate`, in command units per second, in `limits_file`"
        )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        limits = yaml.safe_load(path.read_text())
    except OSError as error:
        raise LimitsError(f"limits file {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LimitsError(f"limits file {path} is not YAML: {error}") from error
    if not isinstance(limits, dict):
        raise LimitsError(
            f"limits file {path} has no actuators; expected NAME: {{low, high, rate}}"
        )
    return limits


def _objections(channel: ActionChannel, given: Any) -> list[str]:
    """Return why ``given`` does not narrow ``channel``, one sentence per reason."""
    if not isinstance(given, dict):
        return [f"is {given!r}, expected any of {', '.join(KINDS)}"]
    objections = [f"{key} is none of {', '.join(KINDS)}" for key in given if key not in KINDS]
    objections += [
        f"{key} is {value!r}, expected a finite number"
        for key, value in given.items()
        if key in KINDS and not _finite(value)
    ]
    return objections or _widenings(channel, given)


def _finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _widenings(channel: ActionChannel, given: Mapping[str, float]) -> list[str]:
    low, high = given.get("low", channel.low), given.get("high", channel.high)
    rate = given.get("rate", math.inf)
    objections = []
    if low < channel.low:
        objections.append(f"low {low} is below the contract's {channel.low}")
    if high > channel.high:
        objections.append(f"high {high} is above the contract's {channel.high}")
    if low >= high:
        objections.append(f"low {low} is not below high {high}")
    elif not low <= channel.safe <= high:
        objections.append(f"{low} to {high} leaves out the safe action {channel.safe}")
    if rate <= 0:
        objections.append(f"rate {rate} is not above 0")
    if channel.rate is not None and rate != math.inf and rate > channel.rate:
        objections.append(f"rate {rate} is above the contract's {channel.rate}")
    return objections
