# SPDX-License-Identifier: Apache-2.0
"""Random excitation of muscles that pull together: alone, hundreds of them average out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pwm_core.data.behaviours.behaviour import Choose, Trajectory, play_in
from pwm_core.data.behaviours.noise import correlated_noise
from pwm_core.tasks import Task

SIDE_BY_SIDE = 10
"""Episodes at a time."""


@dataclass(frozen=True)
class Synergies:
    """Few slowly varying signals, which excite all actions by weights drawn for each episode.

    So a body is moved as far as by few actions (muscle synergies, arXiv 2307.03716), and episodes
    together try all directions of its actions.
    """

    signals: int = 8
    """Signals of an episode."""
    correlation: float = 0.95
    """Correlation of neighbouring decisions."""
    name = "synergies"
    block: ClassVar[int | None] = None

    def suits(self, task: Task) -> bool:
        return True

    def collect(self, task: Task, episodes: int, seed: int) -> list[Trajectory]:
        """Run ``episodes``, few at a time and one after the other in the same environments.

        A simulator of such a body takes 130 MB, and as long to make as an episode.
        """
        rng = np.random.default_rng(seed)
        together = min(episodes, SIDE_BY_SIDE)
        environment = task.make_vector(together, seed)
        found: list[Trajectory] = []
        while len(found) < episodes:
            found += play_in(environment, task, self._excitations(task, together, rng))
        return found[:episodes]

    def _excitations(self, task: Task, episodes: int, rng: np.random.Generator) -> Choose:
        """Return the actions of whole episodes, drawn anew."""
        weight = rng.standard_normal((episodes, self.signals, task.action.size))
        shape = (episodes, task.episode_steps, self.signals)
        signal = correlated_noise(rng, shape, self.correlation) / np.sqrt(self.signals)
        action = signal @ weight
        return lambda decision, _: action[:, decision]
