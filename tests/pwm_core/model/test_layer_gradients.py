# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pwm_core.model import kernels
from pwm_core.model.config import LatentLayerName, WorldModelConfig
from pwm_core.model.latents import build_dynamics
from pwm_core.model.layer_gradients import known, learned, learned_unroll

ROWS, LATENT, GIVEN = 12, 16, 3


def dynamics(latent_layer: LatentLayerName, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(2)
    config = WorldModelConfig(latent=LATENT, width=24, latent_layer=latent_layer)
    network = build_dynamics(config, LATENT + GIVEN)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    return network.to(dtype)


def gradients(output: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Gradients of a loss that weighs every number of ``output`` differently."""
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return torch.autograd.grad((output * weights).sum(), inputs)


@pytest.mark.parametrize("latent_layer", ["simnorm", "mish", "relu", "layernorm"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
@pytest.mark.parametrize("compiled", [True, False])
def test_outputs_and_gradients_are_autograds(
    latent_layer, dtype, tolerance, compiled, monkeypatch
) -> None:
    if not compiled:
        monkeypatch.setattr(kernels, "usable", lambda x: False)
    network = dynamics(latent_layer, dtype)
    x = torch.randn(2, ROWS, LATENT + GIVEN, dtype=dtype, requires_grad=True)
    mine, theirs = learned(network, x), network(x)
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(mine, theirs, **close)
    wanted = x, *network.parameters()
    for found, expected in zip(gradients(mine, *wanted), gradients(theirs, *wanted), strict=True):
        torch.testing.assert_close(found, expected, **close)
        assert found.abs().max() > 0


def test_an_unroll_is_the_steps_one_by_one() -> None:
    network = dynamics("simnorm")
    z = torch.randn(ROWS, LATENT, dtype=torch.float64, requires_grad=True)
    inputs = torch.randn(4, ROWS, GIVEN, dtype=torch.float64, requires_grad=True)
    steps = [z]
    for given in inputs:
        steps.append(network(torch.cat([steps[-1], given], -1)))
    mine, theirs = learned_unroll(network, z, inputs), torch.stack(steps[1:])
    torch.testing.assert_close(mine, theirs)
    wanted = z, inputs, *network.parameters()
    for found, expected in zip(gradients(mine, *wanted), gradients(theirs, *wanted), strict=True):
        torch.testing.assert_close(found, expected)


def test_frozen_parameters_get_no_gradient() -> None:
    network = dynamics("simnorm").requires_grad_(False)
    x = torch.randn(ROWS, LATENT + GIVEN, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(gradients(learned(network, x), x)[0], gradients(network(x), x)[0])
    assert not learned(network, x.detach()).requires_grad


def test_a_spectral_layer_is_not_known() -> None:
    assert known(dynamics("simnorm"))
    assert not known(dynamics("spectral"))
