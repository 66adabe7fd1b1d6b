# SPDX-License-Identifier: Apache-2.0
"""Which episodes train the model and which judge it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pwm_core.data.episodes import Episode, EpisodeTable


def split(episodes: Sequence[Episode], held_out: float) -> tuple[EpisodeTable, EpisodeTable]:
    """Return (training, held-out) episodes: the last share of each task's each behaviour.

    At least one episode of a behaviour is held out when it has two or more.
    """
    table = EpisodeTable.of(episodes)
    training, validation = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for group in table.groups():
        kept = len(group) - max(round(held_out * len(group)), 1) if len(group) > 1 else 1
        training.append(group[:kept])
        validation.append(group[kept:])
    return table[np.concatenate(training)], table[np.concatenate(validation)]
