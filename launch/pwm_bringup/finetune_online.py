# SPDX-License-Identifier: Apache-2.0
"""``pwm finetune-online``: adapt a running policy to its robot, where there is no ``ros2``."""

from __future__ import annotations

from dataclasses import dataclass

from pwm_bringup.finetuning import OnlineFinetuning
from pwm_bringup.supervision import supervise


@dataclass(frozen=True, kw_only=True)
class FinetuneOnline(OnlineFinetuning):
    """Start the fine-tuning node, as `ros2 launch pwm_bringup finetune.launch.py` does."""

    def run(self) -> int:
        """Run until Ctrl-C; 1 if the node ended by itself."""
        return supervise(self, self._what_next())

    def _what_next(self) -> str:
        node = f"/{self.namespace.strip('/')}/finetune_node".replace("//", "/")
        return (
            f"\nEpisodes, rounds and verdicts go to {self.directory}. Ctrl-C ends this node and "
            "its learner; the policy acts on. Where the `ros2` command is installed:\n"
            f"  ros2 topic echo {node}/state\n"
            f"  ros2 topic echo {node}/verdict\n"
            f"  ros2 service call {node}/rollback std_srvs/srv/Trigger\n"
        )
