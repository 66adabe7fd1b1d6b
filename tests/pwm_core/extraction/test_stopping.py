# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pwm_core.extraction.stopping import MARGIN, best, stalled

NAN = float("nan")


@pytest.mark.parametrize(
    ("scores", "patience", "stop"),
    [
        ([1, 2, 3, 4], 2, False),
        ([1, 4, 3, 4], 2, True),
        ([1, 4, 3, 4.1], 2, False),
        ([1, 4, 3, 4 * (1 + MARGIN)], 2, True),
        ([4, 3], 2, False),
        ([4, 3, 2], 2, True),
        ([4, 3, 2], 0, False),
        ([-10, -10.05, -9.95], 2, True),
        ([-10, -10.05, -9.8], 2, False),
        ([4, NAN, NAN], 2, True),
        ([NAN, NAN, 1], 2, False),
        ([NAN, NAN, NAN], 2, True),
        ([], 3, False),
    ],
)
def test_stalled(scores: list[float], patience: int, stop: bool) -> None:
    assert stalled(scores, patience) == stop


@pytest.mark.parametrize(
    ("scores", "place"),
    [([1], 0), ([1, 2], 1), ([2, 2], 0), ([2, 1], 0), ([1, NAN], 0), ([NAN, -3], 1), ([NAN], 0)],
)
def test_best(scores: list[float], place: int) -> None:
    assert best(scores) == place
