# SPDX-License-Identifier: Apache-2.0
"""``mujoco_bridge``: one MuJoCo world behind topics, in lockstep with a policy or in real time.

Stamps are simulated time. In real time the command newest at a simulator step's deadline acts for
that step, so a policy that answers within one simulator step acts without delay, as in training.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from pwm_interfaces.msg import Action, Observation
from pwm_interfaces.srv import ResetEpisode, StepSimulation
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool

from pwm_mujoco import parameters
from pwm_mujoco.messages import (
    diagnostic_message,
    joint_state_message,
    observation_message,
    stamp,
)
from pwm_mujoco.pacing import Pacer, RealTimeFactor
from pwm_mujoco.viewer import Viewer
from pwm_mujoco.world import CommandRefused, World

REPEAT_SECONDS = 0.05
"""A waiting world repeats its observation this often, so that no lost message can hang it."""
# Offered reliable, so that a recorder may ask for every observation; a controller asks for
# best effort, depth 1, and is never held up by a retransmission.
STREAM = QoSProfile(depth=50)
COMMAND = QoSProfile(depth=10)


class MujocoBridge(Node):
    """Publishes a world's observations and applies the actions that answer them."""

    def __init__(self) -> None:
        super().__init__("mujoco_bridge")
        parameters.declare(self)
        self._require(self.get_parameter("mode"))
        headless = self.get_parameter("headless").value
        if headless:  # never renders: keep dm_control from looking for a display
            os.environ.setdefault("MUJOCO_GL", "disabled")
        self.world = World(
            self.get_parameter("task").value,
            int(self.get_parameter("seed").value),
            disturbances=parameters.disturbances(self),
        )
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._stopping = False
        self._counts: Counter[str] = Counter()
        self._mode_before_pause = "realtime"
        self._pacer, self._factor = Pacer(), RealTimeFactor()
        self._next_clock = 0.0
        self._read_parameters()
        self._create_interfaces()
        self._physics = threading.Thread(target=self._run_physics, name="physics", daemon=True)
        self._viewer = None
        if not headless:
            self._viewer = Viewer(self.world, self._lock, self._warn)

    def start(self) -> None:
        """Start the physics thread."""
        self.get_logger().info(f"simulating {self.world.task.name}, mode {self._mode}")
        self._factor.read(self.world.time)
        self._physics.start()
        if self._viewer:
            self._viewer.start()

    def stop(self) -> None:
        """End the physics thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._physics.join(timeout=5.0)
        if self._viewer:
            self._viewer.stop()

    # Interfaces

    def _create_interfaces(self) -> None:
        self._observations = self.create_publisher(Observation, "observation", STREAM)
        self._joint_states = self.create_publisher(JointState, "joint_states", STREAM)
        self._clock_messages = self.create_publisher(ClockMessage, "clock", QoSProfile(depth=1))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", COMMAND)
        self.create_subscription(Action, "action", self._on_action, COMMAND)
        self.create_service(ResetEpisode, "~/reset", self._on_reset)
        self.create_service(StepSimulation, "~/step", self._on_step)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(lambda _: self._read_parameters())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)

    def _require(self, *given: Parameter) -> None:
        reason = parameters.refusal(list(given))
        if reason:
            raise ValueError(reason)

    def _check_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        reason = parameters.refusal(changed)
        try:
            self.world.check(parameters.disturbances(self, changed))
        except ValueError as error:
            reason = reason or str(error)
        return SetParametersResult(successful=not reason, reason=reason)

    def _read_parameters(self) -> None:
        with self._changed:
            self._mode: str = self.get_parameter("mode").value
            self._target_factor = float(self.get_parameter("real_time_factor").value)
            self._auto_reset = bool(self.get_parameter("auto_reset").value)
            self._time_limit = bool(self.get_parameter("time_limit").value)
            self._clock_period = 1.0 / float(self.get_parameter("clock_rate").value)
            disturbances = parameters.disturbances(self)
            if disturbances != self.world.disturbances:
                self.world.disturb(disturbances)
            self._pacer.restart()
            self._changed.notify_all()

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text)

    def _on_action(self, message: Action) -> None:
        with self._changed:
            try:
                taken = self.world.offer(
                    message.names,
                    message.values,
                    message.observation_step,
                    exact=self._mode == "lockstep",
                )
            except CommandRefused as refused:
                self._counts["refused_actions"] += 1
                self.get_logger().warning(
                    f"action of {message.policy!r} refused: {refused}", throttle_duration_sec=1.0
                )
                return
            self._counts["accepted_actions" if taken else "stale_actions"] += 1
            self._changed.notify_all()

    def _on_reset(
        self, request: ResetEpisode.Request, response: ResetEpisode.Response
    ) -> ResetEpisode.Response:
        try:
            # Outside the lock: making another task's environment takes time.
            self.world.prepare(request.task or self.world.task.name)
        except ValueError as error:
            response.message = str(error)
            return self._reset_response(response)
        with self._changed:
            self.world.reset(None if request.seed < 0 else request.seed, request.task or None)
            self._publish_state()
            response.success = True
            self._changed.notify_all()
            return self._reset_response(response)

    def _reset_response(self, response: ResetEpisode.Response) -> ResetEpisode.Response:
        response.task = self.world.task.name
        response.episode = self.world.episode
        response.step = self.world.step
        return response

    def _on_step(
        self, request: StepSimulation.Request, response: StepSimulation.Response
    ) -> StepSimulation.Response:
        limit = self.world.task.episode_steps
        with self._changed:
            if self._mode != "paused":
                response.message = f"mode is {self._mode}: pause the simulation to step it by hand"
            elif not 1 <= request.steps <= limit:
                response.message = f"steps is {request.steps}, expected 1 to {limit}"
            else:
                response.message = self._step_by_hand(request.steps)
                response.success = not response.message
            response.step = self.world.step
        return response

    def _step_by_hand(self, steps: int) -> str:
        """Advance, publishing every observation; return why it stopped early, or nothing."""
        for done in range(steps):
            if self.world.halted:
                return f"stopped after {done} steps: " + (self.world.fault or "the episode is over")
            self.world.decide(self._time_limit)
            self._publish_state()
        return self.world.fault or ""

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data and self._mode != "paused":
            self._mode_before_pause = self._mode
        mode = "paused" if request.data else self._mode_before_pause
        if request.data or self._mode == "paused":
            self.set_parameters([Parameter("mode", Parameter.Type.STRING, mode)])
        response.success, response.message = True, f"mode is {self._mode}"
        return response

    # Physics

    def _run_physics(self) -> None:
        turns = {"lockstep": self._lockstep_turn, "realtime": self._realtime_turn}
        with self._changed:
            self._publish_state()
            while not self._stopping:
                if self.world.fault is not None:
                    self._wait()
                elif self.world.ended and self._auto_reset and self._end_is_answered():
                    self.world.reset()
                    self._publish_state()
                elif self._mode == "paused" or (self.world.ended and self._mode == "realtime"):
                    self._wait()
                else:
                    turns[self._mode]()

    def _end_is_answered(self) -> bool:
        """In lockstep the end of an episode stays until the policy has seen it."""
        return self._mode == "realtime" or (self._mode == "lockstep" and self.world.answered)

    def _wait(self) -> None:
        """Wait for a change; repeat the observation, for those who joined late or missed it."""
        self._pacer.idle()
        if not self._changed.wait(REPEAT_SECONDS):
            self._publish_observation()

    def _lockstep_turn(self) -> None:
        if not self.world.answered or self.world.ended:
            self._wait()
            return
        self.world.decide(self._time_limit)
        self._publish_state()

    def _realtime_turn(self) -> None:
        factor = self._target_factor
        delay = self._pacer.delay(
            self.world.substep_seconds / factor, self.world.task.control_step / factor
        )
        self._changed.release()
        try:
            time.sleep(delay)
        finally:
            self._changed.acquire()
        if self._mode != "realtime" or self.world.halted:
            return  # changed while asleep
        if self.world.substep(self._time_limit) or self.world.fault:
            self._publish_state()

    # Publishing

    def _publish_state(self) -> None:
        """Publish the state at the end of a decision; after a divergence only its diagnostic."""
        if self.world.fault is not None:
            self.get_logger().error(f"{self.world.fault}; paused until ~/reset")
            self._publish_diagnostics()
            return
        self._publish_observation()
        self._joint_states.publish(joint_state_message(self.world))
        now = time.monotonic()
        if now >= self._next_clock:
            self._next_clock = now + self._clock_period
            self._clock_messages.publish(ClockMessage(clock=stamp(self.world.time)))

    def _publish_observation(self) -> None:
        if self.world.fault is None:
            self._observations.publish(observation_message(self.world))

    def _publish_diagnostics(self) -> None:
        with self._lock:
            world = self.world
            values = {
                "mode": self._mode,
                "task": world.task.name,
                "episode": world.episode,
                "step": world.step,
                "episode_return": f"{world.episode_return:.3f}",
                "simulated_seconds": f"{world.time:.2f}",
                "real_time_factor": f"{self._factor.read(world.time):.4f}",
                "real_time_factor_target": self._target_factor,
                "dropped_seconds": f"{self._pacer.dropped:.3f}",
            }
            for count in ("accepted_actions", "stale_actions", "refused_actions"):
                values[count] = self._counts[count]
            fault = world.fault
        level = DiagnosticStatus.ERROR if fault else DiagnosticStatus.OK
        name = f"{self.get_fully_qualified_name()}: simulation"
        now = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostic_message(now, name, level, fault or "running", values))


def main() -> int:
    """Run the bridge until SIGINT or SIGTERM."""
    stopping = threading.Event()
    # Our own handlers: rclpy's would end the context while the physics thread publishes.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        bridge = MujocoBridge()
    except ValueError as error:  # a parameter that does not fit, an unknown task
        print(f"mujoco_bridge: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 2
    bridge.start()
    executor = SingleThreadedExecutor()
    executor.add_node(bridge)
    while not stopping.is_set():
        executor.spin_once(timeout_sec=0.1)
    bridge.stop()
    executor.shutdown()
    bridge.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
