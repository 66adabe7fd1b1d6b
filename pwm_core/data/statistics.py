# SPDX-License-Identifier: Apache-2.0
"""Mean and standard deviation of a task's observations, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pwm_core.data.dataset import Dataset, Episode

CHUNK_ROWS = 65_536
"""Rows held in memory at once: 20 MB at 39 observations in double precision."""


def observation_moments(
    dataset: Dataset, episodes: Sequence[Episode]
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation ``[O]``, float32, over all rows of ``episodes``.

    Chunks are joined by Chan, Golub and LeVeque's formula ("Updating formulae and a pairwise
    algorithm for computing sample variances", 1979), which does not lose digits when the mean is
    large beside the deviation. ``O`` is the dataset's width; padding has mean and deviation 0.
    """
    count = 0
    mean, squares = np.zeros(dataset.widths[0]), np.zeros(dataset.widths[0])
    for rows in _chunks(episodes):
        chunk = np.asarray(dataset.observation[rows], np.float64)
        chunk_mean = chunk.mean(0)
        delta, total = chunk_mean - mean, count + len(chunk)
        squares += np.square(chunk - chunk_mean).sum(0) + delta**2 * (count * len(chunk) / total)
        mean += delta * (len(chunk) / total)
        count = total
    return mean.astype(np.float32), np.sqrt(squares / count).astype(np.float32)


def _chunks(episodes: Sequence[Episode]) -> Iterator[np.ndarray]:
    """Yield row numbers of whole episodes until about ``CHUNK_ROWS`` are together."""
    gathered: list[np.ndarray] = []
    rows = 0
    for episode in episodes:
        gathered.append(np.arange(episode.start, episode.rows.stop))
        rows += episode.length + 1
        if rows >= CHUNK_ROWS:
            yield np.concatenate(gathered)
            gathered, rows = [], 0
    if gathered:
        yield np.concatenate(gathered)
