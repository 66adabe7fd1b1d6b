# SPDX-License-Identifier: Apache-2.0
"""The policy node's parameters: description, type, range, and what is refused."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

TRIGGERS = ("clock", "observation")
OBSERVATION_SOURCES = ("observation", "sensors")


def declare(node: Node) -> None:
    """Declare every parameter; values given at start outside their range raise."""
    _declare(node, "policy_dir", "", "Directory of NAME.onnx bundles; read by `configure`.")
    _declare(
        node,
        "trusted_bundles",
        "",
        "File of sha256sum lines; a bundle that it does not list is refused. Empty: all may run.",
        read_only=True,
    )
    _declare(node, "policy", "", "Policy to start with; empty: the first one for `task`.")
    _declare(node, "task", "", "Task to start for when `policy` is empty; empty: any.")
    _declare(
        node,
        "trigger",
        "clock",
        "clock: act at the bundle's rate on absolute deadlines; observation: act on each arrival "
        "(lockstep simulation).",
        additional_constraints=f"one of {', '.join(TRIGGERS)}",
    )
    _declare(
        node,
        "stale_timeout",
        0.2,
        "An action is held while its observation is late; after this many seconds the safe action "
        "replaces it.",
        floating_point_range=[FloatingPointRange(from_value=0.001, to_value=60.0)],
    )
    _declare(
        node,
        "rate",
        0.0,
        "Decisions per second that the robot expects; bundles of another rate are refused. "
        "0: any. Read by `configure`.",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=10_000.0)],
    )
    _declare(
        node,
        "limits_file",
        "",
        "YAML file of narrower limits, per actuator any of low, high, rate; empty: the bundle's "
        "alone. Read by `configure`.",
    )
    _declare_inputs(node)
    _declare(
        node, "autostart", True, "Configure and activate when the node starts.", read_only=True
    )


def _declare_inputs(node: Node) -> None:
    """Declare where observations come from."""
    _declare(
        node,
        "observation_source",
        "observation",
        "observation: the whole vector from the topic of this name (a simulator); sensors: "
        "assembled by name from joint_states, imu/data and what else the bundle names. Read by "
        "`configure`.",
        additional_constraints=f"one of {', '.join(OBSERVATION_SOURCES)}",
    )
    _declare(
        node,
        "command_timeout",
        0.5,
        "A velocity command (cmd_vel) counts as zero this many seconds after it arrived. Read by "
        "`configure`.",
        floating_point_range=[FloatingPointRange(from_value=0.01, to_value=3600.0)],
    )


def refusal(parameters: list[Parameter]) -> str:
    """Return why a change of ``parameters`` cannot be made; empty if it can."""
    for parameter in parameters:
        if parameter.name == "trigger" and parameter.value not in TRIGGERS:
            return f"trigger {parameter.value!r} is none of {', '.join(TRIGGERS)}"
    return ""


def _declare(
    node: Node, name: str, default: object, description: str, **constraints: object
) -> None:
    descriptor = ParameterDescriptor(name=name, description=description, **constraints)
    node.declare_parameter(name, default, descriptor)
