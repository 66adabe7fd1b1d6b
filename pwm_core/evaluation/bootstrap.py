# SPDX-License-Identifier: Apache-2.0
"""Intervals of a mean over training seeds and episodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

REPETITIONS = 2000
"""Bootstrap samples of an interval."""
CHUNK = 1_000_000
"""Most figures drawn at once."""

Interval = tuple[float, float]


def bootstrap_interval(groups: Sequence[Sequence[float]], seed: int = 0) -> Interval | None:
    """Return the 95 % percentile interval of the mean; ``None`` for a single figure.

    ``groups`` are the episodes of each training seed. Training seeds are drawn with replacement,
    then episodes within each: the interval covers another training as well as other episodes.
    """
    data = [np.asarray(group, float) for group in groups]
    if sum(map(len, data)) < 2:
        return None
    rng = np.random.default_rng(seed)
    chunk = max(1, CHUNK // (len(data) * max(map(len, data))))
    means = [
        _resampled_means(data, min(chunk, REPETITIONS - done), rng)
        for done in range(0, REPETITIONS, chunk)
    ]
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)


def _resampled_means(
    data: Sequence[np.ndarray], repetitions: int, rng: np.random.Generator
) -> np.ndarray:
    """Return ``[repetitions]`` means of as many groups as there are, drawn with replacement."""
    slots = repetitions, len(data)
    within = np.stack(
        [group[rng.integers(len(group), size=(*slots, len(group)))].mean(-1) for group in data]
    )
    chosen = rng.integers(len(data), size=slots)
    return np.take_along_axis(within, chosen[None], 0)[0].mean(-1)
