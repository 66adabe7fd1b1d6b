# SPDX-License-Identifier: Apache-2.0
"""Where fine-tuning stands, as a file that outlives the node. No ROS."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from pwm_core.errors import PwmError
from pwm_core.files import write_atomically


class StateError(PwmError):
    """The state file cannot be read, or belongs to other inputs."""


class Mode(str, Enum):
    """What the operator wants."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class Phase(str, Enum):
    """What happens next in a round."""

    GATHERING = "gathering"
    """Episodes of the running policy are recorded until there are enough."""
    LEARNING = "learning"
    """`pwm finetune` makes a candidate and judges it."""
    EXPORTING = "exporting"
    """`pwm export` makes a bundle of it."""
    PROPOSED = "proposed"
    """The candidate waits for the operator, or to be swapped in."""
    WATCHING = "watching"
    """The candidate acts; its real return decides whether it stays."""
    ROLLING_BACK = "rolling back"
    """The policy before is being swapped back in."""
    FAILED = "failed"
    """The learner died too often; `start` tries again."""


@dataclass
class State:
    """Everything that a restarted node has to know; JSON on disk."""

    mode: Mode
    bundle: str
    """Name of the running policy."""
    policy: str
    """Its ``policy.safetensors``."""
    world_model: str
    """The world model that it was extracted from."""
    origin: str
    """SHA-256 of the policy that all began with."""
    phase: Phase = Phase.GATHERING
    round: int = 0
    """Number of the round; 0 before the first."""
    attempts: int = 0
    """How often the learner has died in this phase."""
    trained_on: int = 0
    """Episodes there were when the last round began."""
    held_out: float = 0.2
    """Share of the round's episodes that judge and never train."""
    candidate: str = ""
    """Name of the bundle that is proposed or watched."""
    approved: bool = False
    """Whether the operator has approved it."""
    before: list[float] = field(default_factory=list)
    """Returns of the running policy's last whole episodes without noise, since the last round;
    after a candidate that stayed: its trial's, or those that it was held against if these are
    more."""
    watched: list[float] = field(default_factory=list)
    """Returns of the candidate's whole episodes."""
    history: list[dict[str, str]] = field(default_factory=list)
    """``bundle``, ``policy`` and ``world_model`` of the policies before the running one."""
    accepted: int = 0
    """Candidates that stayed."""
    refused: int = 0
    """Candidates that did not."""
    reason: str = "begun"
    """Why it is as it is."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)

    def save(self, file: Path) -> None:
        """Write ``file``, whole or not at all."""
        write_atomically(file, json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def load(cls, file: Path) -> State:
        """Read what :meth:`save` wrote; ``StateError`` when it is something else."""
        try:
            stored = json.loads(file.read_bytes())
            stored["mode"], stored["phase"] = Mode(stored["mode"]), Phase(stored["phase"])
            return cls(**stored)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{file} cannot be read ({error}): choose another directory, or delete it to "
                "begin anew with the data recorded so far"
            ) from error
