# SPDX-License-Identifier: Apache-2.0
"""``policy_node``: a lifecycle node that runs one of several policy bundles on a robot.

The executor only fills slots; decisions are made by :class:`pwm_policy.loop.ControlLoop` on its own
thread. Whatever ends the loop, the last command published is the safe action.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from pwm_interfaces.msg import PolicyStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor
from rclpy.experimental import EventsExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Float64

from pwm_core.stop_signals import stop_requested
from pwm_export.bundle import Bundle
from pwm_policy import parameters
from pwm_policy.assembly import ContractError
from pwm_policy.guard import ActionGuard
from pwm_policy.inputs import INPUTS, Inputs
from pwm_policy.joint_commands import CommandError
from pwm_policy.joint_names import JointNames, JointNamesError
from pwm_policy.latch_file import LatchFile
from pwm_policy.limits import LimitsError, narrowed, require_rates
from pwm_policy.loop import LANDING_SECONDS, Command, ControlLoop, LoopSettings
from pwm_policy.loop_statistics import LoopStatistics
from pwm_policy.messages import diagnostic_message
from pwm_policy.monitor import NoveltyWatch
from pwm_policy.outputs import Outputs
from pwm_policy.pose import Pose
from pwm_policy.registry import PolicyError, PolicyRegistry
from pwm_policy.services import PolicyServices
from pwm_policy.slot import PolicySlot
from pwm_policy.trust import TrustList

RELIABLE = QoSProfile(depth=10)
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
REFUSALS = (PolicyError, LimitsError, JointNamesError, ContractError, CommandError)
"""Why a node cannot be configured."""
UNPREDICTED = "the robot does not move as the policy's world model predicts"
HELD = "safe action until another policy is swapped in"
SWITCH_SECONDS = 0.0005
"""How long another thread may compute before the control loop has its turn; Python's is 5 ms."""
STALE_SHARE = 0.05
"""An operator hears when a larger part of the decisions held an older one for want of input."""
LAST_WORD_SECONDS = 0.5
"""How long a node that stops waits for the receivers to have its safe action."""


