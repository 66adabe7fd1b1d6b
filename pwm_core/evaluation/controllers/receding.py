# SPDX-License-Identifier: Apache-2.0
"""Plan, execute the first action, move the plan on by one decision, plan again."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pwm_core.evaluation.controllers.problem import Problem


class Planner(Protocol):
    """Settings that know how to improve a plan."""

    def plan(
        self, problem: Problem, z: Tensor, last: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return (plan to go on from ``[H, E, A]``, actions ``[E, A]``) for ``z [E, latent]``.

        ``last`` is the plan so far, moved on by one decision: zeros at first.
        """
        ...


class RecedingHorizon:
    """The controller of one run of episodes, side by side, from their first decision on."""

    def __init__(self, problem: Problem, planner: Planner, horizon: int, seed: int) -> None:
        self._problem, self._planner, self._horizon = problem, planner, horizon
        self._generator = torch.Generator().manual_seed(seed)
        self._plan: Tensor | None = None

    @torch.no_grad()
    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Return actions ``[E, A]`` in [-1, 1] for ``observation [E, O]``."""
        z = self._problem.encode(torch.from_numpy(observation))
        last = self._moved_on(len(z), z.dtype)
        self._plan, action = self._planner.plan(self._problem, z, last, self._generator)
        return action.numpy()

    def _moved_on(self, episodes: int, dtype: torch.dtype) -> Tensor:
        zero = torch.zeros(1, episodes, self._problem.actions, dtype=dtype)
        if self._plan is None:
            return zero.repeat(self._horizon, 1, 1)
        return torch.cat([self._plan[1:], zero])
