# SPDX-License-Identifier: Apache-2.0
"""Which nodes make a simulated robot, said once for the launch file and for ``pwm sim``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MODES = ("lockstep", "realtime", "paused")
DEFAULT_TASK = "cartpole-swingup"
DEFAULT_POLICY_DIR = "runs/demo/bundles"
REMAPPINGS = (("clock", "/clock"),)
"""``use_sim_time`` listens to /clock, whatever the namespace."""


Value = str | bool | float


@dataclass(frozen=True)
class NodeProcess:
    """One executable of a ROS package and the parameters it gets beside the parameter file."""

    package: str
    executable: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()


def simulation_nodes(
    task: str, policy_dir: str, policy: str, mode: str, use_sim_time: bool, headless: bool
) -> list[NodeProcess]:
    """Return the bridge and the policy node; ``policy_dir`` may be relative to the caller.

    Raises ``ValueError`` for a mode there is not.
    """
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {', '.join(MODES)}")
    bridge: dict[str, Value] = {
        "task": task,
        "mode": mode,
        "headless": headless,
        "use_sim_time": use_sim_time,
    }
    policy_node: dict[str, Value] = {
        "policy_dir": str(Path(policy_dir).expanduser().absolute()),
        "policy": policy,
        "task": task,
        # In lockstep the simulation waits for the policy, so the policy must not wait for a clock.
        "trigger": "observation" if mode == "lockstep" else "clock",
        "use_sim_time": use_sim_time,
    }
    return [
        NodeProcess("pwm_mujoco", "mujoco_bridge", bridge, REMAPPINGS),
        NodeProcess("pwm_policy", "policy_node", policy_node, REMAPPINGS),
    ]