class PolicyNode(LifecycleNode):
    """Runs a policy at its rate, and swaps it while it runs."""

    def __init__(self, stopping: threading.Event) -> None:
        """``stopping`` is set when the process is to end: nothing is waited for any more."""
        super().__init__("policy_node")
        self._stopping = stopping
        parameters.declare(self)
        reason = parameters.refusal([self.get_parameter(n) for n in parameters.CHOICES])
        if reason:
            raise ValueError(reason)
        self._slot, self._statistics = PolicySlot(), LoopStatistics()
        latch = LatchFile.of(
            self.get_parameter("latch_directory").value,
            self.context.get_domain_id(),
            self.get_fully_qualified_name(),
        )
        self._policies = PolicyServices(
            self, self._slot, self._publish_status, self._on_emergency_stop, latch
        )
        self._watch = NoveltyWatch(self._slot, self._publish_novelty, self._on_novelty)
        self._inputs: Inputs | None = None
        self._outputs: Outputs | None = None
        self._loop: ControlLoop | None = None
        self._state_name = "unconfigured"
        self._failure = ""
        self._counted: Counter[str] = Counter()
        self._sequence = 0
        self._create_interfaces()
        self._tell_of(latch)

    @property
    def running(self) -> bool:
        """Whether the node has not been finalized yet."""
        return self._state_name != "finalized"

    def _create_interfaces(self) -> None:
        self._status = self.create_publisher(PolicyStatus, "~/status", LATCHED)
        self._novelty = self.create_publisher(Float64, "~/novelty", RELIABLE)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self.create_timer(1.0, self._every_second, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _tell_of(self, latch: LatchFile) -> None:
        """Say whether the emergency stop is latched from the start, or would not be kept."""
        latched, unkept = latch.found(), latch.prepare()
        if latched:
            self.get_logger().warning(f"emergency stop latched: {latched}")
        if unkept:
            self.get_logger().warning(f"an emergency stop would end with this node: {unkept}")
        self._publish_status(f"emergency stop latched: {latched}" if latched else "started")

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read, check and warm up every bundle; fail with the reason if none can start."""
        try:
            registry = self._prepare()
        except Exception as error:  # whatever it is, an operator must be told
            self._forget()
            foreseen = isinstance(error, REFUSALS)
            reason = f"cannot configure: {error if foreseen else _described(error)}"
            self.get_logger().error(reason)
            self._publish_status(reason)
            return TransitionCallbackReturn.FAILURE
        for reason in registry.refused.values():
            self.get_logger().warning(f"refused: {reason}")
        if self._outputs is not None:
            self.get_logger().info(f"commands go to {', '.join(self._outputs.topics)}")
        gc.collect()
        gc.freeze()  # a collection of everything loaded would cost a tick
        self._enter("inactive", f"configured with {', '.join(registry.names)}")
        return TransitionCallbackReturn.SUCCESS

    def _prepare(self) -> PolicyRegistry:
        """Read the policies and connect to the robot; one of :data:`REFUSALS` says why not."""
        trusted = self.get_parameter("trusted_bundles").value
        registry = PolicyRegistry(
            self.get_parameter("policy_dir").value, TrustList(trusted) if trusted else None
        )
        registry.scan()
        registry.require_rate(float(self.get_parameter("rate").value))
        name = registry.select(self.get_parameter("policy").value, self.get_parameter("task").value)
        bundle = registry.get(name)
        fallback = self.get_parameter("fallback_policy").value
        if fallback:
            registry.get(fallback)
        limits_file = self.get_parameter("limits_file").value
        limited = narrowed(bundle.action, Path(limits_file)) if limits_file else bundle.action
        timeout = float(self.get_parameter("stale_timeout").value)
        objection = parameters.short_timeout(timeout, bundle.control_step)
        if objection:
            raise PolicyError(objection)
        self._action_guard = ActionGuard(limited, bundle.control_step)
        longest = self._action_guard.longest_way * bundle.control_step
        if longest > LANDING_SECONDS:
            self.get_logger().warning(
                f"from the far end of their limits positions need up to {longest:.1f} s to the "
                f"safe action at their rates; a node that stops leaves them where they are after "
                f"{LANDING_SECONDS:g} s"
            )
        joints = self._joint_names(bundle)
        source = self.get_parameter("observation_source").value
        if source == "sensors" or self.get_parameter("command_interface").value != "action":
            require_rates(limited)
        self._pose = Pose(joints.action(limited))
        self._slot.start(name, bundle)
        action = joints.action(bundle.action)
        self._outputs = Outputs(self, action, bundle.control_step, self._stopping)
        self._inputs = INPUTS[source](self, bundle, joints, self._statistics, self._pose)
        self._policies.registry = registry
        return registry

    def _joint_names(self, bundle: Bundle) -> JointNames:
        prefix = self.get_parameter("joint_prefix").value
        file = self.get_parameter("joint_names_file").value
        return JointNames(bundle.observation, bundle.action, prefix, Path(file) if file else None)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the control loop."""
        result = super().on_activate(state)
        self._failure = ""
        self._start_loop()
        self._enter("active", f"activated {self._slot.acting.name}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish the safe action, then nothing."""
        self._stop_loop()
        self._enter("inactive", self._failure or "deactivated")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the policies."""
        self._forget()
        self._enter("unconfigured", "cleaned up")
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish the safe action if a policy is running, then nothing."""
        self._stop_loop()
        self._enter("finalized", "shut down")
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after an exception in a transition; to the end with its loop."""
        try:
            self._stop_loop()
        except RuntimeError as error:
            self._enter("finalized", str(error))
            return TransitionCallbackReturn.FAILURE
        self._forget()
        self._enter("unconfigured", "a transition failed")
        return TransitionCallbackReturn.SUCCESS

    def _forget(self) -> None:
        self._policies.registry = None
        self._slot.clear()
        for connection in (self._inputs, self._outputs):
            if connection is not None:
                connection.destroy()
        self._inputs = self._outputs = None

    def _start_loop(self) -> None:
        assert self._inputs is not None
        self._statistics.clear()
        self._watch.restart()
        self._loop = ControlLoop(
            self._loop_settings(),
            self._slot,
            self._action_guard,
            self._pose,
            self._statistics,
            self._inputs.open(),
            self._publish_action,
            self._on_first_action,
            self._on_loop_failure,
            self._policies.emergency_stop,
            self._sequence,
            self._watch,
        )
        self._loop.start()

    def _loop_settings(self) -> LoopSettings:
        return LoopSettings(
            self.get_parameter("trigger").value,
            self._slot.acting.bundle.control_step,
            float(self.get_parameter("stale_timeout").value),
        )

    def _stop_loop(self) -> None:
        if self._loop is not None and self._inputs is not None and self._outputs is not None:
            self._inputs.close()
            self._land()
            self._outputs.wait_for_receivers(LAST_WORD_SECONDS)
            self._sequence = self._loop.sequence
            self._loop = None

    def _land(self) -> None:
        """End the loop; say how long it takes, and what it leaves short of the safe action."""
        assert self._loop is not None
        seconds = self._loop.landing_seconds
        if seconds > 1.0:
            self.get_logger().info(f"moving to the safe action takes {seconds:.1f} s")
        self._loop.stop()
        left = self._loop.short_of_safe
        if left:
            self.get_logger().error(
                f"{', '.join(left)} left where they are, short of the safe action: "
                f"{self._loop.landing_seconds:.1f} s more would be needed at their rates, and "
                f"stopping takes {LANDING_SECONDS:g} s at most"
            )

    def _enter(self, state: str, reason: str) -> None:
        self._state_name = state
        self.get_logger().info(reason)
        self._publish_status(reason)

    # Control loop

    def _publish_action(self, command: Command) -> None:
        if self._outputs is not None:
            self._outputs.publish(command, self.get_clock().now().to_msg())

    def _on_first_action(self) -> None:
        latency = self._slot.swap_latency * 1e3
        self._publish_status(f"{self._slot.acting.name} acts, {latency:.1f} ms after the request")

    def _publish_novelty(self, novelty: float) -> None:
        self._novelty.publish(Float64(data=novelty))

    def _on_novelty(self, novelty: float) -> None:
        reason = f"{self._slot.acting.name}: novelty {novelty:.1f}: {UNPREDICTED}"
        if self.get_parameter("on_novelty").value == "fallback":
            reason += f"; {self._fall_back()}"
        self.get_logger().warning(reason)
        self._publish_status(reason)

    def _fall_back(self) -> str:
        """Leave control to the fallback policy or to the safe action; say which."""
        name = self.get_parameter("fallback_policy").value
        if name not in ("", self._slot.acting.name):
            try:
                self._policies.swap(name, 0.0, time.monotonic())
            except PolicyError as error:
                self.get_logger().error(f"no fallback: {error}")
            else:
                return f"{name} takes over"
        self._watch.hold()
        return HELD

    def _on_emergency_stop(self) -> None:
        if self._loop is not None:
            self._loop.wake()

    def _on_loop_failure(self, error: Exception) -> None:
        self._failure = f"the control loop failed: {_described(error)}"
        self.get_logger().error(self._failure)

    # Parameters

    def _check_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        reason = parameters.refusal(changed)
        if not reason and self._slot.active is not None:  # configured
            present = {p.name: self.get_parameter_or(p.name).value for p in changed}
            differing = [p for p in changed if p.value != present[p.name]]
            control_step = self._slot.active.bundle.control_step
            reason = parameters.refusal_while_configured(differing, control_step)
        return SetParametersResult(successful=not reason, reason=reason)

    def _apply_parameters(self, changed: list[Parameter]) -> None:
        """Let a running loop be driven as the parameters say from now on."""
        names = {parameter.name for parameter in changed}
        if self._loop is None or not names & {"trigger", "stale_timeout"}:
            return
        if "trigger" in names:
            self._statistics.clear()  # figures of two triggers say nothing together
        self._loop.drive(self._loop_settings())

    # Status

    def _publish_status(self, reason: str) -> None:
        active, previous = self._slot.active, self._slot.previous
        message = PolicyStatus(
            policy=active.name if active else "",
            task=active.bundle.task if active else "",
            state=self._state_name,
            policy_epoch=active.epoch if active else 0,
            previous=previous.name if previous else "",
            emergency_stop=self._policies.emergency_stop.latched,
            swap_latency=self._slot.swap_latency,
            reason=reason,
        )
        message.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)

    def _every_second(self) -> None:
        if self._failure and self._state_name == "active":
            self.trigger_deactivate()
        values: dict[str, object] = {
            "state": self._state_name,
            "policy": self._slot.active.name if self._slot.active else "",
            "trigger": self.get_parameter("trigger").value,
            "commands_to": ", ".join(self._outputs.topics) if self._outputs else "",
            "refused_swaps": self._policies.counts["refused_swaps"],
            "swaps": self._policies.counts["swaps"],
            "novelty": self._watch.peak if self._watch.monitored else "no monitor",
            "novelty_alarms": self._watch.alarms,
            **self._statistics.snapshot(),
        }
        counts = Counter(self._statistics.counts)
        level, text = self._health(counts - self._counted)
        self._counted = counts
        name = f"{self.get_fully_qualified_name()}: control loop"
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostic_message(stamp, name, level, text, values))
        self._watch.look_again()

    def _health(self, recent: Counter[str]) -> tuple[bytes, str]:
        """Return level and words; ``recent`` counts are those since the last time."""
        if self._failure:
            return DiagnosticStatus.ERROR, self._failure
        if self._policies.emergency_stop.latched:
            return DiagnosticStatus.WARN, "emergency stop latched"
        if self._loop is None:
            return DiagnosticStatus.OK, self._state_name
        sample = self._loop.inbox.newest
        oldest = time.monotonic() - float(self.get_parameter("stale_timeout").value)
        unknown = [] if self._loop.placed else self._pose.unknown(oldest)
        if unknown:
            joints = ", ".join(unknown)
            return DiagnosticStatus.WARN, f"silent until joint_states say where these are: {joints}"
        if sample is None or sample.arrived < oldest:
            lack = self._inputs.lack() if self._inputs is not None else "observation"
            answer = "safe action" if self._loop.sequence > self._sequence else "silent"
            return DiagnosticStatus.WARN, f"no fresh observation ({lack}): {answer}"
        if self._watch.holds:
            return DiagnosticStatus.WARN, f"novelty: {HELD}"
        if self._watch.peak > 1:
            return DiagnosticStatus.WARN, f"novelty {self._watch.peak:.1f}: {UNPREDICTED}"
        if self._loop.out_of_range:
            entries = ", ".join(self._loop.out_of_range)
            return DiagnosticStatus.WARN, f"outside of what the policy was trained on: {entries}"
        behind = self._behind(recent)
        if behind:
            return DiagnosticStatus.WARN, behind
        return DiagnosticStatus.OK, "running"

    def _behind(self, recent: Counter[str]) -> str:
        """Return what did not come in time in the last second; empty if all did."""
        remarks = []
        if recent["missed_ticks"] > 0:
            remarks.append(f"{recent['missed_ticks']} ticks missed in the last second")
        stale = recent["stale_inputs"] / max(1, recent["ticks"])
        if stale > STALE_SHARE:
            lack = self._inputs.lack() if self._inputs is not None else "observation"
            held = f"{stale:.0%} of the decisions in the last second held an older one"
            remarks.append(f"{held}, for input comes too rarely ({lack})")
        return "; ".join(remarks)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def main() -> int:
    """Run the node until it is told to end."""
    sys.setswitchinterval(SWITCH_SECONDS)
    # Our own handlers: rclpy's would end the context before the safe action is published.
    stopping = stop_requested()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = PolicyNode(stopping)
    except (ValueError, ParameterException) as error:  # a parameter that does not fit
        print(f"policy_node: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 2
    executor = EventsExecutor()  # half the CPU time per observation of the single-threaded one
    executor.add_node(node)
    _autostart(node)
    while not stopping.is_set():
        _spin_once(node, executor)
    if node.running:
        node.trigger_shutdown()
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    gc.unfreeze()  # what was frozen would keep the middleware's shared memory behind
    return 0


def _autostart(node: PolicyNode) -> None:
    if not node.get_parameter("autostart").value:
        return
    if node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
        node.trigger_activate()


def _spin_once(node: PolicyNode, executor: Executor) -> None:
    try:
        executor.spin_once(timeout_sec=0.1)
    except Exception as error:
        # Jazzy's rclpy raises out of an invalid lifecycle transition; the robot must go on.
        node.get_logger().error(_described(error))


if __name__ == "__main__":
    sys.exit(main())
