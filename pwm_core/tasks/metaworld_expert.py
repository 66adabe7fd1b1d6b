# SPDX-License-Identifier: Apache-2.0
"""Meta-World's scripted experts: one hand-written controller per task, without memory."""

from __future__ import annotations

import warnings

import numpy as np

from pwm_core.tasks.metaworld_package import import_metaworld


class ScriptedExpert:
    """The controller of task ``name``, from the package's ``policies``.

    Written for 500 simulator steps per episode, of which our settings give 200.
    """

    def __init__(self, name: str) -> None:
        self._policy = import_metaworld("policies").ENV_POLICY_MAP[f"{name}-v3"]()

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Return actions ``[N, 4]`` in ``[-1, 1]`` for observations ``[N, 39]``."""
        with warnings.catch_warnings():  # that a response beyond 1 is clipped is what we want
            warnings.filterwarnings("ignore", message="Constant")
            actions = [self._policy.get_action(row) for row in observation.astype(np.float64)]
        return np.clip(np.stack(actions), -1.0, 1.0)
