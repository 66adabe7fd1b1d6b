# SPDX-License-Identifier: Apache-2.0
"""What `configure` makes of parameters, files and bundles."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from rclpy.node import Node

from pwm_core.layout import ActionLayout
from pwm_export.bundle import Bundle
from pwm_policy import parameters
from pwm_policy.assembly import ContractError
from pwm_policy.following import Following
from pwm_policy.guard import ActionGuard
from pwm_policy.inputs import INPUTS, Inputs
from pwm_policy.joint_commands import CommandError
from pwm_policy.joint_names import JointNames, JointNamesError
from pwm_policy.limits import LimitsError, narrowed, require_rates
from pwm_policy.loop import LANDING_SECONDS
from pwm_policy.loop_statistics import LoopStatistics
from pwm_policy.outputs import Outputs
from pwm_policy.pose import Pose
from pwm_policy.registry import Acting, PolicyError, PolicyRegistry
from pwm_policy.trust import TrustList

REFUSALS = (PolicyError, LimitsError, JointNamesError, ContractError, CommandError)
"""Why a node cannot be configured."""


@dataclass(frozen=True)
class Configuration:
    """Policies that fit each other, and the ways to and from the robot that they drive."""

    registry: PolicyRegistry
    """The policies."""
    first: str
    """The one to start with."""
    guard: ActionGuard
    """Limits and rates of this robot."""
    pose: Pose
    """Where its joints are."""
    following: Following | None
    """Whether they go where they are sent; None: nobody looks."""
    inputs: Inputs
    """What is observed."""
    outputs: Outputs
    """Where commands go."""

    def destroy(self) -> None:
        """Leave the topics."""
        self.inputs.destroy()
        self.outputs.destroy()


def configure(
    node: Node,
    statistics: LoopStatistics,
    stopping: threading.Event,
    acted: Acting | None = None,
) -> Configuration:
    """Read the policies and connect to the robot as ``node``'s parameters say.

    ``stopping`` ends the wait for a controller. ``acted`` is the policy to start with, whatever the
    parameters say. One of :data:`REFUSALS` says why it cannot be.
    """
    registry, first = _policies(node, acted)
    bundle = registry.get(first)
    _require_patience(node, bundle)
    limited = _limited(node, bundle)
    joints = _joint_names(node, bundle)
    pose = Pose(joints.action(limited))
    following = _following(node, pose)
    outputs = Outputs(node, joints.action(bundle.action), bundle.control_step, stopping)
    source = node.get_parameter("observation_source").value
    try:
        inputs = INPUTS[source](node, bundle, joints, statistics, pose)
    except Exception:
        outputs.destroy()
        raise
    guard = ActionGuard(limited, bundle.control_step)
    _warn_of_long_ways(node, guard.longest_way * bundle.control_step)
    return Configuration(registry, first, guard, pose, following, inputs, outputs)


def _policies(node: Node, acted: Acting | None) -> tuple[PolicyRegistry, str]:
    trusted = node.get_parameter("trusted_bundles").value
    directory = node.get_parameter("policy_dir").value
    registry = PolicyRegistry(directory, TrustList(trusted) if trusted else None)
    registry.scan()
    registry.require_rate(float(node.get_parameter("rate").value))
    if acted is None:
        asked, task = node.get_parameter("policy").value, node.get_parameter("task").value
        first = registry.select(asked, task)
    else:
        first = registry.resume(acted)
    fallback = node.get_parameter("fallback_policy").value
    if fallback:
        registry.get(fallback)
    return registry, first


def _require_patience(node: Node, bundle: Bundle) -> None:
    timeout = float(node.get_parameter("stale_timeout").value)
    objection = parameters.short_timeout(timeout, bundle.control_step)
    if objection:
        raise PolicyError(objection)


def _limited(node: Node, bundle: Bundle) -> ActionLayout:
    """Return the action layout with the limits of this robot."""
    file = node.get_parameter("limits_file").value
    limited = narrowed(bundle.action, Path(file)) if file else bundle.action
    sensors = node.get_parameter("observation_source").value == "sensors"
    if sensors or node.get_parameter("command_interface").value != "action":
        require_rates(limited)
    return limited


def _joint_names(node: Node, bundle: Bundle) -> JointNames:
    prefix = node.get_parameter("joint_prefix").value
    file = node.get_parameter("joint_names_file").value
    return JointNames(bundle.observation, bundle.action, prefix, Path(file) if file else None)


def _following(node: Node, pose: Pose) -> Following | None:
    """Return who looks after the joints; in a dry run they follow nothing."""
    limit = float(node.get_parameter("max_following_error").value)
    if limit == 0.0 or node.get_parameter("dry_run").value:
        return None
    if not pose.joints:
        raise LimitsError(
            f"max_following_error is {limit:g}, but no command is a position with a rate, whose "
            "joint could be compared with it; expected 0"
        )
    return Following(pose, limit, float(node.get_parameter("following_error_time").value))


def _warn_of_long_ways(node: Node, seconds: float) -> None:
    if seconds > LANDING_SECONDS:
        node.get_logger().warning(
            f"from the far end of their limits positions need up to {seconds:.1f} s to the safe "
            "action at their rates; a node that stops leaves them where they are after "
            f"{LANDING_SECONDS:g} s"
        )
