# SPDX-License-Identifier: Apache-2.0
"""``mujoco_bridge``: one MuJoCo world behind topics, in lockstep with a policy or in real time.

Stamps are simulated time. In real time the command newest at a simulator step's deadline acts for
that step, so a policy that answers within one simulator step acts without delay, as in training.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from pwm_interfaces.srv import ResetEpisode, StepSimulation
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import Float64
from std_srvs.srv import SetBool

from pwm_core.stop_signals import stop_requested
from pwm_diagnostics import diagnostic_message
from pwm_mujoco import parameters
from pwm_mujoco.bare_model import load_model
from pwm_mujoco.cameras import Cameras
from pwm_mujoco.interfaces import NamedCommand, RobotInterface, SimulatorInterface
from pwm_mujoco.joint_commands import CommandReader
from pwm_mujoco.messages import stamp
from pwm_mujoco.robot_topics import RobotTopics
from pwm_mujoco.stepping import Stepping
from pwm_mujoco.viewer import Viewer
from pwm_mujoco.world import CommandRefused, World


class MujocoBridge(Node):
    """Publishes what a world's sensors say and applies the commands that arrive."""

    def __init__(self) -> None:
        super().__init__("mujoco_bridge")
        parameters.declare(self)
        reason = parameters.refusal(self, [])
        if reason:
            raise ValueError(reason)
        headless = self.get_parameter("headless").value
        if headless:  # no window: keep dm_control from looking for a display
            os.environ.setdefault("MUJOCO_GL", "disabled")
        self.world = self._make_world()
        self._counts: Counter[str] = Counter()
        self._mode_before_pause = "realtime"
        self._next_clock = 0.0
        self._clock_period = 1.0 / float(self.get_parameter("clock_rate").value)
        self._interface = self._make_interface()
        self._stepping = Stepping(self.world, self, parameters.stepping(self))
        self._create_topics()
        self._windows: list[Viewer | Cameras] = []
        if not headless:
            self._windows.append(Viewer(self.world, self._stepping.changed, self._warn))
        cameras = parameters.cameras(self)
        if cameras.names:
            self._windows.append(Cameras(self, self.world, self._stepping.changed, cameras))

    def start(self) -> None:
        """Start the physics thread."""
        mode = self._stepping.settings.mode
        self.get_logger().info(f"simulating {self.world.task.name}, mode {mode}")
        self._stepping.start()
        for window in self._windows:
            window.start()

    @property
    def alive(self) -> bool:
        """Whether the physics thread runs; an exception that ended it has been printed."""
        return self._stepping.is_alive()

    def stop(self) -> None:
        """End the physics thread."""
        self._stepping.stop()
        for window in self._windows:
            window.stop()

    # Set-up

    def _make_world(self) -> World:
        task, file = (self.get_parameter(name).value for name in ("task", "model_file"))
        seed, disturbances = int(self.get_parameter("seed").value), parameters.disturbances(self)
        if not file:
            return World(task, seed, disturbances=disturbances)
        model = load_model(Path(file), float(self.get_parameter("control_step").value))
        return World(model.name, seed, lambda _: model, disturbances)

    def _make_interface(self) -> SimulatorInterface | RobotInterface:
        topics = RobotTopics(self, self.world.environment.model, parameters.topics(self))
        if self.get_parameter("interface").value == "pwm":
            return SimulatorInterface(self, self.world, topics, self._receive)
        action = self.world.task.action
        commands = CommandReader(action, parameters.declare_joints(self, action))
        return RobotInterface(self, self.world, topics, self._receive, commands)

    def _create_topics(self) -> None:
        reliable = QoSProfile(depth=10)
        self._clock_messages = self.create_publisher(ClockMessage, "clock", QoSProfile(depth=1))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", reliable)
        self._factors = self.create_publisher(Float64, "~/real_time_factor", reliable)
        self.create_service(ResetEpisode, "~/reset", self._on_reset)
        self.create_service(StepSimulation, "~/step", self._on_step)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(lambda _: self._read_parameters())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_health, clock=steady)

    def _check_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        reason = parameters.refusal(self, changed)
        try:
            self.world.check(parameters.disturbances(self, changed))
        except ValueError as error:
            reason = reason or str(error)
        return SetParametersResult(successful=not reason, reason=reason)

    def _read_parameters(self) -> None:
        with self._stepping.changed:
            disturbances = parameters.disturbances(self)
            if disturbances != self.world.disturbances:
                self.world.disturb(disturbances)
            self._stepping.configure(parameters.stepping(self))

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text)

    # Commands and services

    def _receive(self, sender: str, read: Callable[[], NamedCommand], step: int | None) -> None:
        with self._stepping.changed:
            exact = self._stepping.settings.mode == "lockstep"
            try:
                names, values = read()
                answered = self.world.step if step is None else step
                taken = self.world.offer(names, values, answered, exact)
            except CommandRefused as refused:
                self._counts["refused_actions"] += 1
                self.get_logger().warning(f"{sender} refused: {refused}", throttle_duration_sec=1.0)
                return
            self._counts["accepted_actions" if taken else "stale_actions"] += 1
            self._stepping.changed.notify_all()

    def _on_reset(
        self, request: ResetEpisode.Request, response: ResetEpisode.Response
    ) -> ResetEpisode.Response:
        try:
            # Outside the lock: making another task's environment takes time.
            self.world.prepare(request.task or self.world.task.name)
            with self._stepping.changed:
                seed = None if request.seed < 0 else request.seed
                self.world.reset(seed, request.task or None, request.keyframe or None)
                self.decided()
                self._stepping.changed.notify_all()
            response.success = True
        except ValueError as error:
            response.message = str(error)
        response.task = self.world.task.name
        response.episode = self.world.episode
        response.step = self.world.step
        return response

    def _on_step(
        self, request: StepSimulation.Request, response: StepSimulation.Response
    ) -> StepSimulation.Response:
        limit = self.world.task.episode_steps
        with self._stepping.changed:
            mode = self._stepping.settings.mode
            if mode != "paused":
                response.message = f"mode is {mode}: pause the simulation to step it by hand"
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
            self._stepping.decide()
        return self.world.fault or ""

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        mode = self._stepping.settings.mode
        if request.data and mode != "paused":
            self._mode_before_pause = mode
        wanted = "paused" if request.data else self._mode_before_pause
        if request.data or mode == "paused":
            self.set_parameters([Parameter("mode", Parameter.Type.STRING, wanted)])
        response.success, response.message = True, f"mode is {self._stepping.settings.mode}"
        return response

    # What the world does (Audience of the physics thread)

    def decided(self) -> None:
        self._interface.decided()
        self._publish_clock()

    def stepped(self) -> None:
        self._interface.stepped()
        self._publish_clock()

    def waiting(self) -> None:
        self._interface.waiting()

    def diverged(self) -> None:
        self.get_logger().error(f"{self.world.fault}; paused until ~/reset")
        self._publish_health()

    # Publishing

    def _publish_clock(self) -> None:
        now = time.monotonic()
        if now >= self._next_clock:
            self._next_clock = now + self._clock_period
            self._clock_messages.publish(ClockMessage(clock=stamp(self.world.time)))

    def _publish_health(self) -> None:
        factor = self._stepping.achieved_factor()
        self._factors.publish(Float64(data=factor))
        with self._stepping.changed:
            values, (level, text) = self._figures(factor), self._health()
        name = f"{self.get_fully_qualified_name()}: simulation"
        now = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostic_message(now, name, "mujoco", level, text, values))

    def _health(self) -> tuple[bytes, str]:
        if self.world.fault is not None:
            return DiagnosticStatus.ERROR, self.world.fault
        if self.world.withdrawn:
            timeout = self._stepping.settings.command_timeout
            return DiagnosticStatus.WARN, f"no command for {timeout:g} simulated s: safe action"
        return DiagnosticStatus.OK, "running"

    def _figures(self, factor: float) -> dict[str, object]:
        world, settings = self.world, self._stepping.settings
        values: dict[str, object] = {
            "mode": settings.mode,
            "task": world.task.name,
            "episode": world.episode,
            "step": world.step,
            "episode_return": f"{world.episode_return:.3f}",
            "episode_over": world.ended,
            "simulated_seconds": f"{world.time:.2f}",
            "real_time_factor": f"{factor:.4f}",
            "real_time_factor_target": settings.real_time_factor,
            "dropped_seconds": f"{self._stepping.pacer.dropped:.3f}",
        }
        for count in ("accepted_actions", "stale_actions", "refused_actions"):
            values[count] = self._counts[count]
        values["withdrawn_actions"] = world.withdrawals
        for setting in fields(world.acting):  # what this episode has drawn
            acting = getattr(world.acting, setting.name)
            if acting != setting.default:
                values[setting.name] = acting
        return values


def main() -> int:
    """Run the bridge until it is told to end."""
    # Our own handlers: rclpy's would end the context while the physics thread publishes.
    stopping = stop_requested()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        bridge = MujocoBridge()
    except (ValueError, ParameterException) as error:  # an unknown task, say
        print(f"mujoco_bridge: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 2
    bridge.start()
    executor = SingleThreadedExecutor()
    executor.add_node(bridge)
    while not stopping.is_set() and bridge.alive:
        executor.spin_once(timeout_sec=0.1)
    failed = not bridge.alive
    bridge.stop()
    executor.shutdown()
    bridge.destroy_node()
    rclpy.shutdown()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
