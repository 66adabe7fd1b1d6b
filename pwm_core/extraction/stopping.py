# SPDX-License-Identifier: Apache-2.0
"""When a run has stopped getting better, and which of its policies was best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MARGIN = 0.01
"""Share of the best score by which a later one must be better to count for patience."""


def stalled(scores: Sequence[float], patience: int) -> bool:
    """Return whether none of the last ``patience`` scores is clearly better than those before.

    Never with ``patience`` 0; NaN is no score.
    """
    if patience == 0 or len(scores) <= patience:
        return False
    values = np.nan_to_num(np.array(scores), nan=-np.inf)
    before, late = values[:-patience].max(), values[-patience:].max()
    return not late > before + MARGIN * abs(before)


def is_best(scores: Sequence[float]) -> bool:
    """Return whether the last score is above all before it."""
    values = np.nan_to_num(np.array(scores), nan=-np.inf)
    return len(values) == 1 or bool(values[-1] > values[:-1].max())
