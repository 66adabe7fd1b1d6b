# SPDX-License-Identifier: Apache-2.0
"""``pwm finetune``: adapt a running policy to data of its robot, and judge the candidate."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from pwm_core.finetuning.config import FinetuningConfig
from pwm_core.finetuning.runner import Finetuning, Sources
from pwm_core.limits import ONE_OR_MORE
from pwm_core.pretraining.runner import TrainingDivergedError
from pwm_core.tables import print_table

REFUSED = 3


@dataclass(frozen=True)
class Finetune:
    """Fine-tune world model and policy on a robot's data. An interrupted run resumes."""

    policy: Path
    """The running policy; it is never written to."""
    data: Path
    """Online dataset: episodes of the robot that the policy runs on."""
    world_model: Path = Path("runs/world_model/world_model.safetensors")
    """World model that the policy was extracted from."""
    offline: Path = Path("runs/data")
    """Dataset that the world model was trained on; half of every batch."""
    origin: Path | None = None
    """The policy that fine-tuning began with, rounds ago: ``--gate.action-drift`` is how far from
    it a candidate may act; the running policy by default."""
    out: Path = Path("runs/finetuned")
    """Run directory; ``candidate/policy.safetensors`` and ``gate.json`` are the result."""
    config: Annotated[FinetuningConfig, tyro.conf.arg(name="")] = field(
        default_factory=FinetuningConfig
    )
    """What decides which candidate comes out."""
    threads: int = 1
    """CPU threads."""
    json: bool = False
    """Print the verdicts as JSON."""

    def run(self) -> int:
        """Fine-tune, print the gate's verdicts; 3 when there is no candidate that it accepts."""
        ONE_OR_MORE.require(self, "threads")
        torch.set_num_threads(self.threads)
        sources = Sources(self.world_model, self.policy, self.data, self.offline, self.origin)
        try:
            proposal = Finetuning(sources, self.out, self.config).run()
        except TrainingDivergedError as error:  # the data's fault as well: other data, another time
            print(f"refused: the running policy stays; {error}", file=sys.stderr)
            return REFUSED
        rows = [
            {
                "check": verdict.check,
                "figure": verdict.figure,
                "bound": f"{verdict.relation} {verdict.bound:.4g}",
                "verdict": "pass" if verdict.passed else "FAIL",
            }
            for verdict in proposal.verdicts
        ]
        if self.json:
            rows = [verdict.to_json() for verdict in proposal.verdicts]
        print_table(f"Gate of {proposal.policy}", rows, self.json)
        if not proposal.accepted:
            print("refused: the running policy stays", file=sys.stderr)
        return 0 if proposal.accepted else REFUSED
