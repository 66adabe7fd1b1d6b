# SPDX-License-Identifier: Apache-2.0
"""Which nodes make a simulated robot, said once for the launch file and for ``pwm sim``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pwm_bringup.bringup import CLOCK, Bringup, absolute
from pwm_bringup.nodes import NodeProcess, Value
from pwm_core.tasks import get_task

BRIDGE = "mujoco_bridge"


@dataclass(frozen=True, kw_only=True)
class Simulation(Bringup):
    """MuJoCo bridge and policy node."""

    PARAMETER_FILE = "sim.yaml"

    policy_dir: Path = Path("runs/demo/bundles")
    """Directory of policy bundles NAME.onnx."""
    task: str = "cartpole-swingup"
    """Task to simulate (`pwm tasks` lists them)."""
    mode: Literal["lockstep", "realtime", "paused"] = "realtime"
    """lockstep: physics waits for the policy; realtime; paused."""
    interface: Literal["pwm", "ros2_control"] = "pwm"
    """pwm: the task's observation, with reward; ros2_control: sensors and joint commands only, as
    on a robot, and the policy node as `robot.launch.py` starts it."""
    model_file: Path | None = None
    """MJCF or URDF file to simulate without a task or reward, in place of the task."""
    headless: bool = True
    """Without MuJoCo's viewer window."""

    def robot_nodes(self) -> list[NodeProcess]:
        """Return the bridge and the policy node."""
        return [
            NodeProcess("pwm_mujoco", BRIDGE, self._bridge(), CLOCK),
            self.policy_node(self._policy()),
        ]

    def _bridge(self) -> dict[str, Value]:
        parameters: dict[str, Value] = {
            "task": self.task,
            "mode": self.mode,
            "interface": self.interface,
            "headless": self.headless,
            "use_sim_time": self.use_sim_time,
        }
        if self.model_file is not None:
            parameters["model_file"] = absolute(self.model_file)
        return parameters | self._order()

    def _policy(self) -> dict[str, Value]:
        if self.interface == "ros2_control":
            return {
                "observation_source": "sensors",
                "command_interface": "forward_command",
                "command_topic": f"{BRIDGE}/commands",
                # Only the bridge knows the joints of a mere model.
                **(self._order() or {"controller": BRIDGE}),
            }
        # In lockstep the simulation waits for the policy: the policy must not wait for a clock.
        return {"trigger": "observation" if self.mode == "lockstep" else "clock"}

    def _order(self) -> dict[str, Value]:
        """Return the order of the joints in a forward command, told to both nodes."""
        if self.interface == "pwm" or self.model_file is not None:
            return {}
        return {"joints": [channel.joint for channel in get_task(self.task).action.channels]}
