# SPDX-License-Identifier: Apache-2.0
"""``pwm robot``: a policy on a robot, where there is no ``ros2`` command."""

from __future__ import annotations

from dataclasses import dataclass

from pwm_bringup.real_robot import RealRobot
from pwm_bringup.supervision import supervise


@dataclass(frozen=True, kw_only=True)
class Robot(RealRobot):
    """Start the policy node on a robot, as `ros2 launch pwm_bringup robot.launch.py` does."""

    def run(self) -> int:
        """Run until Ctrl-C; 1 if a node that is needed ended by itself."""
        return supervise(self, self._what_next())

    def _what_next(self) -> str:
        node = f"/{self.namespace.strip('/')}/policy_node".replace("//", "/")
        names = ", ".join(sorted(path.stem for path in self.policy_dir.glob("*.onnx")))
        moves = "Dry run: commands go below shadow/ only. " if self.dry_run else ""
        return (
            f"\nPolicies: {names}. {moves}Ctrl-C publishes the safe action and ends. Where the "
            "`ros2` command is installed, in another terminal:\n"
            f"  ros2 topic echo {node}/status\n"
            f'  ros2 service call {node}/emergency_stop std_srvs/srv/SetBool "{{data: true}}"\n'
            f"  ros2 lifecycle set {node} deactivate\n"
        )
