# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from pwm_core.model.networks import Mish, SimNorm, SpectralLinear, mlp, renormalise


def test_mish_and_its_gradient_are_torchs() -> None:
    x = torch.cat([torch.linspace(-100, 100, 2001), torch.tensor([-1e4, 1e4, 0.0])]).double()
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = Mish()(mine), functional.mish(theirs)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-6, atol=1e-7)


def test_mish_in_float32() -> None:
    x = torch.linspace(-30, 30, 4001)
    torch.testing.assert_close(Mish()(x), functional.mish(x), rtol=1e-5, atol=1e-6)


def test_simnorm_makes_each_group_a_distribution() -> None:
    torch.manual_seed(0)
    x = 30 * torch.randn(5, 3, 24)
    simplex = SimNorm(8)(x)
    assert simplex.shape == x.shape
    assert (simplex >= 0).all()
    torch.testing.assert_close(simplex.unflatten(-1, (3, 8)).sum(-1), torch.ones(5, 3, 3))


def test_simnorm_and_its_gradient_are_the_grouped_softmax() -> None:
    torch.manual_seed(0)
    mine = torch.randn(4, 16, dtype=torch.float64, requires_grad=True)
    theirs = mine.detach().clone().requires_grad_()
    weight = torch.randn(4, 16, dtype=torch.float64)
    found = SimNorm(4)(mine)
    expected = torch.cat([functional.softmax(p, -1) for p in theirs.split(4, -1)], -1)
    torch.testing.assert_close(found, expected)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


def test_simnorm_survives_huge_inputs() -> None:
    assert torch.isfinite(SimNorm(2)(torch.tensor([[1e30, -1e30]]))).all()


def test_mlp_layers() -> None:
    kinds = [type(layer).__name__ for layer in mlp([3, 8, 8, 2])]
    assert kinds == ["Linear", "LayerNorm", "Mish", "Linear", "LayerNorm", "Mish", "Linear"]
    with_output = mlp([3, 8, 16], lambda *sizes: [torch.nn.Linear(*sizes), SimNorm(8)])
    kinds = [type(layer).__name__ for layer in with_output]
    assert kinds == ["Linear", "LayerNorm", "Mish", "Linear", "SimNorm"]
    sizes = [tuple(p.shape) for p in mlp([3, 8, 2]).parameters() if p.ndim == 2]
    assert sizes == [(8, 3), (2, 8)]


def test_mlp_initialisation() -> None:
    torch.manual_seed(0)
    network = mlp([200, 200, 50])
    assert network[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert network[3].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not network[0].bias.any()


def test_renormalise_only_shortens() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [0.6, 0.8]])
    expected = torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0], [0.6, 0.8]])
    torch.testing.assert_close(renormalise(rows), expected)


def test_a_lower_temperature_is_closer_to_one_hot() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 16)
    cold = SimNorm(8, 0.1)(x)
    torch.testing.assert_close(cold, SimNorm(8)(x / 0.1))
    groups = (7, 2, 8)
    assert (cold.view(groups).amax(-1) > SimNorm(8)(x).view(groups).amax(-1)).all()


def test_spectral_linear_has_norm_one() -> None:
    torch.manual_seed(0)
    layer = SpectralLinear(12, 9)
    torch.nn.init.normal_(layer.weight, std=3)
    for _ in range(200):
        layer(torch.zeros(1, 12))
    basis = layer(torch.eye(12)) - layer.bias
    assert torch.linalg.svdvals(basis.detach())[0].item() == pytest.approx(1, abs=1e-4)


def test_spectral_linear_gradient_is_that_of_the_singular_value() -> None:
    torch.manual_seed(0)
    layer = SpectralLinear(6, 5).double()
    torch.nn.init.normal_(layer.weight)
    x, mix = torch.randn(4, 6).double(), torch.randn(4, 5).double()
    for _ in range(500):
        layer(x)
    weight = layer.weight.detach().clone().requires_grad_()
    expected = x @ (weight / torch.linalg.svdvals(weight)[0]).T + layer.bias.detach()
    found = layer(x)
    torch.testing.assert_close(found, expected)
    (found * mix).sum().backward()
    (expected * mix).sum().backward()
    torch.testing.assert_close(layer.weight.grad, weight.grad)


@pytest.mark.parametrize("frozen", ["no_grad", "eval"])
def test_spectral_linear_learns_its_direction_in_training_only(frozen: str) -> None:
    layer = SpectralLinear(6, 5)
    before = layer.direction.clone()
    if frozen == "eval":
        layer.eval()(torch.zeros(1, 6))
    else:
        with torch.no_grad():
            layer(torch.zeros(1, 6))
    assert torch.equal(layer.direction, before)
    layer.train()(torch.zeros(1, 6))
    assert not torch.equal(layer.direction, before)
