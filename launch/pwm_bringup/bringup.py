# SPDX-License-Identifier: Apache-2.0
"""What launch files have in common, and what a robot and a simulated robot have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pwm_bringup.nodes import AtEnd, NodeProcess, Value

CLOCK = (("clock", "/clock"),)
"""``use_sim_time`` listens to /clock, whatever the namespace."""
ENCLAVES = "/pwm"
"""Every node has an enclave of its name below this one (docs/security.md)."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Arguments of every launch file, and of its twin below `pwm`.

    An argument that is empty leaves a parameter to the parameter file.
    """

    PARAMETER_FILE = ""
    """Name of the file in config/ that ``params_file`` stands for when it is empty."""

    policy_dir: Path
    """Directory of policy bundles NAME.onnx."""
    namespace: str = ""
    """Namespace of the nodes and their topics."""
    params_file: Path | None = None
    """Parameter file for the nodes; empty: the one in pwm_bringup's config folder."""
    use_sim_time: bool = False
    """Take time from /clock."""
    security: bool = False
    """Encrypt, and let each node do only what its SROS2 enclave permits (docs/security.md)."""
    keystore: Path = Path("keystore")
    """SROS2 keystore with the enclaves, for security."""
    log_level: Literal["debug", "info", "warn", "error", "fatal"] = "info"
    """Least severe log messages to show."""

    def nodes(self) -> list[NodeProcess]:
        """Return the nodes to start; paths are the caller's, wherever the nodes run."""
        nodes = self.own_nodes()
        return [self._secured(node) for node in nodes] if self.security else nodes

    def own_nodes(self) -> list[NodeProcess]:
        """Return what is started, before anything is said of security."""
        raise NotImplementedError

    def _secured(self, node: NodeProcess) -> NodeProcess:
        variables = {
            "ROS_SECURITY_ENABLE": "true",
            "ROS_SECURITY_STRATEGY": "Enforce",
            "ROS_SECURITY_KEYSTORE": absolute(self.keystore),
        }
        return replace(node, enclave=f"{ENCLAVES}/{node.executable}", variables=variables)


@dataclass(frozen=True, kw_only=True)
class Bringup(Launch):
    """Arguments of a robot and of a simulated one."""

    policy: str = ""
    """Policy to start with; empty: the one called like the task, else the only one for it."""
    task: str = ""
    """Task to start for when no policy is named; empty: any, with only one policy."""
    autostart: bool = True
    """Configure and activate the policy node; else an operator does (`ros2 lifecycle set`)."""
    respawn: bool = True
    """Start the policy node again when it has died; whether it then acts says autostart."""
    trusted_bundles: Path | None = None
    """File of sha256sum lines: a bundle that is not listed is refused; empty: all are trusted."""
    record: bool = False
    """Record a bag (MCAP) of what goes in and out of the policy node."""
    record_dir: Path = Path("recordings")
    """Directory that recordings go to."""

    def own_nodes(self) -> list[NodeProcess]:
        return [*self.robot_nodes(), *([self._recorder()] if self.record else [])]

    def robot_nodes(self) -> list[NodeProcess]:
        """Return what makes the robot, without the recorder."""
        raise NotImplementedError

    def policy_node(
        self, parameters: Mapping[str, Value], remappings: tuple[tuple[str, str], ...] = ()
    ) -> NodeProcess:
        """Return the policy node; ``parameters`` are those that only one kind of robot sets."""
        common: dict[str, Value] = {
            "policy_dir": absolute(self.policy_dir),
            "policy": self.policy,
            "task": self.task,
            "use_sim_time": self.use_sim_time,
        }
        if not self.autostart:  # a parameter file may say so too
            common["autostart"] = False
        if self.trusted_bundles is not None:
            common["trusted_bundles"] = absolute(self.trusted_bundles)
        return NodeProcess(
            "pwm_policy",
            "policy_node",
            {**common, **parameters},
            (*CLOCK, *remappings),
            AtEnd.RESPAWN if self.respawn else AtEnd.STOP,
        )

    def _recorder(self) -> NodeProcess:
        """A robot does not stop for a recorder whose disk is full."""
        parameters: dict[str, Value] = {
            "directory": absolute(self.record_dir),
            "use_sim_time": self.use_sim_time,
        }
        return NodeProcess("pwm_bringup", "recorder", parameters, CLOCK, AtEnd.GO_ON)


def absolute(path: Path) -> str:
    """Return a path that means the same in a process that runs elsewhere."""
    return str(path.expanduser().absolute())
