# SPDX-License-Identifier: Apache-2.0
"""Observation entries of earlier decisions: the same numbers in training and on the robot."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from pwm_core.layout import ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.sources import PREVIOUS_ACTION


class History:
    """What every channel of a layout said at the last decisions of an episode.

    An entry of lag ``k`` is what its channel said ``k`` decisions ago. Before there were that many,
    the oldest value is repeated: at an episode's first decision every lag shows the present.
    """

    def __init__(self, layout: ObservationLayout) -> None:
        self._lags = np.array([channel.lag for channel in layout.channels])
        self._entries = np.arange(layout.size)
        self._past: deque[np.ndarray] = deque(maxlen=int(self._lags.max()))

    def reset(self) -> None:
        """Forget: an episode begins."""
        self._past.clear()

    def remember(self, present: np.ndarray) -> None:
        """Note that a decision was made on ``present [O]``, every channel's newest value."""
        self._past.appendleft(present)

    def recall(self, present: np.ndarray) -> np.ndarray:
        """Return the observation ``[O]`` for a decision to be made on ``present [O]``."""
        rows = np.stack([present, *self._past])
        return rows[np.minimum(self._lags, len(self._past)), self._entries]

    def state(self) -> np.ndarray:
        """Return all that is remembered ``[S]``, of the same length at any time."""
        past = np.zeros((self._past.maxlen or 0, len(self._lags)))
        for row, seen in zip(past, self._past, strict=False):
            row[:] = seen
        return np.concatenate([[len(self._past)], past.ravel()])

    def restore(self, state: np.ndarray) -> None:
        """Remember again what :meth:`state` returned."""
        rows = state[1:].reshape(-1, len(self._lags))[: int(state[0])]
        self._past = deque(rows.astype(np.float32), maxlen=self._past.maxlen)


def with_history(
    channels: tuple[ObservationChannel, ...], decisions: int
) -> tuple[ObservationChannel, ...]:
    """Return ``channels`` and after them what each said 1, 2 … ``decisions`` ago."""
    return channels + tuple(
        replace(channel, name=f"{channel.name}/{lag}_ago", lag=lag)
        for lag in range(1, decisions + 1)
        for channel in channels
    )


def previous_commands(action: ActionLayout) -> tuple[ObservationChannel, ...]:
    """Return a channel per actuator: the command sent before, its limits scaled to [-1, 1].

    Before an episode's first decision it is the safe command.
    """
    return tuple(
        ObservationChannel(
            f"{channel.name}/previous_command",
            "1",
            PREVIOUS_ACTION.topic,
            channel.name,
            "value",
            scale=2 / (channel.high - channel.low),
            offset=-(channel.high + channel.low) / (channel.high - channel.low),
        )
        for channel in action.channels
    )
