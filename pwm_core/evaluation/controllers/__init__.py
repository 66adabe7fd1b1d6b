# SPDX-License-Identifier: Apache-2.0
"""Ways to act with a world model and an extracted policy, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from pwm_core.errors import PwmError
from pwm_core.evaluation.controllers.cem import CemConfig
from pwm_core.evaluation.controllers.gradient import GradientConfig
from pwm_core.evaluation.controllers.mppi import MppiConfig
from pwm_core.evaluation.controllers.policy_mppi import PolicyMppiConfig
from pwm_core.evaluation.controllers.problem import Problem
from pwm_core.evaluation.episodes import Act

POLICY = "policy"
"""The extracted policy by itself."""


class Planning(Protocol):
    """Settings of a planner."""

    def make(self, problem: Problem, seed: int) -> Act:
        """Return the controller of some episodes, side by side, from their first decision on."""
        ...


@dataclass(frozen=True)
class Planners:
    """Settings of each planner."""

    mppi: MppiConfig = field(default_factory=MppiConfig)
    """Sampling, as TD-MPC2 plans, policy's plans among the candidates."""
    cem: CemConfig = field(default_factory=CemConfig)
    """Evolutionary search."""
    gradient: GradientConfig = field(default_factory=GradientConfig)
    """First-order planning of the action sequence."""
    policy_mppi: PolicyMppiConfig = field(default_factory=PolicyMppiConfig)
    """The policy proposes, MPPI refines."""

    def named(self, name: str) -> Planning:
        """Return the settings of planner ``name``; ``PwmError`` lists the names otherwise."""
        planners = self.by_name()
        if name not in planners:
            known = ", ".join([POLICY, *planners])
            raise PwmError(f"unknown controller {name!r}: the controllers are {known}")
        return planners[name]

    def by_name(self) -> dict[str, Planning]:
        """Return every planner by the name that ``--controller`` takes."""
        return {
            "mppi": self.mppi,
            "cem": self.cem,
            "gradient": self.gradient,
            "policy+mppi": self.policy_mppi,
        }
