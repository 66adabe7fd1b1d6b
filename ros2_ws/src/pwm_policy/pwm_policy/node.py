# SPDX-License-Identifier: Apache-2.0
"""``policy_node``: a lifecycle node that runs one of several policy bundles on a robot.

The executor only fills slots; decisions are made by :class:`pwm_policy.loop.ControlLoop` on its own
thread. Whatever ends the loop, the last command published is the safe action.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import sys
import threading
import time
from collections.abc import Iterator

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor
from rclpy.experimental import EventsExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.service import Service
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from pwm_core.stop_signals import stop_requested
from pwm_policy import parameters
from pwm_policy.acting_file import ActingFile, Asked, Kept
from pwm_policy.beside import Beside
from pwm_policy.configuration import REFUSALS, Configuration, configure
from pwm_policy.emergency_stop import EmergencyStop
from pwm_policy.fallback import Fallback
from pwm_policy.health import Health
from pwm_policy.latch_file import LatchFile
from pwm_policy.loop import (
    LANDING_SECONDS,
    Audience,
    Command,
    ControlLoop,
    LoopSettings,
    Safeguards,
)
from pwm_policy.loop_statistics import LoopStatistics
from pwm_policy.registry import Acting, PolicyError
from pwm_policy.services import PolicyServices
from pwm_policy.slot import PolicySlot
from pwm_policy.status import Status
from pwm_policy.trial import TRIAL_PARAMETERS, Trial

SWITCH_SECONDS = 0.0005
"""How long another thread may compute before the control loop has its turn; Python's is 5 ms."""
DRIVING = {
    *("trigger", "stale_timeout"),
    *("exploration_noise", "exploration_seed", "exploration_timeout"),
}
"""Parameters that act on a running loop."""
LONG_LANDING = 1.0
"""A node says how long the way to the safe action is if it takes so many seconds."""
BY_HAND = (
    "to start as the parameters say configure by hand, or end this node (or delete {path}) and "
    "start it again"
)
"""What a node waits for that may not start by itself."""
LAST_WORD_SECONDS = 2.0
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
        self._emergency_stop = EmergencyStop()
        self._configuration: Configuration | None = None
        self._loop: ControlLoop | None = None
        self._failure = ""
        self._sequence = 0
        kept = (
            self.get_parameter("state_directory").value,
            self.context.get_domain_id(),
            self.get_fully_qualified_name(),
        )
        latch, self._acting_file = LatchFile.of(*kept), ActingFile.of(*kept)
        self._acted: Acting | None = None
        self._parameters_read = False
        """From the beginning of `configure` until that fails or is undone."""
        self._driving = threading.Lock()
        self._status = Status(self, self._slot, self._emergency_stop)
        self._transitions = Beside(self, "transitions")
        self._transitions.adopt(self._service_change_state)
        self._policies = PolicyServices(
            self,
            self._slot,
            self._emergency_stop,
            latch,
            self._acting_file,
            announce=self._status.say,
            stopped=self._wake_loop,
            after_tick=self._wait_for_tick,
        )
        self._watch = Fallback(self, self._slot, self._policies, self._status).watch
        self._trial = Trial(self, self._slot, self._policies)
        self._health = Health(self, self._emergency_stop, self._statistics, self._watch)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self.create_timer(1.0, self._every_second, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._tell_of(latch)

    @property
    def services(self) -> Iterator[Service]:
        """What the node's executor answers: all but transitions, which may take long."""
        yield from (s for s in super().services if s is not self._service_change_state)

    def start(self) -> None:
        """Make transitions from now on, the first ones at once if the node is to start itself."""
        self._transitions.start()
        if self.get_parameter("autostart").value:
            self._transitions.run(self._autostart)

    def end(self) -> Future:
        """Let the robot land and finalize the node; return what is done then."""
        return self._transitions.run(self._finalize)

    def close(self) -> None:
        """Answer no more; nothing else may serve the node when it is destroyed."""
        self._policies.close()
        self._transitions.close()

    def _tell_of(self, latch: LatchFile) -> None:
        """Say whether the emergency stop is latched from the start, or would not be kept."""
        latched, unkept = latch.found(), latch.prepare()
        if latched:
            self.get_logger().warning(f"emergency stop latched: {latched}")
        if unkept:
            self.get_logger().warning(
                f"an emergency stop, and which policy acts, would end with this node: {unkept}"
            )
        self._status.say(f"emergency stop latched: {latched}" if latched else "started")

    # Lifecycle, on the thread of the transitions

    def _autostart(self) -> None:
        """Start; with the policy that acted, if the node before this one died while one did."""
        try:
            kept = self._to_go_on_with()
        except PolicyError as error:
            self._refuse_to_start(f"{error}; {self._by_hand}")
            return
        self._acted = kept.acting if kept is not None else None
        configured = self.trigger_configure() == TransitionCallbackReturn.SUCCESS
        self._acted = None
        if not configured or self._stopping.is_set():
            return
        if kept is not None and kept.trial is not None:
            self._trial.resume(kept.trial)
        self.trigger_activate()

    def _to_go_on_with(self) -> Kept | None:
        """Return what acted when a node died that was told the same since the machine's start.

        What acted otherwise is forgotten. :class:`PolicyError` when its file does not say.
        """
        kept = self._acting_file.found()
        if kept is None:
            return None
        objection = kept.objection(self._asked())
        if not objection:
            return kept
        self.get_logger().warning(
            f"{kept.acting.policy} acted when the node before this one died, and does not go on: "
            f"{objection}; what starts is what the parameters say"
        )
        if unremoved := self._acting_file.remove():
            self.get_logger().warning(unremoved)
        return None

    def _asked(self) -> Asked:
        names = [field.name for field in dataclasses.fields(Asked)]
        return Asked(**{name: self.get_parameter(name).value for name in names})

    @property
    def _by_hand(self) -> str:
        return BY_HAND.format(path=self._acting_file.path)

    def _refuse_to_start(self, reason: str) -> None:
        self.get_logger().error(f"cannot configure: {reason}")
        self._status.say(f"cannot configure: {reason}")

    def _finalize(self) -> None:
        if self._status.state != "finalized":
            self.trigger_shutdown()

    def _deactivate_failed(self) -> None:
        if self._failure and self._status.state == "active":
            self.trigger_deactivate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read, check and warm up every bundle; fail with the reason if none can start."""
        self._parameters_read = True
        acted = self._acted
        try:
            configuration = configure(self, self._statistics, self._stopping, acted)
        except Exception as error:  # whatever it is, an operator must be told
            reason = str(error) if isinstance(error, REFUSALS) else _described(error)
            if acted is not None:
                reason += f"; {acted.policy} acted when the node before died: {self._by_hand}"
            self._parameters_read = False
            self._refuse_to_start(reason)
            return TransitionCallbackReturn.FAILURE
        if acted is None:
            self._policies.forget_acting()
        else:
            self.get_logger().warning(
                f"{acted.policy} acted when the node before this one died, and goes on"
            )
        registry = configuration.registry
        self._policies.begin(registry, configuration.first)
        self._configuration = configuration
        for reason in registry.refused.values():
            self.get_logger().warning(f"refused: {reason}")
        self.get_logger().info(f"commands go to {', '.join(configuration.outputs.topics)}")
        gc.collect()
        gc.freeze()  # a collection of everything loaded would cost a tick
        self._status.enter("inactive", f"configured with {', '.join(registry.names)}")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the control loop, if the policy is still trusted."""
        assert self._configuration is not None
        try:
            self._configuration.registry.require_trust(self._slot.acting.bundle)
        except PolicyError as error:
            self.get_logger().error(f"cannot activate: {error}")
            self._status.say(f"cannot activate: {error}")
            return TransitionCallbackReturn.FAILURE
        result = super().on_activate(state)
        self._failure = ""
        self._start_loop()
        self._policies.keep_acting(self._asked())
        self._status.enter("active", f"activated {self._slot.acting.name}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish the safe action, then nothing."""
        self._stop_loop("deactivating")
        self._status.enter("inactive", self._failure or "deactivated")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the policies."""
        self._forget()
        self._status.enter("unconfigured", "cleaned up")
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish the safe action if a policy is running, then nothing."""
        self._policies.forget_acting()
        self._stop_loop("shuttingdown")
        self._status.enter("finalized", "shut down")
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after an exception in a transition; to the end with its loop."""
        try:
            self._stop_loop("errorprocessing")
        except RuntimeError as error:
            self._status.enter("finalized", str(error))
            return TransitionCallbackReturn.FAILURE
        self._forget()
        self._status.enter("unconfigured", "a transition failed")
        return TransitionCallbackReturn.SUCCESS

    def _forget(self) -> None:
        self._policies.forget()
        if self._configuration is not None:
            self._configuration.destroy()
        self._configuration = None
        self._parameters_read = False

    # Control loop

    def _start_loop(self) -> None:
        assert self._configuration is not None
        self._statistics.clear()
        self._watch.restart()
        configuration = self._configuration
        self._loop = ControlLoop(
            self._loop_settings(),
            self._slot,
            configuration.inputs.open(),
            Safeguards(
                configuration.guard,
                configuration.pose,
                self._emergency_stop,
                configuration.following,
                self._watch,
            ),
            Audience(
                self._publish_command,
                self._on_first_action,
                self._on_loop_failure,
                self._policies.keep_stop,
            ),
            self._statistics,
            self._sequence,
        )
        self._drive(self._loop)  # what was set meanwhile counts
        self._loop.start()

    def _loop_settings(self) -> LoopSettings:
        lease = float(self.get_parameter("exploration_timeout").value)
        return LoopSettings(
            self.get_parameter("trigger").value,
            self._slot.acting.bundle.control_step,
            float(self.get_parameter("stale_timeout").value),
            float(self.get_parameter("exploration_noise").value),
            int(self.get_parameter("exploration_seed").value),
            time.monotonic() + lease if lease else math.inf,
        )

    def _drive(self, loop: ControlLoop) -> None:
        """Let ``loop`` be driven as the parameters say from now on."""
        with self._driving:
            loop.drive(self._loop_settings())

    def _stop_loop(self, state: str) -> None:
        """Let the robot land in ``state``; the node hears and answers meanwhile."""
        loop, configuration = self._loop, self._configuration
        if loop is None or configuration is None:
            return
        self._policies.forget_acting()  # whatever becomes of the landing, it was told to stop
        configuration.inputs.close()
        seconds = loop.landing_seconds
        if seconds > LONG_LANDING:
            self._status.enter(state, f"moving to the safe action takes {seconds:.1f} s")
        self._land(loop)
        configuration.outputs.wait_for_receivers(LAST_WORD_SECONDS)
        self._sequence = loop.sequence
        self._loop = None

    def _land(self, loop: ControlLoop) -> None:
        """End the loop; say what it leaves short of the safe action."""
        loop.stop()
        left = loop.short_of_safe
        if left:
            reason = loop.unmeasured or (
                f"{loop.landing_seconds:.1f} s more would be needed at their rates, and stopping "
                f"takes {LANDING_SECONDS:g} s at most"
            )
            self.get_logger().error(
                f"{', '.join(left)} left where they are, short of the safe action: {reason}"
            )

    def _wake_loop(self) -> None:
        loop = self._loop
        if loop is not None:
            loop.wake()

    def _wait_for_tick(self) -> None:
        loop = self._loop
        if loop is not None:
            loop.wait_for_tick()

    def _publish_command(self, command: Command) -> None:
        assert self._configuration is not None
        self._configuration.outputs.publish(command, self.get_clock().now().to_msg())

    def _on_first_action(self) -> None:
        latency = self._slot.swap_latency * 1e3
        self._status.say(f"{self._slot.acting.name} acts, {latency:.1f} ms after the request")

    def _on_loop_failure(self, error: Exception) -> None:
        self._failure = f"the control loop failed: {_described(error)}"
        self.get_logger().error(self._failure)

    # Parameters

    def _check_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        reason = parameters.refusal(changed)
        if not reason and self._parameters_read:
            active = self._slot.active
            present = {p.name: self.get_parameter_or(p.name).value for p in changed}
            differing = [p for p in changed if p.value != present[p.name]]
            if active is None:
                reason = parameters.refusal_while_configuring(differing)
            else:
                step = active.bundle.control_step
                reason = parameters.refusal_while_configured(differing, step)
        return SetParametersResult(successful=not reason, reason=reason)

    def _apply_parameters(self, changed: list[Parameter]) -> None:
        """Let a running loop be driven, and a trial go on, as the parameters say from now on."""
        names, loop = {parameter.name for parameter in changed}, self._loop
        if names & {*TRIAL_PARAMETERS.values()}:
            self._trial.renew()
        if loop is None or not names & DRIVING:
            return
        if "trigger" in names:
            self._statistics.clear()  # figures of two triggers say nothing together
        self._drive(loop)

    # Health

    def _every_second(self) -> None:
        if self._failure and self._status.state == "active":
            self._transitions.run(self._deactivate_failed)
        active = self._slot.active
        figures: dict[str, object] = {
            "policy": active.name if active else "",
            "refused_swaps": self._policies.counts["refused_swaps"],
            "swaps": self._policies.counts["swaps"],
        }
        self._health.publish(
            self._status.state, self._failure, self._configuration, self._loop, figures
        )


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
    node.start()
    while not stopping.is_set():
        _spin_once(node, executor)
    ended = node.end()
    while not ended.done():
        _spin_once(node, executor)
    executor.shutdown()
    node.close()
    node.destroy_node()
    rclpy.shutdown()
    gc.unfreeze()  # what was frozen would keep the middleware's shared memory behind
    return 0


def _spin_once(node: PolicyNode, executor: Executor) -> None:
    try:
        executor.spin_once(timeout_sec=0.1)
    except Exception as error:  # whatever it is, the robot must go on
        node.get_logger().error(_described(error))


if __name__ == "__main__":
    sys.exit(main())
