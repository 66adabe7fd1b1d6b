# SPDX-License-Identifier: Apache-2.0
"""The Riccati optimum against simulation, and the regulator as extraction sees it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pwm_core.extraction.layer_gradients import output
from pwm_core.studies.linear_quadratic import (
    Body,
    LinearQuadraticModel,
    Regulator,
    discounted_cost,
    identified,
    regulator,
)

DISCOUNT = 0.99


class Gain(nn.Module):
    """``−K x``"""

    def __init__(self, gain: np.ndarray) -> None:
        super().__init__()
        self.gain = torch.from_numpy(gain).float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -x @ self.gain.T


def starts(of: Regulator) -> torch.Tensor:
    return 0.3 * torch.randn(64, len(of.a), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("body", ["muscles", "joints"])
def test_the_optimal_gain_costs_in_simulation_what_riccati_says(body: Body) -> None:
    of = regulator(body, 6, DISCOUNT)
    x = starts(of)
    expected = torch.einsum("ij,jk,ik->i", x, torch.from_numpy(of.cost_to_go()).float(), x)
    found = discounted_cost(of, Gain(of.gain()), x, 600)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("body", ["muscles", "joints"])
def test_no_other_gain_is_cheaper(body: Body) -> None:
    of = regulator(body, 4, DISCOUNT)
    x, rng = starts(of), np.random.default_rng(0)
    least = discounted_cost(of, Gain(of.gain()), x, 600).mean()
    for _ in range(10):
        other = of.gain() * (1 + 0.1 * rng.normal(size=of.gain().shape))
        assert discounted_cost(of, Gain(other), x, 600).mean() > least


def test_muscles_cost_the_same_however_many_there_are() -> None:
    few, many = (regulator("muscles", actions, DISCOUNT) for actions in (2, 200))
    np.testing.assert_allclose(few.cost_to_go(), many.cost_to_go(), rtol=1e-6)


def test_the_model_says_what_the_regulator_does() -> None:
    of = regulator("joints", 3, DISCOUNT)
    model = LinearQuadraticModel(of)
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(5, 6)), rng.normal(size=(5, 3))
    pair = torch.from_numpy(np.concatenate([x, a], 1)).float()[None]
    reached = output(model.dynamics, pair)[0].numpy()
    np.testing.assert_allclose(reached, x @ of.a.T + a @ of.b.T, atol=1e-5)
    earned = model.reward(pair)[0].numpy()
    np.testing.assert_allclose(earned, -(x**2) @ of.q - a**2 @ of.r, atol=1e-5)


def test_identification_finds_the_matrices_up_to_the_noise() -> None:
    of = regulator("muscles", 8, DISCOUNT)
    exact, noisy = (identified(of, 500, noise, seed=0) for noise in (0.0, 0.01))
    np.testing.assert_allclose(exact.b, of.b, atol=1e-9)
    apart = np.abs(noisy.b - of.b).max()
    assert 1e-5 < apart < 1e-2
