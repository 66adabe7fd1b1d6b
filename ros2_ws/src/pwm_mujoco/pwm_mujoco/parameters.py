# SPDX-License-Identifier: Apache-2.0
"""The bridge's parameters: description, type, range, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from pwm_mujoco.disturbances import Disturbances

MODES = ("lockstep", "realtime", "paused")


def declare(node: Node) -> None:
    """Declare every parameter; values given at start outside their range raise."""
    read_only = {"read_only": True}
    _declare(
        node,
        "task",
        "cartpole-swingup",
        "Task to start with (`pwm tasks` lists them).",
        **read_only,
    )
    _declare(
        node,
        "seed",
        0,
        "Episode N starts from seed + N unless the reset names a seed.",
        integer_range=[IntegerRange(from_value=0, to_value=2**31 - 1, step=1)],
        **read_only,
    )
    _declare(
        node,
        "mode",
        "realtime",
        "lockstep: one decision per action; realtime: follow the wall clock; paused.",
        additional_constraints=f"one of {', '.join(MODES)}",
    )
    _declare(
        node,
        "real_time_factor",
        1.0,
        "Simulated seconds per wall second in realtime mode.",
        floating_point_range=[FloatingPointRange(from_value=0.01, to_value=100.0)],
    )
    _declare(
        node, "auto_reset", True, "Start the next episode when one has ended; else hold its end."
    )
    _declare(
        node, "time_limit", True, "End an episode after the task's number of decisions; else never."
    )
    _declare(
        node,
        "clock_rate",
        50.0,
        "At most this many /clock messages per wall second (Hz).",
        floating_point_range=[FloatingPointRange(from_value=1.0, to_value=1000.0)],
        **read_only,
    )
    for setting in fields(Disturbances):
        default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
        _declare(node, setting.name, default, setting.metadata["description"])
    _declare(node, "headless", True, "Without MuJoCo's viewer window.", **read_only)


def disturbances(node: Node, changed: Iterable[Parameter] = ()) -> Disturbances:
    """Return the disturbances as they are, or will be when ``changed`` is set.

    Raises ``ValueError`` naming the parameter that cannot be.
    """
    wanted = {p.name: p.value for p in changed}
    names = [setting.name for setting in fields(Disturbances)]
    values: dict[str, Any] = {n: wanted.get(n, node.get_parameter(n).value) for n in names}
    for name in names:
        if name.endswith("_range"):
            values[name] = tuple(values[name])
    return Disturbances(**values)


def refusal(parameters: list[Parameter]) -> str:
    """Return why a change of ``parameters`` cannot be made; empty if it can."""
    for parameter in parameters:
        if parameter.name == "mode" and parameter.value not in MODES:
            return f"mode {parameter.value!r} is none of {', '.join(MODES)}"
    return ""


def _declare(
    node: Node, name: str, default: object, description: str, **constraints: object
) -> None:
    descriptor = ParameterDescriptor(name=name, description=description, **constraints)
    node.declare_parameter(name, default, descriptor)
