# SPDX-License-Identifier: Apache-2.0
"""Read a whole dataset and say what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pwm_core.data.dataset import ARRAYS, Dataset
from pwm_core.data.episodes import Episode
from pwm_core.data.schema import TaskInfo
from pwm_core.data.writer import TOLERANCE


def problems(dataset: Dataset, progress: Callable[[int], None] | None = None) -> Iterator[str]:
    """Yield one sentence per problem; memory holds one episode at a time.

    ``progress`` hears how many episodes were read.
    """
    yield from _gaps(dataset)
    for number, episode in enumerate(dataset.episodes):
        name = (
            f"{dataset.path}, episode {number} ({episode.task}, {episode.behaviour} {episode.seed})"
        )
        found = dataset.checksum(episode)
        if found != episode.checksum:
            yield f"{name}: checksum {found:08x}, expected {episode.checksum:08x}: data was changed"
        for problem in _content(dataset, episode, dataset.tasks[episode.task]):
            yield f"{name}: {problem}"
        if progress:
            progress(number + 1)


def _gaps(dataset: Dataset) -> Iterator[str]:
    """Rows belong to one episode each, and files hold no others."""
    order = np.argsort(dataset.episodes.start, kind="stable")
    start, stop = dataset.episodes.start[order], dataset.episodes.stop[order]
    expected = np.concatenate([[0], stop[:-1]])
    for place in np.flatnonzero(start != expected):
        yield (
            f"{dataset.path / 'episodes.jsonl'}: episode {order[place]} starts at row "
            f"{start[place]}, expected {expected[place]}"
        )


def _content(dataset: Dataset, episode: Episode, task: TaskInfo) -> Iterator[str]:
    rows = episode.rows
    first = {"action": dataset.action[rows.start], "reward": dataset.reward[rows.start]}
    for name, value in first.items():
        if not np.isnan(value).all():
            yield f"{name} of row 0 is {value}, expected NaN: nothing led to the first observation"
    arrays = {"observation": dataset.observation[rows]}
    arrays |= {n: getattr(dataset, n)[rows.start + 1 : rows.stop] for n in ARRAYS[1:]}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            place = np.argwhere(~np.isfinite(array))[0]
            yield f"{name}{place.tolist()} is {array[tuple(place)]}, expected a finite number"
    for name, size in (("observation", task.observation.size), ("action", task.action.size)):
        if arrays[name][:, size:].any():
            yield f"{name} has values beyond its {size} entries, expected zeros"
    largest = np.abs(arrays["action"]).max()
    if largest > 1 + TOLERANCE:
        yield f"actions reach {largest:.4g}, expected [-1, 1]"
    total = float(arrays["reward"].sum(dtype=np.float64))
    if not np.isclose(total, episode.total_reward, rtol=1e-4, atol=1e-3, equal_nan=True):
        yield f"total_reward is {episode.total_reward:.6g}, its rewards add up to {total:.6g}"
