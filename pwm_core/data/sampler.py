# SPDX-License-Identifier: Apache-2.0
"""Windows of consecutive transitions; batch k is a pure function of the seed and k.

Every episode is visited once per epoch, at a random offset, and no window crosses an episode's
edge. Behind a terminal state a window stays there, so that the decisions that end an episode are
drawn as often as those before, and as early in a window. Memory is a few numbers per episode and
the time of a batch is constant, whatever the number of transitions: only the rows of the batch are
read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pwm_core.data.dataset import ARRAYS, Dataset, DatasetError, Episode, EpisodeTable
from pwm_core.data.rows import RowReader


@dataclass(frozen=True)
class Windows:
    """A batch of windows, time first."""

    observation: Tensor
    """``[horizon + 1, batch, O]``"""
    action: Tensor
    """``[horizon, batch, A]``; ``action[t]`` leads from ``observation[t]`` to the next."""
    reward: Tensor
    """``[horizon, batch]``"""
    terminal: Tensor
    """``[horizon, batch]``, 1 where ``observation[t + 1]`` is a terminal state, else 0.

    What follows a terminal state is this state again, with rewards of zero.
    """
    task: Tensor
    """Task index ``[batch]``."""

    @property
    def decided(self) -> Tensor:
        """``[horizon, batch]``, 1 where something was decided: not behind a terminal state."""
        return torch.cat([torch.ones_like(self.terminal[:1]), 1 - self.terminal[:-1]])

    def to(self, device: torch.device) -> Windows:
        """Return the windows on ``device``."""
        return Windows(*(t.to(device, non_blocking=True) for t in vars(self).values()))


class WindowSampler:
    """Draw windows of ``horizon`` decisions from ``episodes``."""

    def __init__(
        self,
        dataset: Dataset,
        episodes: Sequence[Episode],
        tasks: Sequence[str],
        horizon: int,
        batch: int,
        seed: int,
    ) -> None:
        if not episodes:
            raise DatasetError(f"{dataset.path}: no episodes to sample from")
        table = EpisodeTable.of(episodes)
        _require_length(table, horizon, dataset.path)
        widths = (*dataset.widths, 1)
        self._readers = [
            RowReader(dataset.path / f"{name}.f32", width)
            for name, width in zip(ARRAYS, widths, strict=True)
        ]
        self._start = table.start.copy()
        terminated = table.column("terminated")
        self._choices = np.where(terminated, table.length, table.length - horizon + 1)
        self._last, self._terminated = table.stop - 1, terminated.copy()
        self._task = table.task_index(tasks)
        if (self._task < 0).any():
            missing = [task for task in table.tasks if task not in tasks]
            raise DatasetError(f"{dataset.path}: {missing} are none of the tasks {list(tasks)}")
        self._horizon, self._batch, self._seed = horizon, batch, seed
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def _permutation(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            rng = np.random.default_rng([self._seed, 0, epoch])
            self._order = epoch, rng.permutation(len(self._start))
        return self._order[1]

    def _episodes(self, batch_number: int) -> np.ndarray:
        places = np.arange(batch_number * self._batch, (batch_number + 1) * self._batch)
        epochs, within = np.divmod(places, len(self._start))
        chosen = np.empty(self._batch, int)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = self._permutation(int(epoch))[within[here]]
        return chosen

    def batch(self, number: int, share: slice = slice(None)) -> Windows:
        """Return batch ``number``, or a ``share`` of its windows.

        The same number gives the same windows, however they are shared out.
        """
        episodes = self._episodes(number)
        rng = np.random.default_rng([self._seed, 1, number])
        first = (self._start[episodes] + rng.integers(self._choices[episodes]))[share]
        episode = episodes[share]
        last = self._last[episode]
        observation, action, rewards = self._readers
        led_to = first + 1 + np.arange(self._horizon)[:, None]
        reward = rewards.read(first + 1, self._horizon, last)[..., 0]
        reward[led_to > last] = 0.0
        terminal = (led_to >= last) & self._terminated[episode]
        return Windows(
            torch.from_numpy(observation.read(first, self._horizon + 1, last)),
            torch.from_numpy(action.read(first + 1, self._horizon, last)),
            torch.from_numpy(reward),
            torch.from_numpy(terminal.astype(np.float32)),
            torch.from_numpy(self._task[episode]),
        )


def _require_length(table: EpisodeTable, horizon: int, path: Path) -> None:
    short = np.flatnonzero((table.length < horizon) & ~table.column("terminated"))
    if len(short):
        first = table[int(short[0])]
        raise DatasetError(
            f"{path / 'episodes.jsonl'}: {first.task}, {first.behaviour} episode {first.seed} has "
            f"{first.length} decisions, fewer than the horizon {horizon} ({len(short)} such): "
            f"shorten the horizon, or leave them out with pwm data merge --shortest {horizon}"
        )
