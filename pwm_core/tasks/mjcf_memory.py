# SPDX-License-Identifier: Apache-2.0
"""Observations of a MuJoCo model with previous commands and history, for policies that see them."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from pwm_core.history import History, previous_commands, with_history
from pwm_core.layout import ActionLayout, ObservationLayout
from pwm_core.tasks.mjcf_layout import ModelLayoutError, ModelObservation


class RememberedObservation:
    """Reads an observation, of which earlier decisions of the episode are a part.

    The present comes first (``entries`` of the model, then the previous command), then all of it
    one decision ago, then two … ``history``.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        entries: Sequence[str],
        action: ActionLayout,
        history: int,
        previous_action: bool,
    ) -> None:
        if history < 0:
            raise ModelLayoutError(f"a history of {history} decisions; 0 or more were expected")
        self.action = action
        self._seen = ModelObservation(model, entries)
        self._commands = previous_commands(action) if previous_action else ()
        present = self._seen.layout.channels + self._commands
        self.layout = ObservationLayout(with_history(present, history))
        self._repeats = 1 + history
        self._history = History(self.layout)
        self.reset()

    def reset(self) -> None:
        """Forget the last episode."""
        self._history.reset()
        self._command = self.action.safe.astype(np.float64)

    def read(self, data: mujoco.MjData) -> np.ndarray:
        """Return the observation ``[O]``, float32, for the decision to be made now."""
        return self._history.recall(self._present(data))

    def decided(self, data: mujoco.MjData, command: np.ndarray) -> None:
        """Note that ``command [A]``, in actuator units, answers what ``data`` still shows."""
        self._history.remember(self._present(data))
        self._command = np.array(command, np.float64)

    def state(self) -> np.ndarray:
        """Return all that is remembered ``[S]``, of the same length at any time."""
        return np.concatenate([self._command, self._history.state()])

    def restore(self, state: np.ndarray) -> None:
        """Remember again what :meth:`state` returned."""
        self._command = state[: self.action.size].copy()
        self._history.restore(state[self.action.size :])

    def _present(self, data: mujoco.MjData) -> np.ndarray:
        pairs = zip(self._commands, self._command, strict=False)
        commands = np.array([channel.read(value) for channel, value in pairs], np.float32)
        return np.tile(np.concatenate([self._seen.read(data), commands]), self._repeats)
