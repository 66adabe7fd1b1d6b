# SPDX-License-Identifier: Apache-2.0
"""The rows of a dataset from which imagination starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pwm_core.data.dataset import DatasetError, Episode


class StartRows:
    """Rows of ``episodes`` that at least ``left`` decisions follow, each as likely as any other.

    The last row of an episode, terminal or not, is no start: nothing was decided there.
    """

    def __init__(self, episodes: Sequence[Episode], left: int = 1) -> None:
        """Raise ``DatasetError`` when no episode is that long."""
        counts = np.array([max(0, episode.length - left + 1) for episode in episodes])
        if not counts.any():
            raise DatasetError(f"no episode has {left} decisions: nothing to start from")
        self._first = np.array([episode.start for episode in episodes])
        self._end = np.cumsum(counts)
        self._begin = self._end - counts

    def __len__(self) -> int:
        return int(self._end[-1])

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Return ``count`` rows, drawn with replacement."""
        number = rng.integers(0, len(self), count)
        episode = np.searchsorted(self._end, number, side="right")
        return self._first[episode] + number - self._begin[episode]


def resampled(episodes: Sequence[Episode], seed: int) -> list[Episode]:
    """Return as many episodes drawn with replacement, as the released buffer does."""
    chosen = np.random.default_rng([seed, len(episodes)]).integers(0, len(episodes), len(episodes))
    return [episodes[i] for i in chosen]
