# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pwm_finetune.parameters import exploration_levels


def test_levels_of_noise_are_read() -> None:
    assert exploration_levels([0.1, 0.0, 0.2], episodes=6, baseline=5) == (0.1, 0.0, 0.2)


def test_zero_leaves_the_policy_node_alone() -> None:
    assert exploration_levels([0.0], episodes=2, baseline=5) == ()


def test_noise_that_would_never_act_is_refused() -> None:
    with pytest.raises(ValueError, match="episodes_per_round 5 leaves none"):
        exploration_levels([0.1], episodes=5, baseline=5)


def test_noise_beyond_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"exploration_noise has 1\.5"):
        exploration_levels([0.1, 1.5], episodes=6, baseline=5)
