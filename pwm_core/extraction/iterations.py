# SPDX-License-Identifier: Apache-2.0
"""Iterations of extraction, from observations in host memory.

On a GPU encoder, rollout, actors' steps, targets and all critic passes are one CUDA graph, in which
the host waits for nothing. What differs from one iteration to the next goes in from outside: the
start observations, through page-locked memory, the random numbers, drawn on the device, and the
learning rates, which are tensors there. On a CPU the same functions run one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from pwm_core.cuda_graph import Recorded
from pwm_core.device import seconds_of, sent
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.together import Figures, Together
from pwm_core.model.world_model import WorldModel

WEIGHTS: dict[str, torch.dtype | None] = {"float32": None, "tf32": None, "bfloat16": torch.bfloat16}
"""Precision of the frozen model's matrices by that of the configuration; None: as they are."""


class Iterations:
    """Iterations of ``learners``, whose tasks have the indices ``tasks`` in the world model."""

    def __init__(
        self,
        model: WorldModel,
        tasks: Sequence[int],
        learners: Sequence[Learner],
        graph: bool = True,
    ) -> None:
        """Without ``graph`` kernels are started one by one on a GPU too."""
        self._model, self._device = model, learners[0].device
        frozen = FrozenModel(model, tasks, WEIGHTS[learners[0].config.precision])
        self._together = Together(frozen, learners)
        self._task = torch.tensor(tasks, device=self._device)[:, None]
        self._recorded: Callable[..., list[Figures]] = self.step
        if graph and self._device.type == "cuda":
            for learner in learners:
                learner.keep_rates_on_device()
            self._recorded = Recorded(self.step)

    @property
    def learners(self) -> Sequence[Learner]:
        """Who learns, task by task."""
        return self._together.learners

    def update(self, observation: Tensor, iterations: Sequence[int]) -> list[Figures]:
        """Run each task's iteration from ``observation [tasks, batch, O]``; return their figures.

        On a GPU the figures are overwritten by the next call.
        """
        observation = sent(observation, self._device)
        noise, orders = self._together.prepare(observation.shape[1], iterations)
        first = [iteration == 0 for iteration in iterations]
        if any(first):  # spreads begin: other work than ever after
            return self.step(observation, noise, orders, first)
        return self._recorded(observation, noise, orders)

    def measured(self, observation: Tensor) -> float:
        """Return the seconds that an iteration takes, by one of the critics' passes for all.

        The learners are no longer what they were before.
        """
        count = len(self.learners)
        noise, orders = self._together.prepare(observation.shape[1], [0] * count)
        states = torch.randn(orders.shape[-1], self._model.config.latent, device=self._device)

        def fit() -> None:
            for learner, order in zip(self.learners, orders, strict=True):
                learner.fit_critics(states, states[:, 0], order[:1])

        rest = partial(self.step, observation, noise, orders[:, :0], [True] * count)
        return seconds_of(rest) + orders.shape[1] * seconds_of(fit)

    def step(
        self, observation: Tensor, noise: Tensor, orders: Tensor, first: Sequence[bool] = ()
    ) -> list[Figures]:
        """Run an iteration from what is on the device already; see ``Together.step``."""
        with torch.no_grad():
            task = self._task.expand(observation.shape[:2]).flatten()
            z = self._model.encode(observation.flatten(0, 1), task)
        z = z.unflatten(0, observation.shape[:2])
        return self._together.step(z, noise, orders, first or [False] * len(self._task))
