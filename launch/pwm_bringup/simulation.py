# SPDX-License-Identifier: Apache-2.0
"""Which nodes make a simulated robot, said once for the launch file and for ``pwm sim``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pwm_bringup.bringup import CLOCK, Bringup
from pwm_bringup.nodes import NodeProcess, Value


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
    headless: bool = True
    """Without MuJoCo's viewer window."""

    def robot_nodes(self) -> list[NodeProcess]:
        """Return the bridge and the policy node."""
        bridge: dict[str, Value] = {
            "task": self.task,
            "mode": self.mode,
            "headless": self.headless,
            "use_sim_time": self.use_sim_time,
        }
        policy_node: dict[str, Value] = {
            # In lockstep the simulation waits for the policy: the policy must not wait for a clock.
            "trigger": "observation" if self.mode == "lockstep" else "clock",
        }
        return [
            NodeProcess("pwm_mujoco", "mujoco_bridge", bridge, CLOCK),
            self.policy_node(policy_node),
        ]
