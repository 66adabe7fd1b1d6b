# SPDX-License-Identifier: Apache-2.0
"""``policy.safetensors``: one task's policy with all that evaluation and export need to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pwm_core.checkpoint import CheckpointError, load_checkpoint, load_weights, save_checkpoint
from pwm_core.data.dataset import TaskInfo
from pwm_core.extraction.actor_critic import Networks, Policy
from pwm_core.model.world_model import WorldModelConfig

POLICY_FILE = "policy.safetensors"
"""Name of the file in the directory of its extraction."""


@dataclass(frozen=True)
class TrainedPolicy:
    """A policy, its task, and the record of how it came to be."""

    policy: Policy
    task: TaskInfo
    architecture: dict[str, Any]
    """What rebuilds the network: ``model`` (a WorldModelConfig), ``hidden``, ``sigma_floor``,
    ``networks`` (``norm-mish`` where it is missing)."""
    record: dict[str, Any]
    """Training figures, world-model quality and provenance, as JSON."""

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        header = {
            "kind": "policy",
            "task": self.task.to_json(),
            "architecture": self.architecture,
            "record": self.record,
        }
        save_checkpoint(path, self.policy.state_dict(), header)

    @classmethod
    def load(cls, path: Path) -> TrainedPolicy:
        """Read the file; ``CheckpointError`` when it is missing, damaged or something else."""
        tensors, header = load_checkpoint(path)
        if header.get("kind") != "policy":
            raise CheckpointError(f"{path} is a {header.get('kind')!r}, expected a policy")
        task = TaskInfo.from_json(header["task"])
        policy = build_policy(task, header["architecture"])
        load_weights(policy, tensors, path)
        return cls(policy.eval(), task, header["architecture"], header["record"])


def architecture(
    model: WorldModelConfig,
    hidden: Sequence[int],
    sigma_floor: float,
    networks: Networks = "norm-mish",
) -> dict[str, Any]:
    """Return the JSON-ready description from which :func:`build_policy` rebuilds the network."""
    return {
        "model": asdict(model),
        "hidden": list(hidden),
        "sigma_floor": sigma_floor,
        "networks": networks,
    }


def build_policy(task: TaskInfo, described: dict[str, Any]) -> Policy:
    """Return an untrained policy network for ``task``."""
    return Policy(
        WorldModelConfig(**described["model"]),
        task.observation.size,
        task.action.size,
        described["hidden"],
        described["sigma_floor"],
        described.get("networks", "norm-mish"),
    )
