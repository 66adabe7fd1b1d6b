# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pwm_finetune.parameters import exploration_levels, require_horizon, require_lease


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


@pytest.mark.parametrize("options", [["--horizon", "32"], ["--updates", "9", "--horizon=32"]])
def test_a_horizon_beyond_the_stretches_that_are_recorded_is_refused(options: list[str]) -> None:
    require_horizon(options, shortest=32)
    with pytest.raises(ValueError, match=r"shortest_stretch 31 is below the horizon 32"):
        require_horizon(options, shortest=31)


def test_the_horizon_of_pwm_finetune_counts_where_none_is_given() -> None:
    require_horizon(["--gate.told-apart", "0"], shortest=16)
    with pytest.raises(ValueError, match="below the horizon 16"):
        require_horizon(["--gate.told-apart", "0"], shortest=15)


def test_a_horizon_that_is_no_number_is_named() -> None:
    with pytest.raises(ValueError, match="finetune_options: argument --horizon"):
        require_horizon(["--horizon", "long"], shortest=16)


@pytest.mark.parametrize("seconds", [0.5, 1, 4.9])
def test_a_lease_that_could_run_out_between_two_renewals_is_refused(seconds: float) -> None:
    require_lease(0.0)
    require_lease(5.0)
    with pytest.raises(ValueError, match=f"trial_lease is {seconds} s"):
        require_lease(seconds)
