# SPDX-License-Identifier: Apache-2.0
"""When a run has stopped getting better, and which of its policies was best."""

from __future__ import annotations

import math
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
    before, late = (part[best(part)] for part in (scores[:-patience], scores[-patience:]))
    if math.isnan(before):
        return math.isnan(late)
    return not late > before + MARGIN * abs(before)


def best(scores: Sequence[float]) -> int:
    """Return the place of the highest score, the first of them where several are."""
    return int(np.argmax(np.nan_to_num(np.array(scores, float), nan=-np.inf)))
