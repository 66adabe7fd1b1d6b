# SPDX-License-Identifier: Apache-2.0
"""The policy node's parameters: description, type, range, and what is refused."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from pwm_policy.loop import FRESH_PERIODS

TRIGGERS = ("clock", "observation")
OBSERVATION_SOURCES = ("observation", "sensors")
COMMAND_INTERFACES = ("action", "forward_command", "joint_trajectory", "joint_state")
ON_NOVELTY = ("report", "fallback")
CHOICES = {
    "trigger": TRIGGERS,
    "observation_source": OBSERVATION_SOURCES,
    "command_interface": COMMAND_INTERFACES,
    "on_novelty": ON_NOVELTY,
}
"""What a parameter may be."""
READ_BY_CONFIGURE = (
    "policy_dir",
    "policy",
    "task",
    "rate",
    "limits_file",
    "max_following_error",
    "following_error_time",
    "joint_prefix",
    "joint_names_file",
    "command_interface",
    "command_topic",
    "controller",
    "joints",
    "dry_run",
    "observation_source",
    "cmd_vel_timeout",
    "fallback_policy",
)
"""A change of these would not be heeded before the next `configure`."""
RENAMED = {"latch_directory": "state_directory"}
"""What parameters are called now: an old name in somebody's file must not be without effect."""


def declare(node: Node) -> None:
    """Declare every parameter; values given at start outside their range, or old names, raise."""
    _refuse_renamed(node)
    _declare(node, "policy_dir", "", "Directory of NAME.onnx bundles; read by `configure`.")
    _declare(
        node,
        "trusted_bundles",
        "",
        "File of sha256sum lines; a bundle that it does not list is refused. Empty: all may run.",
        read_only=True,
    )
    _declare(
        node,
        "policy",
        "",
        "Policy to start with; empty: the one called like `task`, else the only one for it. Read "
        "by `configure`.",
    )
    _declare(
        node,
        "task",
        "",
        "Task to start for when `policy` is empty; empty: any, with only one policy. Read by "
        "`configure`.",
    )
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
        "replaces it; 1.5 control steps or more.",
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
    _declare_exploration(node)
    _declare_trial(node)
    _declare_following(node)
    _declare_joint_names(node)
    _declare_outputs(node)
    _declare_inputs(node)
    _declare_monitor(node)
    _declare(
        node,
        "state_directory",
        "",
        "Directory where a latched emergency stop, the name of the acting policy and its trial "
        "outlive the node, in files of its domain and name; ~ and $VARIABLES are replaced; empty: "
        "they end with the process.",
        read_only=True,
    )
    _declare(
        node, "autostart", True, "Configure and activate when the node starts.", read_only=True
    )


def _refuse_renamed(node: Node) -> None:
    for old, new in RENAMED.items():
        given = node.declare_parameter(old, None, ParameterDescriptor(dynamic_typing=True))
        node.undeclare_parameter(old)
        if given.value is not None:
            raise ValueError(f"parameter {old} is called {new} now; it was given {given.value!r}")


def _declare_exploration(node: Node) -> None:
    """Declare the noise that makes recorded actions tell more than the policy's."""
    _declare(
        node,
        "exploration_noise",
        0.0,
        "Standard deviation of noise on the policy's actions, as a fraction of their range, inside "
        "their limits and rates; never on the safe action. 0: none.",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=1.0)],
    )
    _declare(
        node,
        "exploration_seed",
        0,
        "Seed of that noise, drawn anew when the node is activated or either changes.",
        integer_range=[IntegerRange(from_value=0, to_value=2**31 - 1, step=1)],
    )
    _declare(
        node,
        "exploration_timeout",
        0.0,
        "Seconds after which the noise ends unless exploration_noise or this is set again: what "
        "asked for it may be gone. 0: it stays.",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=3600.0)],
    )


def _declare_trial(node: Node) -> None:
    """Declare what becomes of a policy that is tried out when nobody watches it any more."""
    _declare(
        node,
        "trial_policy",
        "",
        "Policy on trial: while it acts, trial_timeout has to be set again and again. Empty: none.",
    )
    _declare(
        node,
        "trial_fallback",
        "",
        "Policy that acts again when the trial's time is over; it has to be loaded.",
    )
    _declare(
        node,
        "trial_timeout",
        0.0,
        "Seconds after which trial_fallback acts again unless one of these three is set again: "
        "what watched the trial may be gone. 0: it stays.",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=86400.0)],
    )


def _declare_following(node: Node) -> None:
    """Declare when a joint is lost."""
    _declare(
        node,
        "max_following_error",
        0.0,
        "A joint that is measured farther than this (rad or m) from its position command for "
        "`following_error_time` latches the emergency stop, and the robot is held where it is; "
        "0: off. Read by `configure`.",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=1000.0)],
    )
    _declare(
        node,
        "following_error_time",
        0.5,
        "Seconds that a joint may be farther away than `max_following_error`. Read by `configure`.",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=60.0)],
    )


