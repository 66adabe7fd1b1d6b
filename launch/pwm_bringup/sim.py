# SPDX-License-Identifier: Apache-2.0
"""``pwm sim``: a simulated robot and its policy, where there is no ``ros2`` command."""

from __future__ import annotations

from dataclasses import dataclass

from pwm_bringup.simulation import Simulation
from pwm_bringup.supervision import supervise


@dataclass(frozen=True, kw_only=True)
class Sim(Simulation):
    """Start simulator and policy node, as `ros2 launch pwm_bringup sim.launch.py` does."""

    def run(self) -> int:
        """Run until Ctrl-C; 1 if a node that is needed ended by itself."""
        return supervise(self, self._what_next())

    def _what_next(self) -> str:
        prefix = f"/{self.namespace.strip('/')}" if self.namespace else ""
        names = ", ".join(sorted(path.stem for path in self.policy_dir.glob("*.onnx")))
        return (
            f"\nPolicies: {names}. Ctrl-C ends both nodes. Where the `ros2` command is installed, "
            "in another terminal:\n"
            f"  ros2 topic echo {prefix}/policy_node/status\n"
            f"  ros2 service call {prefix}/policy_node/swap_policy pwm_interfaces/srv/SwapPolicy "
            '"{name: NAME}"\n'
            f"  ros2 service call {prefix}/mujoco_bridge/reset pwm_interfaces/srv/ResetEpisode "
            f'"{{seed: 1, task: {self.task}}}"\n'
            f"  ros2 param set {prefix}/mujoco_bridge real_time_factor 0.5\n"
        )
