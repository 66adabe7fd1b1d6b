# SPDX-License-Identifier: Apache-2.0
"""Which episodes train the model and which judge it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pwm_core.data.dataset import Episode


def split(episodes: Sequence[Episode], held_out: float) -> tuple[list[Episode], list[Episode]]:
    """Return (training, held-out) episodes: the last share of each task's each behaviour.

    At least one episode of a behaviour is held out when it has two or more.
    """
    groups: dict[tuple[str, str], list[Episode]] = defaultdict(list)
    for episode in episodes:
        groups[episode.task, episode.behaviour].append(episode)
    training, validation = [], []
    for group in groups.values():
        kept = len(group) - max(round(held_out * len(group)), 1) if len(group) > 1 else 1
        training += group[:kept]
        validation += group[kept:]
    return training, validation
