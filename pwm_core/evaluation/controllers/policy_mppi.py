# SPDX-License-Identifier: Apache-2.0
"""The policy proposes, MPPI refines: a narrow search around what the policy would do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pwm_core.evaluation.controllers.mppi import MppiConfig, proposals, refine
from pwm_core.evaluation.controllers.problem import Problem, policy_rollout


@dataclass(frozen=True)
class PolicyMppiConfig(MppiConfig):
    """Each plan starts as the policy's own, which also stays a candidate."""

    samples: int = 128
    """Candidate plans per iteration."""
    iterations: int = 2
    elites: int = 16
    """Best candidates, from which mean and spread are taken."""
    max_std: float = 0.3
    """Largest spread of the candidates, in which each plan begins."""
    policy_plans: int = 12
    """Candidates that the policy proposes, with its exploration noise."""

    def plan(
        self, problem: Problem, z: Tensor, last: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return (plan ``[H, E, A]``, actions ``[E, A]``) for ``z [E, latent]``; no ``last``."""
        mean = policy_rollout(problem, z, torch.zeros_like(last))
        noisy = proposals(problem, z, len(last), self.policy_plans, generator)
        fixed = torch.cat([mean[:, :, None], noisy], 2)
        std = torch.full_like(mean, self.max_std)
        return refine(self, problem, z, mean, std, fixed, generator)
