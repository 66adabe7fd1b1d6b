# SPDX-License-Identifier: Apache-2.0
"""Online fine-tuning, said once for the launch file and for ``pwm finetune-online``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pwm_bringup.bringup import CLOCK, Launch, absolute
from pwm_bringup.nodes import AtEnd, NodeProcess, Value


@dataclass(frozen=True, kw_only=True)
class OnlineFinetuning(Launch):
    """The fine-tuning node, beside a policy node that runs already."""

    PARAMETER_FILE = "finetune.yaml"

    policy_dir: Path = Path("runs/demo/bundles")
    """The policy node's directory of bundles; candidates are put there."""
    task: str = "cartpole-swingup"
    """Task of the running policy."""
    policy: Path = Path("runs/demo/policies/cartpole-swingup/policy.safetensors")
    """The running policy's policy.safetensors; it is never written to."""
    world_model: Path = Path("runs/demo/world_model/world_model.safetensors")
    """The world model that it was extracted from."""
    offline: Path = Path("runs/demo/data")
    """Dataset that the world model was trained on."""
    directory: Path = Path("runs/online")
    """Run directory: episodes, rounds, verdicts, state; a node started again on it goes on."""
    bundle: str = ""
    """Name of the running policy's bundle; empty: the parameter file's, or the task's name."""
    observation_topic: str = ""
    """Observations as the policy uses them; policy_node/observation on a robot; empty: the
    parameter file's."""
    reward: str = ""
    """Where rewards come from: message, topic or MODULE:FUNCTION; empty: the parameter file's."""
    learner_cores: str = ""
    """Processor cores of the learner, say 1 or 2-3; empty: the parameter file's, or all."""
    finetune_options: str = ""
    """Further options of `pwm finetune`; empty: the parameter file's."""
    auto_approve: bool = True
    """Swap in candidates that passed the gate; else each waits for ~/approve."""
    autostart: bool = True
    """Begin at once; else on ~/start."""
    respawn: bool = True
    """Start the node again when it has died; it goes on where it was."""

    def own_nodes(self) -> list[NodeProcess]:
        """Return the fine-tuning node."""
        at_end = AtEnd.RESPAWN if self.respawn else AtEnd.STOP
        parameters = self._parameters()
        return [NodeProcess("pwm_finetune", "finetune_node", parameters, CLOCK, at_end)]

    def _parameters(self) -> dict[str, Value]:
        given: dict[str, Value] = {
            "task": self.task,
            "policy": absolute(self.policy),
            "world_model": absolute(self.world_model),
            "offline": absolute(self.offline),
            "directory": absolute(self.directory),
            "policy_dir": absolute(self.policy_dir),
            "use_sim_time": self.use_sim_time,
        }
        said: dict[str, Value] = {
            "bundle": self.bundle,
            "observation_topic": self.observation_topic,
            "reward": self.reward,
            "learner_cores": self.learner_cores,
            "finetune_options": self.finetune_options,
        }
        given |= {name: value for name, value in said.items() if value}
        withheld = {"auto_approve": self.auto_approve, "autostart": self.autostart}
        return given | {name: False for name, value in withheld.items() if not value}
