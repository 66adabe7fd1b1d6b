# SPDX-License-Identifier: Apache-2.0
"""The maths of MPPI against plain loops."""

from __future__ import annotations

import numpy as np
import torch

from pwm_core.evaluation.controllers.mppi import (
    MppiConfig,
    best,
    elite_weights,
    weighted_moments,
)


def test_settings_are_tdmpc2s() -> None:
    config = MppiConfig()
    assert (config.horizon, config.samples, config.iterations) == (3, 512, 6)
    assert (config.elites, config.policy_plans) == (64, 24)
    assert (config.min_std, config.max_std, config.temperature) == (0.05, 2.0, 0.5)


def test_the_best_candidates_of_each_episode() -> None:
    value = torch.tensor([[1.0, 5.0, 3.0], [9.0, 0.0, 4.0]])
    candidates = torch.arange(2 * 2 * 3.0).view(2, 2, 3, 1)
    top, chosen = best(value, candidates, 2)
    assert top.tolist() == [[5, 3], [9, 4]]
    assert chosen[..., 0].tolist() == [[[1, 2], [3, 5]], [[7, 8], [9, 11]]]


def test_weights_and_moments() -> None:
    rng = np.random.default_rng(0)
    value = rng.normal(size=(2, 4)) * 3
    elites = rng.uniform(-1, 1, (3, 2, 4, 2))
    weight = elite_weights(torch.from_numpy(value), 0.5)
    mean, std = weighted_moments(torch.from_numpy(elites), weight)
    for episode in range(2):
        raw = np.exp(0.5 * (value[episode] - value[episode].max()))
        share = raw / raw.sum()
        np.testing.assert_allclose(weight[episode], share)
        for step in range(3):
            plans = elites[step, episode]
            expected = sum(w * plan for w, plan in zip(share, plans, strict=True))
            spread = sum(w * (plan - expected) ** 2 for w, plan in zip(share, plans, strict=True))
            np.testing.assert_allclose(mean[step, episode], expected)
            np.testing.assert_allclose(std[step, episode], np.sqrt(spread))
