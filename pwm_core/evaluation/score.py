# SPDX-License-Identifier: Apache-2.0
"""Returns of one controller, of one training seed, on one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pwm_core.evaluation.bootstrap import bootstrap_interval
from pwm_core.evaluation.episodes import Episodes

EXTRACTED = "extracted policy"
"""Name of an extracted policy among the controllers that were judged."""


@dataclass(frozen=True)
class Score:
    """What one controller earned on one task."""

    task: str
    controller: str
    returns: tuple[float, ...]
    """Per episode."""
    seeds: tuple[int, ...]
    """Seeds of the episodes; empty for what lies in the data."""
    policy: str | None = None
    """SHA-256 of the policy's file; ``None`` for everything but extracted policies."""
    training_seed: int | None = None
    """Seed of the training that made the controller; ``None`` where nothing was trained."""
    success: tuple[bool, ...] | None = None
    """Per episode; ``None`` where the task does not report success."""
    lengths: tuple[int, ...] = ()
    """Decisions per episode."""
    decision_ms: tuple[float, float] | None = None
    """Median and 99th percentile of the time per decision, one observation at a time."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How the controller was made, JSON-ready."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.returns))

    @property
    def success_rate(self) -> float | None:
        return None if self.success is None else float(np.mean(self.success))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the mean over episodes; ``None`` for a single figure."""
        return bootstrap_interval([self.returns])

    def to_json(self) -> dict[str, Any]:
        """Return everything with the derived figures."""
        derived = {
            "mean": self.mean,
            "interval": self.interval,
            "success_rate": self.success_rate,
        }
        return asdict(self) | derived

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Score:
        """Read what :meth:`to_json` wrote, or an earlier version with fewer fields."""
        lists = ("returns", "seeds", "success", "lengths", "decision_ms")
        known = {name: stored[name] for name in cls.__dataclass_fields__ if name in stored}
        tuples = {n: tuple(known[n]) for n in lists if known.get(n) is not None}
        return cls(**(known | tuples))


def episodes_score(task: str, controller: str, episodes: Episodes, **rest: Any) -> Score:
    """Return the score of ``episodes``; ``rest`` are further fields of :class:`Score`."""
    success = None if episodes.success is None else tuple(episodes.success.tolist())
    return Score(
        task,
        controller,
        tuple(episodes.returns.tolist()),
        success=success,
        lengths=tuple(episodes.lengths.tolist()),
        **rest,
    )
