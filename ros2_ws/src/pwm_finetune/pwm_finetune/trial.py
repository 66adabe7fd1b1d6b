# SPDX-License-Identifier: Apache-2.0
"""Whether a policy that was swapped in earns what the one before it earned. No ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pwm_core.evaluation.bootstrap import bootstrap_interval


@dataclass(frozen=True)
class Judgement:
    """The candidate's real returns held against the policy's before it."""

    returns: tuple[float, ...]
    before: tuple[float, ...]
    bound: float
    """Lowest mean that is accepted: the lower end of the 95 % interval of the mean before."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.returns))

    @property
    def passed(self) -> bool:
        """Whether the candidate may stay; a mean that is not a number may not."""
        return self.mean >= self.bound

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        mean_before = float(np.mean(self.before))
        return asdict(self) | {
            "mean": self.mean,
            "mean_before": mean_before,
            "passed": self.passed,
        }


def judge(returns: Sequence[float], before: Sequence[float]) -> Judgement:
    """Hold real ``returns`` against those ``before``, of which there is one or more."""
    interval = bootstrap_interval([before])
    bound = interval[0] if interval is not None else before[0]
    return Judgement(tuple(returns), tuple(before), bound)
