# SPDX-License-Identifier: Apache-2.0
"""Whether a policy that acts now earns what the one before it earned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

ERROR = 0.05
"""How likely a candidate that is as good as the policy before it is taken back, at most, where
returns spread normally. One that fails every now and then is taken back more often: one failure of
a few episodes, where there was none before, cannot be told from harm."""
ALIKE = 0.005
"""Part of the mean before that a candidate may always earn less."""
NEVER = 1 / 3
"""Part of what returns before amounted to that a candidate may never earn less, however erratic
the policy before it was: few returns that spread widely would excuse anything."""


@dataclass(frozen=True)
class Judgement:
    """A candidate's real returns held against those of the policy before it."""

    returns: tuple[float, ...]
    before: tuple[float, ...]
    bound: float
    """Lowest mean that is accepted."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.returns))

    @property
    def passed(self) -> bool:
        """Whether the candidate may stay; a mean that is not finite may not."""
        return math.isfinite(self.mean) and self.mean >= self.bound

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        mean_before = float(np.mean(self.before))
        return asdict(self) | {
            "mean": self.mean,
            "mean_before": mean_before,
            "passed": self.passed,
        }


def judge(returns: Sequence[float], before: Sequence[float]) -> Judgement:
    """Hold real ``returns`` against those ``before``, of each of which there is one or more."""
    return Judgement(tuple(returns), tuple(before), lowest_mean(returns, before))


def better(returns: Sequence[float], before: Sequence[float]) -> tuple[float, ...]:
    """Return what the next candidate is held against once one with ``returns`` stays.

    It may have earned a little less than the policy before it. Were it the measure of the next one,
    each of several candidates could lose a little.
    """
    return tuple(returns if np.mean(returns) >= np.mean(before) else before)


def lowest_mean(returns: Sequence[float], before: Sequence[float]) -> float:
    """Return the mean below which ``returns`` are too low to be of a policy that is as good.

    The mean before, less what the *difference* of the two means may be by chance: Student's
    one-sided bound. An interval of the mean before alone would forget that the candidate's mean is
    uncertain too. The deviation is that of the policy before, or of both together where that is
    less: where the policy before was steady, a failure is not excused by the spread it makes; where
    it was not, a candidate that always fails is still seen. Each gets half of :data:`ERROR`. One
    return on each side has no deviation and counts as it is. Chance excuses :data:`NEVER` of the
    returns before at most, by their mean size, so that returns about zero have room too.
    """
    counts, mean = (len(returns), len(before)), float(np.mean(before))
    alone = _reach(len(before) * float(np.var(before)), len(before) - 1, counts)
    squares = sum(len(group) * float(np.var(group)) for group in (returns, before))
    together = _reach(squares, sum(counts) - 2, counts)
    chance = min(alone, together)
    excused = min(chance if chance < math.inf else 0.0, NEVER * float(np.mean(np.abs(before))))
    return mean - max(excused, ALIKE * abs(mean))


def _reach(squares: float, freedom: int, counts: tuple[int, int]) -> float:
    """Return how far two means lie apart by chance, of squared deviations and their freedom."""
    if not freedom:
        return math.inf
    error = math.sqrt(squares / freedom * sum(1 / count for count in counts))
    return float(stdtrit(freedom, 1 - ERROR / 2)) * error
