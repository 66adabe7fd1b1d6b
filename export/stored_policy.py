# SPDX-License-Identifier: Apache-2.0
"""A bundle as a source of data, see ``pwm_core.data.behaviours.policy``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pwm_core.data.behaviours.policy import LoadedPolicy
from pwm_export.bundle import Bundle


def load(path: Path) -> LoadedPolicy:
    """Read ``path``; ``BundleError`` says what is wrong with it."""
    bundle = Bundle.load(path)

    def act(observation: np.ndarray) -> np.ndarray:
        return bundle.action.to_normalised(np.stack([bundle.act(row) for row in observation]))

    return LoadedPolicy(bundle.task, bundle.observation, bundle.action, act)