def _declare_joint_names(node: Node) -> None:
    """Declare what the robot calls the contract's joints, on all topics of joints."""
    _declare(
        node,
        "joint_prefix",
        "",
        "What the robot puts before the contract's names of joints, say panda_. Read by "
        "`configure`.",
    )
    _declare(
        node,
        "joint_names_file",
        "",
        "YAML file, CONTRACT_NAME: ROBOT_NAME, of joints that the robot calls otherwise; the rest "
        "have the prefix. Read by `configure`.",
    )


def _declare_outputs(node: Node) -> None:
    """Declare how commands leave."""
    _declare(
        node,
        "command_interface",
        "action",
        "What leaves beside Action: action: nothing; forward_command: Float64MultiArray in the "
        "order of the joints; joint_trajectory: JointTrajectory with one point a control step "
        "ahead; joint_state: JointState by name. Read by `configure`.",
        additional_constraints=f"one of {', '.join(COMMAND_INTERFACES)}",
    )
    _declare(
        node,
        "command_topic",
        "",
        "Topic of the command interface; empty: commands, joint_trajectory (both below the "
        "controller's name) or joint_commands. Read by `configure`.",
    )
    _declare(
        node,
        "controller",
        "",
        "ros2_control controller to ask for its joints and interfaces; empty: none. "
        "Read by `configure`.",
    )
    _declare(
        node,
        "joints",
        [""],
        "The receiver's joints in its order, for forward_command without a `controller`; [''] for "
        "none. Read by `configure`.",
    )
    _declare(
        node,
        "dry_run",
        False,
        "Publish all commands below shadow/ instead, so that nothing moves. Read by `configure`.",
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
        "cmd_vel_timeout",
        0.5,
        "A velocity command (cmd_vel) counts as zero this many seconds after it arrived. Read by "
        "`configure`.",
        floating_point_range=[FloatingPointRange(from_value=0.01, to_value=3600.0)],
    )


def _declare_monitor(node: Node) -> None:
    """Declare what follows when the robot does not move as the world model predicts."""
    _declare(
        node,
        "on_novelty",
        "report",
        "When novelty rises above 1: report: tell; fallback: let `fallback_policy` take over, or "
        "the safe action, until another policy is swapped in.",
        additional_constraints=f"one of {', '.join(ON_NOVELTY)}",
    )
    _declare(
        node,
        "fallback_policy",
        "",
        "Policy that takes over on novelty; empty: the safe action. Checked by `configure`.",
    )


def refusal(parameters: list[Parameter]) -> str:
    """Return why a change of ``parameters`` cannot be made; empty if it can."""
    for parameter in parameters:
        known = CHOICES.get(parameter.name)
        if known is not None and parameter.value not in known:
            return f"{parameter.name} {parameter.value!r} is none of {', '.join(known)}"
    return ""


def refusal_while_configured(changed: list[Parameter], control_step: float) -> str:
    """Return why values that differ from the present ones cannot be taken without `configure`.

    ``control_step`` of the policies in seconds. Empty if they can.
    """
    unheeded = [parameter.name for parameter in changed if parameter.name in READ_BY_CONFIGURE]
    if unheeded:
        return (
            f"{', '.join(unheeded)}: read by `configure` only, and the node is configured; make "
            "the transitions `deactivate` (if active) and `cleanup`, change it, then `configure`"
        )
    for parameter in changed:
        if parameter.name == "stale_timeout":
            return short_timeout(float(parameter.value), control_step)
    return ""


def refusal_while_configuring(changed: list[Parameter]) -> str:
    """Return why values that differ from the present ones cannot be taken while they are read."""
    names = {parameter.name for parameter in changed}
    read = sorted(names & {*READ_BY_CONFIGURE, "stale_timeout"})
    if not read:
        return ""
    return f"{', '.join(read)}: `configure` reads the parameters just now; ask again when it ended"


def short_timeout(stale_timeout: float, control_step: float) -> str:
    """Return why observations a control step apart would time out in between; empty if not."""
    least = FRESH_PERIODS * control_step
    if stale_timeout >= least * (1 - 1e-9):
        return ""
    return (
        f"stale_timeout is {stale_timeout:g} s, less than {FRESH_PERIODS:g} control steps of "
        f"{control_step:g} s: policy and safe action would alternate; expected {least:g} s or more"
    )


def _declare(
    node: Node, name: str, default: object, description: str, **constraints: object
) -> None:
    descriptor = ParameterDescriptor(name=name, description=description, **constraints)
    node.declare_parameter(name, default, descriptor)
